import {
  Binary,
  BinaryView,
  Bool,
  type DataType,
  Date_,
  DateUnit,
  Decimal,
  Dictionary,
  Duration,
  Field,
  FixedSizeBinary,
  FixedSizeList,
  Float16,
  Float32,
  Float64,
  Int8,
  Int16,
  Int32,
  Int64,
  Interval,
  IntervalUnit,
  LargeBinary,
  LargeList,
  LargeUtf8,
  List,
  Map_,
  Null,
  Schema,
  Struct,
  Time,
  Timestamp,
  TimeUnit,
  Uint8,
  Uint16,
  Uint32,
  Uint64,
  Union,
  UnionMode,
  Utf8,
  Utf8View,
} from "apache-arrow";
import { UnsupportedTypeError } from "../errors.js";
import {
  describeField,
  type JsonField,
  type JsonIntType,
  type JsonMetadata,
  type JsonSchema,
} from "./json-schema.js";

type IndexType = Int8 | Int16 | Int32 | Int64 | Uint8 | Uint16 | Uint32 | Uint64;

/** Names what in a field apache-arrow cannot hold, or `undefined` when it can hold all of it. */
export function unsupported(field: JsonField): string | undefined {
  const own = unsupportedType(field);
  if (own !== undefined) return own;
  for (const child of field.children) {
    const inner = unsupported(child);
    if (inner !== undefined) return inner;
  }
  return undefined;
}

function unsupportedType(field: JsonField): string | undefined {
  const { type, dictionary } = field;
  // apache-arrow looks dictionary values up by the index as it is; a bigint is no index there.
  if (dictionary !== undefined && dictionary.indexType.bitWidth === 64) {
    return `${describeField({ ...field, children: [] })} (64-bit indices)`;
  }
  switch (type.name) {
    case "listview":
    case "largelistview":
    case "runendencoded":
      return type.name;
    case "decimal": {
      const width = type.bitWidth ?? 128;
      // It reads the sign of narrower decimals wrong.
      return width === 128 || width === 256 ? undefined : `decimal${width}`;
    }
    default:
      return undefined;
  }
}

/** The error for a column that apache-arrow cannot hold. */
export function unsupportedColumn(field: JsonField, reason: string): UnsupportedTypeError {
  return new UnsupportedTypeError(
    `column ${JSON.stringify(field.name)} has the type ${describeField(field)}, and apache-arrow cannot hold ` +
      `${reason}: select() the other columns, or hand the batch to a native consumer with exportTo()`,
  );
}

/**
 * An apache-arrow schema, of our copy of the library, from its JSON form.
 * Throws `ERR_UNSUPPORTED_TYPE`, naming column and type, where apache-arrow cannot hold a column.
 */
export function schemaFromJson(json: JsonSchema): Schema {
  return new Schema(json.fields.map(columnFromJson), metadataFromJson(json.metadata));
}

/** One column's field; see {@link schemaFromJson}. */
export function columnFromJson(json: JsonField): Field {
  const reason = unsupported(json);
  if (reason !== undefined) throw unsupportedColumn(json, reason);
  return fieldFromJson(json);
}

/** A field from its JSON form; see {@link schemaFromJson}. */
export function fieldFromJson(json: JsonField): Field {
  return new Field(json.name, typeFromJson(json), json.nullable, metadataFromJson(json.metadata));
}

/** The type of a field, dictionary included. */
export function typeFromJson(json: JsonField): DataType {
  const values = valueTypeFromJson(json);
  const { dictionary } = json;
  if (dictionary === undefined) return values;
  return new Dictionary(
    values,
    intFromJson(dictionary.indexType) as Int32,
    dictionary.id,
    dictionary.isOrdered,
  );
}

/** The type of a field's values: for a dictionary-encoded field that of the dictionary. */
export function valueTypeFromJson(json: JsonField): DataType {
  const { type } = json;
  const children = json.children.map(fieldFromJson);
  switch (type.name) {
    case "null":
      return new Null();
    case "bool":
      return new Bool();
    case "int":
      return intFromJson(type);
    case "floatingpoint":
      return { HALF: () => new Float16(), SINGLE: () => new Float32(), DOUBLE: () => new Float64() }[
        type.precision
      ]();
    case "utf8":
      return new Utf8();
    case "largeutf8":
      return new LargeUtf8();
    case "utf8view":
      return new Utf8View();
    case "binary":
      return new Binary();
    case "largebinary":
      return new LargeBinary();
    case "binaryview":
      return new BinaryView();
    case "fixedsizebinary":
      return new FixedSizeBinary(type.byteWidth);
    case "decimal":
      return new Decimal(type.scale, type.precision, type.bitWidth ?? 128);
    case "date":
      return new Date_(DateUnit[type.unit]);
    case "time":
      return new Time(TimeUnit[type.unit], type.bitWidth as 32 | 64);
    case "timestamp":
      return new Timestamp(TimeUnit[type.unit], type.timezone);
    case "duration":
      return new Duration(TimeUnit[type.unit]);
    case "interval":
      return new Interval(IntervalUnit[type.unit]);
    case "list":
      return new List(children[0]);
    case "largelist":
      return new LargeList(children[0]);
    case "fixedsizelist":
      return new FixedSizeList(type.listSize, children[0]);
    case "struct":
      return new Struct(children);
    case "map":
      return mapFromJson(json, children[0] as MapEntries, type.keysSorted);
    case "union":
      return new Union(type.mode === "DENSE" ? UnionMode.Dense : UnionMode.Sparse, type.typeIds, children);
    default:
      throw unsupportedColumn(json, type.name);
  }
}

type MapEntries = Field<Struct<{ key: DataType; value: DataType }>>;

function mapFromJson(json: JsonField, entries: MapEntries, keysSorted: boolean): Map_ {
  const type = new Map_(entries, keysSorted);
  // Map_ renames its entries, keys and values; the names are the producer's and go back as they came.
  restoreName(entries, json.children[0]);
  entries.type.children.forEach((field, i) => {
    restoreName(field, json.children[0].children[i]);
  });
  return type;
}

function restoreName(field: Field, json: JsonField): void {
  (field as { name: string }).name = json.name;
}

function intFromJson({ bitWidth, isSigned }: JsonIntType): IndexType {
  switch (bitWidth) {
    case 8:
      return isSigned ? new Int8() : new Uint8();
    case 16:
      return isSigned ? new Int16() : new Uint16();
    case 32:
      return isSigned ? new Int32() : new Uint32();
    default:
      return isSigned ? new Int64() : new Uint64();
  }
}

function metadataFromJson(metadata: JsonMetadata[] | undefined): Map<string, string> {
  return new Map((metadata ?? []).map(({ key, value }) => [key, value]));
}
