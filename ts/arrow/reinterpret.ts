import type { DataType } from "apache-arrow";
import { ArrowlaneError } from "../errors.js";
import type { AnyField, AnyType } from "./foreign.js";
import type { GuardedData } from "./guarded-data.js";
import { describeField, type JsonField, physicalOf } from "./json-schema.js";
import { ELEMENT_BYTES, type ElementArray, elementArray } from "./layout.js";
import { elementsOf } from "./readers.js";
import { columnFromJson, fieldToJson } from "./schema.js";

type Source = GuardedData<DataType> & { readonly values: Uint8Array<ArrayBuffer> };

/**
 * The values of `data`, which are bytes, as values of `type`: over the same bytes, never a copy. Like a slice, what
 * comes out shares the guard of `data`, and ends with it.
 */
export function reinterpreted(data: GuardedData, type: AnyType): GuardedData {
  // First of all: after a dispose this throws.
  const nulls = data.nullCount;
  const from = widthOfBytes(data);
  const field = asField(type);
  const physical = physicalOf(field.type);
  if (physical.kind !== "fixed" || field.dictionary !== undefined || !(physical.bytes > 0)) {
    throw cannot(data, field, "give a type whose values all have the same number of bytes");
  }
  const target = columnFromJson(field).type;
  const { bytes } = physical;
  const { values } = data as Source;
  if (from % bytes !== 0 && (from !== 1 || values.length % bytes !== 0)) {
    throw cannot(
      data,
      field,
      `${from === 1 ? values.length : from} bytes are not a whole number of ${bytes}`,
    );
  }
  if (nulls !== 0 && from !== bytes) {
    throw cannot(data, field, `${nulls} of its rows are null, and rows would not stay rows`);
  }
  const { kind, alignment } = elementsOf(target, bytes);
  if (values.length > 0 && values.byteOffset % alignment !== 0) {
    throw new ArrowlaneError(
      "ERR_ALIGNMENT",
      `the bytes begin at ${values.byteOffset}, and ${describeField(field)} needs a multiple of ${alignment}: have the ` +
        "producer align its buffers to 64 bytes and slice at whole values, or take a copy() first",
    );
  }
  const count = values.length / ELEMENT_BYTES[kind];
  const elements: ElementArray = elementArray(kind, values.buffer, values.byteOffset, count);
  return data.over(target, values.length / bytes, elements);
}

/** Bytes of one value of a column of bytes; others are refused. */
function widthOfBytes(data: GuardedData): number {
  const field = asField(data.type);
  if (field.dictionary === undefined) {
    if (field.type.name === "fixedsizebinary") return field.type.byteWidth;
    if (field.type.name === "int" && field.type.bitWidth === 8 && !field.type.isSigned) return 1;
  }
  throw new ArrowlaneError(
    "ERR_INVALID_ARGUMENT",
    `a column of ${describeField(field)} cannot be reinterpreted: only uint8 and fixed-size binary ones can`,
  );
}

function asField(type: AnyType): JsonField {
  if (typeof type?.typeId !== "number") {
    throw new ArrowlaneError(
      "ERR_INVALID_ARGUMENT",
      "reinterpret() takes a type of apache-arrow: new Float32()",
    );
  }
  const field: AnyField = { name: "reinterpreted", type, nullable: true };
  return fieldToJson(field);
}

function cannot(data: GuardedData, field: JsonField, reason: string): ArrowlaneError {
  const text = `a column of ${describeField(asField(data.type))} cannot be read as ${describeField(field)}: ${reason}`;
  return new ArrowlaneError("ERR_INVALID_ARGUMENT", text);
}
