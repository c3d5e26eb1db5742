import { ArrowlaneError } from "../errors.js";

/** One key and value of a schema's or field's metadata. */
export interface JsonMetadata {
  key: string;
  value: string;
}

/** A unit of time, as the Arrow integration-test JSON format spells it. */
export type JsonTimeUnit = "SECOND" | "MILLISECOND" | "MICROSECOND" | "NANOSECOND";

/** A whole-number type: the only kind that may index a dictionary. */
export interface JsonIntType {
  name: "int";
  bitWidth: number;
  isSigned: boolean;
}

/** A data type in Arrow's integration-test JSON format; children are the field's, not the type's. */
export type JsonType =
  | {
      name:
        | "null"
        | "bool"
        | "utf8"
        | "largeutf8"
        | "binary"
        | "largebinary"
        | "utf8view"
        | "binaryview"
        | "list"
        | "largelist"
        | "listview"
        | "largelistview"
        | "struct"
        | "runendencoded";
    }
  | JsonIntType
  | { name: "floatingpoint"; precision: "HALF" | "SINGLE" | "DOUBLE" }
  | { name: "fixedsizebinary"; byteWidth: number }
  | { name: "decimal"; bitWidth?: number; precision: number; scale: number }
  | { name: "date"; unit: "DAY" | "MILLISECOND" }
  | { name: "time"; unit: JsonTimeUnit; bitWidth: number }
  | { name: "timestamp"; unit: JsonTimeUnit; timezone?: string | null }
  | { name: "duration"; unit: JsonTimeUnit }
  | { name: "interval"; unit: "YEAR_MONTH" | "DAY_TIME" | "MONTH_DAY_NANO" }
  | { name: "union"; mode: "SPARSE" | "DENSE"; typeIds: number[] }
  | { name: "fixedsizelist"; listSize: number }
  | { name: "map"; keysSorted: boolean };

/** How a dictionary-encoded field refers to its values. */
export interface JsonDictionary {
  id: number;
  indexType: JsonIntType;
  isOrdered: boolean;
}

/** A field; when it is dictionary-encoded, `type` and `children` are those of its values. */
export interface JsonField {
  name: string;
  nullable: boolean;
  type: JsonType;
  children: JsonField[];
  dictionary?: JsonDictionary;
  metadata?: JsonMetadata[];
}

/** A schema in Arrow's integration-test JSON format: what crosses between TypeScript and Rust. */
export interface JsonSchema {
  fields: JsonField[];
  metadata?: JsonMetadata[];
}

/** How the values of a field lie in memory, whatever they mean. */
export type Physical =
  | { kind: "null" }
  | { kind: "bool" }
  | { kind: "fixed"; bytes: number }
  | { kind: "binary"; offsetBytes: 4 | 8 }
  | { kind: "view" }
  | { kind: "list"; offsetBytes: 4 | 8 }
  | { kind: "listview"; offsetBytes: 4 | 8 }
  | { kind: "fixedlist"; size: number }
  | { kind: "struct" }
  | { kind: "union"; dense: boolean }
  | { kind: "runend" };

/** The physical layout of a type; the type of a dictionary's indices is given apart. */
export function physicalOf(type: JsonType): Physical {
  switch (type.name) {
    case "null":
      return { kind: "null" };
    case "bool":
      return { kind: "bool" };
    case "int":
    case "time":
      return { kind: "fixed", bytes: type.bitWidth >> 3 };
    case "floatingpoint":
      return { kind: "fixed", bytes: { HALF: 2, SINGLE: 4, DOUBLE: 8 }[type.precision] };
    case "fixedsizebinary":
      return { kind: "fixed", bytes: type.byteWidth };
    case "decimal":
      return { kind: "fixed", bytes: (type.bitWidth ?? 128) >> 3 };
    case "date":
      return { kind: "fixed", bytes: type.unit === "DAY" ? 4 : 8 };
    case "timestamp":
    case "duration":
      return { kind: "fixed", bytes: 8 };
    case "interval":
      return { kind: "fixed", bytes: { YEAR_MONTH: 4, DAY_TIME: 8, MONTH_DAY_NANO: 16 }[type.unit] };
    case "utf8":
    case "binary":
      return { kind: "binary", offsetBytes: 4 };
    case "largeutf8":
    case "largebinary":
      return { kind: "binary", offsetBytes: 8 };
    case "utf8view":
    case "binaryview":
      return { kind: "view" };
    case "list":
    case "map":
      return { kind: "list", offsetBytes: 4 };
    case "largelist":
      return { kind: "list", offsetBytes: 8 };
    case "listview":
      return { kind: "listview", offsetBytes: 4 };
    case "largelistview":
      return { kind: "listview", offsetBytes: 8 };
    case "fixedsizelist":
      return { kind: "fixedlist", size: type.listSize };
    case "struct":
      return { kind: "struct" };
    case "union":
      return { kind: "union", dense: type.mode === "DENSE" };
    case "runendencoded":
      return { kind: "runend" };
    default:
      throw new ArrowlaneError(
        "ERR_INVALID_DATA",
        `a schema names the type ${JSON.stringify((type as { name: string }).name)}, which is none of Arrow's types`,
      );
  }
}

/** The number of IPC buffers that a field itself has, without children and without variadic ones. */
export function bufferCount(physical: Physical): number {
  switch (physical.kind) {
    case "null":
    case "runend":
      return 0;
    case "fixedlist":
    case "struct":
      return 1;
    case "bool":
    case "fixed":
    case "view":
    case "list":
      return 2;
    case "binary":
    case "listview":
      return 3;
    case "union":
      return physical.dense ? 2 : 1;
  }
}

/** A type in words, as error messages give it: `list<listview<int32>>`. */
export function describeField(field: JsonField): string {
  const value = describeType(field.type, field.children);
  return field.dictionary === undefined
    ? value
    : `dictionary<${describeType(field.dictionary.indexType, [])}, ${value}>`;
}

function describeType(type: JsonType, children: JsonField[]): string {
  const inner = children.length === 0 ? "" : `<${children.map(describeField).join(", ")}>`;
  switch (type.name) {
    case "int":
      return `${type.isSigned ? "" : "u"}int${type.bitWidth}`;
    case "floatingpoint":
      return { HALF: "float16", SINGLE: "float32", DOUBLE: "float64" }[type.precision];
    case "decimal":
      return `decimal${type.bitWidth ?? 128}(${type.precision}, ${type.scale})`;
    case "fixedsizebinary":
      return `fixedsizebinary[${type.byteWidth}]`;
    case "fixedsizelist":
      return `fixedsizelist[${type.listSize}]${inner}`;
    case "date":
    case "time":
    case "timestamp":
    case "duration":
    case "interval":
      return `${type.name}[${type.unit.toLowerCase()}]`;
    case "union":
      return `${type.mode.toLowerCase()} union${inner}`;
    default:
      return `${type.name}${inner}`;
  }
}
