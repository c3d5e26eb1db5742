import { ArrowlaneError } from "../errors.js";
import type { AnyData } from "./foreign.js";
import { describeField, type JsonField } from "./json-schema.js";

/** apache-arrow's `typeId` of each type; dictionaries have -1. */
const TYPE_IDS: Record<string, number> = {
  null: 1,
  int: 2,
  floatingpoint: 3,
  binary: 4,
  utf8: 5,
  bool: 6,
  decimal: 7,
  date: 8,
  time: 9,
  timestamp: 10,
  interval: 11,
  list: 12,
  struct: 13,
  union: 14,
  fixedsizebinary: 15,
  fixedsizelist: 16,
  map: 17,
  duration: 18,
  largebinary: 19,
  largeutf8: 20,
  largelist: 21,
  binaryview: 23,
  utf8view: 24,
};
const DICTIONARY = -1;
/** apache-arrow's placeholder: what stands for values that are not there at all. */
const NONE = 0;

/** The property of a type, beside its id, that decides how its bytes are read. */
const WIDTHS: Record<string, readonly [ofType: string, ofJson: string]> = {
  int: ["bitWidth", "bitWidth"],
  time: ["bitWidth", "bitWidth"],
  decimal: ["bitWidth", "bitWidth"],
  fixedsizebinary: ["byteWidth", "byteWidth"],
  fixedsizelist: ["listSize", "listSize"],
};
const PRECISIONS = ["HALF", "SINGLE", "DOUBLE"];

/**
 * Throws `ERR_INVALID_DATA` when values are not of the type that their schema states: apache-arrow lets a RecordBatch
 * be made of any schema and any data, and the bytes would be read as something that they are not.
 */
export function agree(data: AnyData, field: JsonField): void {
  const type = data.type as unknown as Record<string, unknown>;
  if (type.typeId === NONE) return;
  if (field.dictionary !== undefined) {
    if (type.typeId !== DICTIONARY) throw disagreement(data, field);
    return;
  }
  const stated = field.type as unknown as Record<string, unknown> & { name: string };
  const width = WIDTHS[stated.name];
  if (
    type.typeId !== TYPE_IDS[stated.name] ||
    (width !== undefined && type[width[0]] !== stated[width[1]]) ||
    (stated.name === "floatingpoint" && PRECISIONS[type.precision as number] !== stated.precision)
  ) {
    throw disagreement(data, field);
  }
}

function disagreement(data: AnyData, field: JsonField): ArrowlaneError {
  return new ArrowlaneError(
    "ERR_INVALID_DATA",
    `column ${JSON.stringify(field.name)} holds ${String(data.type)} where the schema says ${describeField(field)}: ` +
      "make the batch with the schema of its data",
  );
}
