import { ArrowlaneError, UnsupportedTypeError } from "../errors.js";
import type { AnyField, AnySchema, AnyType } from "./foreign.js";
import type {
  JsonField,
  JsonIntType,
  JsonMetadata,
  JsonSchema,
  JsonTimeUnit,
  JsonType,
} from "./json-schema.js";

const TIME_UNITS: JsonTimeUnit[] = ["SECOND", "MILLISECOND", "MICROSECOND", "NANOSECOND"];
const DICTIONARY = -1;

/** Counts dictionaries as the schema is walked: ids are 0, 1, 2, … depth-first, a parent before what it holds. */
interface Ids {
  next: number;
}

/**
 * A schema of any copy of apache-arrow as JSON. Dictionary ids are given anew, depth-first from 0, so they do
 * not depend on the ids that the caller's library happened to give out.
 */
export function schemaToJson(schema: AnySchema): JsonSchema {
  const ids: Ids = { next: 0 };
  return {
    fields: schema.fields.map((f) => fieldToJson(f, ids)),
    metadata: metadataToJson(schema.metadata) ?? [],
  };
}

/** A field of any copy of apache-arrow as JSON; see {@link schemaToJson}. */
export function fieldToJson(field: AnyField, ids: Ids = { next: 0 }): JsonField {
  let type = field.type as Properties;
  const json = { name: String(field.name), nullable: Boolean(field.nullable) } as JsonField;
  if (type.typeId === DICTIONARY) {
    const { indices, dictionary } = type;
    if (indices === undefined || dictionary === undefined) throw incomplete(field, "its index or value type");
    const indexType = typeToJson(indices as Properties, field) as JsonIntType;
    json.dictionary = { id: ids.next++, indexType, isOrdered: Boolean(type.isOrdered) };
    type = dictionary as Properties;
  }
  json.type = typeToJson(type, field);
  json.children = (type.children ?? []).map((child) => fieldToJson(child, ids));
  const metadata = metadataToJson(field.metadata);
  if (metadata !== undefined) json.metadata = metadata;
  return json;
}

interface Properties extends AnyType {
  readonly isSigned?: boolean;
  readonly bitWidth?: number;
  readonly precision?: number;
  readonly scale?: number;
  readonly unit?: number;
  readonly timezone?: string | null;
  readonly byteWidth?: number;
  readonly listSize?: number;
  readonly keysSorted?: boolean;
  readonly mode?: number;
  readonly typeIds?: ArrayLike<number>;
  readonly isOrdered?: boolean;
  readonly indices?: AnyType;
  readonly dictionary?: AnyType;
}

/** apache-arrow's `Type` numbers; negative ones (`Int8`, `DateDay`, …) never appear on instances. */
function typeToJson(type: Properties, field: AnyField): JsonType {
  switch (type.typeId) {
    case 1:
      return { name: "null" };
    case 2:
      return {
        name: "int",
        bitWidth: need(type.bitWidth, field, "bitWidth"),
        isSigned: type.isSigned === true,
      };
    case 3:
      return {
        name: "floatingpoint",
        precision: pick(["HALF", "SINGLE", "DOUBLE"], type.precision, field, "precision"),
      };
    case 4:
      return { name: "binary" };
    case 5:
      return { name: "utf8" };
    case 6:
      return { name: "bool" };
    case 7:
      return {
        name: "decimal",
        bitWidth: type.bitWidth ?? 128,
        precision: need(type.precision, field, "precision"),
        scale: need(type.scale, field, "scale"),
      };
    case 8:
      return { name: "date", unit: pick(["DAY", "MILLISECOND"], type.unit, field, "unit") };
    case 9:
      return {
        name: "time",
        unit: pick(TIME_UNITS, type.unit, field, "unit"),
        bitWidth: need(type.bitWidth, field, "bitWidth"),
      };
    case 10: {
      const unit = pick(TIME_UNITS, type.unit, field, "unit");
      return type.timezone
        ? { name: "timestamp", unit, timezone: type.timezone }
        : { name: "timestamp", unit };
    }
    case 11:
      return {
        name: "interval",
        unit: pick(["YEAR_MONTH", "DAY_TIME", "MONTH_DAY_NANO"], type.unit, field, "unit"),
      };
    case 12:
      return { name: "list" };
    case 13:
      return { name: "struct" };
    case 14:
      return {
        name: "union",
        mode: pick(["SPARSE", "DENSE"], type.mode, field, "mode"),
        typeIds: Array.from(type.typeIds ?? []),
      };
    case 15:
      return { name: "fixedsizebinary", byteWidth: need(type.byteWidth, field, "byteWidth") };
    case 16:
      return { name: "fixedsizelist", listSize: need(type.listSize, field, "listSize") };
    case 17:
      return { name: "map", keysSorted: Boolean(type.keysSorted) };
    case 18:
      return { name: "duration", unit: pick(TIME_UNITS, type.unit, field, "unit") };
    case 19:
      return { name: "largebinary" };
    case 20:
      return { name: "largeutf8" };
    case 21:
      return { name: "largelist" };
    case 23:
      return { name: "binaryview" };
    case 24:
      return { name: "utf8view" };
    default:
      throw new UnsupportedTypeError(
        `column ${JSON.stringify(field.name)} has the type number ${type.typeId}, which arrowlane does not know: ` +
          "use apache-arrow 15 to 21",
      );
  }
}

function pick<T extends string>(
  names: readonly T[],
  index: number | undefined,
  field: AnyField,
  what: string,
): T {
  const name = index === undefined ? undefined : names[index];
  if (name === undefined) throw incomplete(field, what);
  return name;
}

function need(value: number | undefined, field: AnyField, what: string): number {
  if (typeof value !== "number") throw incomplete(field, what);
  return value;
}

function incomplete(field: AnyField, what: string): ArrowlaneError {
  return new ArrowlaneError(
    "ERR_INVALID_ARGUMENT",
    `the type of field ${JSON.stringify(field.name)} lacks ${what}: pass a schema that apache-arrow made`,
  );
}

function metadataToJson(
  metadata: ReadonlyMap<string, string> | null | undefined,
): JsonMetadata[] | undefined {
  if (!metadata || metadata.size === 0) return undefined;
  return Array.from(metadata, ([key, value]) => ({ key: String(key), value: String(value) }));
}
