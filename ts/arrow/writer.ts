import type { DataType, Schema, TypeMap } from "apache-arrow";
import { ArrowlaneError, UnsupportedTypeError } from "../errors.js";
import type { AnySchema } from "./foreign.js";
import { describeField, type JsonField, type JsonSchema, physicalOf } from "./json-schema.js";
import { ELEMENT_BYTES, type ElementKind, elementArray } from "./layout.js";
import { alignUp } from "./pack.js";
import { schemaToJson } from "./schema-to-json.js";
import {
  BinaryColumn,
  type Bitmap,
  type BoolColumn,
  bitmapOver,
  type ColumnOf,
  type ColumnPlace,
  type Place,
  Utf8Column,
} from "./writer-columns.js";

export { BinaryColumn, Bitmap, type BoolColumn, type ColumnOf, Utf8Column } from "./writer-columns.js";

/** How much room a writer's columns of variable width get. */
export interface WriterOptions {
  /** Bytes for the values of each Utf8 and Binary column: one number for all, or one by column name. */
  bytes?: number | Record<string, number>;
}

/** Where everything of a batch to be written lies in one block; made once for a schema and a number of rows. */
export interface WriterPlan {
  readonly schema: JsonSchema;
  readonly rows: number;
  /** The size of the block. */
  readonly bytes: number;
  readonly columns: readonly ColumnPlace[];
}

/** A written batch as it lies in its block: the same numbers as a received one. */
export interface WrittenLayout {
  rows: number;
  nodes: number[];
  /** Offset and byte length of each buffer, two numbers a buffer; (0, 0) for an empty one. */
  buffers: number[];
  variadic: number[];
}

const ALIGN = 64;
/** Room for a value of variable width where the caller says nothing. */
const DEFAULT_BYTES_PER_ROW = 32;

/**
 * Lays out `rows` rows of `schema` for writing in place. Fixed-width columns, Bool, Null, FixedSizeList of
 * fixed-width values, Utf8 and Binary can be written so; throws `ERR_UNSUPPORTED_TYPE` for others, which go as
 * an apache-arrow RecordBatch.
 */
export function planWriter(
  schema: JsonSchema | AnySchema,
  rows: number,
  options: WriterOptions = {},
): WriterPlan {
  if (!Number.isSafeInteger(rows) || rows < 0) {
    throw new ArrowlaneError(
      "ERR_INVALID_ARGUMENT",
      `a batch cannot have ${rows} rows: give a whole number from 0`,
    );
  }
  if (!Array.isArray((schema as Partial<JsonSchema> | undefined)?.fields)) {
    throw new ArrowlaneError("ERR_INVALID_ARGUMENT", "the schema must be an apache-arrow Schema");
  }
  const json = isJson(schema) ? schema : schemaToJson(schema);
  checkBytes(json, options.bytes);
  let bytes = 0;
  const take = (length: number): Place => {
    const offset = alignUp(bytes, ALIGN);
    bytes = offset + length;
    return { offset, length };
  };
  const columns = json.fields.map((field) => placeColumn(field, rows, options, take));
  return { schema: json, rows, bytes, columns };
}

/** The library keeps metadata in a Map. */
function isJson(schema: JsonSchema | AnySchema): schema is JsonSchema {
  const { metadata } = schema;
  return (
    (metadata === undefined || Array.isArray(metadata)) && schema.fields.every(({ type }) => "name" in type)
  );
}

function placeColumn(
  field: JsonField,
  rows: number,
  options: WriterOptions,
  take: (length: number) => Place,
): ColumnPlace {
  const validity = field.nullable && field.type.name !== "null" ? take(Math.ceil(rows / 8)) : undefined;
  if (field.dictionary !== undefined) throw notWritable(field);
  const physical = physicalOf(field.type);
  switch (physical.kind) {
    case "null":
      return { field, kind: "null" };
    case "bool":
      return { field, kind: "bool", validity, values: take(Math.ceil(rows / 8)) };
    case "fixed": {
      const element = elementOf(field);
      const stride = physical.bytes / ELEMENT_BYTES[element];
      return { field, kind: "fixed", validity, values: take(rows * physical.bytes), element, stride };
    }
    case "fixedlist": {
      const [child] = field.children;
      const inner = child.dictionary === undefined ? physicalOf(child.type) : undefined;
      if (inner?.kind !== "fixed") throw notWritable(field);
      const element = elementOf(child);
      const stride = (physical.size * inner.bytes) / ELEMENT_BYTES[element];
      const values = take(rows * physical.size * inner.bytes);
      return { field, kind: "fixed", validity, values, element, stride, listSize: physical.size };
    }
    case "binary": {
      const { offsetBytes } = physical;
      const offsets = take((rows + 1) * offsetBytes);
      return {
        field,
        kind: "binary",
        validity,
        offsets,
        offsetBytes,
        values: take(budget(field, rows, options, offsetBytes)),
      };
    }
    default:
      throw notWritable(field);
  }
}

/** A misspelt column would have got no room. */
function checkBytes({ fields }: JsonSchema, bytes: unknown): void {
  if (bytes === undefined || (Number.isSafeInteger(bytes) && (bytes as number) >= 0)) return;
  const expected = "a whole number from 0, or an object with one for each column of variable width";
  if (typeof bytes !== "object" || bytes === null) {
    throw new ArrowlaneError("ERR_INVALID_ARGUMENT", `bytes must be ${expected}, not ${String(bytes)}`);
  }
  for (const name of Object.keys(bytes)) {
    const field = fields.find((one) => one.name === name);
    if (field !== undefined && physicalOf(field.type).kind === "binary") continue;
    const what = field === undefined ? "there is no such column" : "its width is fixed";
    throw new ArrowlaneError(
      "ERR_INVALID_ARGUMENT",
      `bytes names the column ${JSON.stringify(name)}, but ${what}: it must be ${expected}`,
    );
  }
}

function budget(field: JsonField, rows: number, { bytes }: WriterOptions, offsetBytes: 4 | 8): number {
  const given = typeof bytes === "object" ? bytes[field.name] : bytes;
  const most = offsetBytes === 4 ? 0x7fffffff : Number.MAX_SAFE_INTEGER;
  const usual = Math.min(most, Math.max(1024, rows * DEFAULT_BYTES_PER_ROW));
  const room = given === undefined ? usual : given;
  if (Number.isSafeInteger(room) && room >= 0 && room <= most) return room;
  throw new ArrowlaneError(
    "ERR_INVALID_ARGUMENT",
    `column ${JSON.stringify(field.name)} cannot have ${room} bytes: give a whole number from 0 to ${most} in options.bytes`,
  );
}

/** The typed array of a fixed-width column: the one that apache-arrow reads it through. */
function elementOf({ type }: JsonField): ElementKind {
  switch (type.name) {
    case "int":
      return `${type.isSigned ? "i" : "u"}${type.bitWidth}` as ElementKind;
    case "floatingpoint":
      return ({ HALF: "u16", SINGLE: "f32", DOUBLE: "f64" } as const)[type.precision];
    case "decimal":
      return "u32";
    case "fixedsizebinary":
      return "u8";
    case "interval":
      return "i32";
    case "time":
      return type.bitWidth === 32 ? "i32" : "i64";
    case "date":
      return type.unit === "DAY" ? "i32" : "i64";
    default:
      return "i64";
  }
}

function notWritable(field: JsonField): UnsupportedTypeError {
  return new UnsupportedTypeError(
    `column ${JSON.stringify(field.name)} has the type ${describeField(field)}, which cannot be written in place: ` +
      "build an apache-arrow RecordBatch and send that",
  );
}

type Writable = { column: unknown; validity?: Bitmap | undefined };

/**
 * Writes a batch in place, into a block of shared memory: what `allocate(schema, rows)` returns.
 *
 * Fixed-width columns are typed arrays over the block; their contents are unspecified until written (the block
 * has been used before); a column that is never asked for is all zeros. Utf8 and Binary columns are filled by `append`, in order. All values are valid until
 * `validity(name)` says otherwise. `send` detaches the arrays.
 */
export class BatchWriter<T extends TypeMap = TypeMap> {
  readonly plan: WriterPlan;
  readonly #buffer: ArrayBuffer;
  readonly #columns = new Map<string, Writable>();
  #length: number;

  constructor(plan: WriterPlan, buffer: ArrayBuffer) {
    if (buffer.byteLength < plan.bytes) {
      throw new ArrowlaneError(
        "ERR_INVALID_ARGUMENT",
        `the buffer has ${buffer.byteLength} bytes where the plan needs ${plan.bytes}`,
      );
    }
    this.plan = plan;
    this.#buffer = buffer;
    this.#length = plan.rows;
  }

  /** The number of rows there is room for. */
  get rows(): number {
    return this.plan.rows;
  }

  /** The number of rows that will be sent; as many as there is room for, until set. */
  get length(): number {
    return this.#length;
  }

  set length(rows: number) {
    if (!Number.isSafeInteger(rows) || rows < 0 || rows > this.plan.rows) {
      throw new ArrowlaneError(
        "ERR_INVALID_ARGUMENT",
        `length cannot be ${rows}: this writer has room for ${this.plan.rows} rows`,
      );
    }
    this.#length = rows;
  }

  /** The column to write: a typed array for fixed width, `append` for Utf8 and Binary, `set` for Bool. */
  column<K extends keyof T & string>(name: K): ColumnOf<T[K]> {
    return this.#writable(name).column as ColumnOf<T[K]>;
  }

  /** Says which values of a nullable column are there; all are, until one is set otherwise. */
  validity(name: keyof T & string): Bitmap {
    const place = this.#place(name);
    if (place.kind === "null" || place.validity === undefined) {
      throw new ArrowlaneError(
        "ERR_INVALID_ARGUMENT",
        `column ${JSON.stringify(name)} is not nullable: make its field nullable to write nulls`,
      );
    }
    const writable = this.#writable(name);
    writable.validity ??= bitmapOver(this.#buffer, place.validity, this.plan.rows, true);
    return writable.validity;
  }

  /**
   * What was written, as it lies in the block. Throws `ERR_INVALID_DATA` when a Utf8 or Binary column has not as
   * many values as the batch has rows.
   */
  finish(): WrittenLayout {
    const out: WrittenLayout = { rows: this.#length, nodes: [], buffers: [], variadic: [] };
    for (const place of this.plan.columns) this.#finishColumn(place, out);
    return out;
  }

  #finishColumn(place: ColumnPlace, { nodes, buffers }: WrittenLayout): void {
    const rows = this.#length;
    if (place.kind === "null") {
      nodes.push(rows, rows);
      return;
    }
    const writable = this.#columns.get(place.field.name);
    if (writable === undefined && place.kind !== "binary") this.#clear(place.values);
    const push = (at: Place | undefined, length: number) => {
      if (at === undefined || length === 0) buffers.push(0, 0);
      else buffers.push(at.offset, length);
    };
    let column: BinaryColumn | undefined;
    if (place.kind === "binary") {
      column = this.#writable(place.field.name).column as BinaryColumn;
      if (column.length !== rows) throw incomplete(place.field, column.length, rows);
    }
    const nulls = writable?.validity?.countFalse(rows) ?? 0;
    nodes.push(rows, nulls);
    push(place.validity, nulls === 0 ? 0 : Math.ceil(rows / 8));
    switch (place.kind) {
      case "bool":
        push(place.values, Math.ceil(rows / 8));
        break;
      case "binary":
        push(place.offsets, (rows + 1) * place.offsetBytes);
        push(place.values, column?.bytes ?? 0);
        break;
      case "fixed": {
        const bytes = rows * place.stride * ELEMENT_BYTES[place.element];
        if (place.listSize !== undefined) {
          nodes.push(rows * place.listSize, 0);
          push(undefined, 0);
        }
        push(place.values, bytes);
      }
    }
  }

  /** A column that was never asked for holds what an earlier batch left there: nobody is to see that. */
  #clear({ offset, length }: Place): void {
    new Uint8Array(this.#buffer, offset, length).fill(0);
  }

  #place(name: string): ColumnPlace {
    const place = this.plan.columns.find((c) => c.field.name === name);
    if (place !== undefined) return place;
    throw new ArrowlaneError(
      "ERR_INVALID_ARGUMENT",
      `there is no column ${JSON.stringify(name)}: the schema has ${this.plan.columns.map((c) => c.field.name).join(", ")}`,
    );
  }

  #writable(name: string): Writable {
    let writable = this.#columns.get(name);
    if (writable === undefined) {
      writable = { column: this.#open(this.#place(name)) };
      this.#columns.set(name, writable);
    }
    return writable;
  }

  #open(place: ColumnPlace): unknown {
    const { rows } = this.plan;
    switch (place.kind) {
      case "null":
        return null;
      case "bool":
        return bitmapOver(this.#buffer, place.values, rows, false) satisfies BoolColumn;
      case "fixed":
        return elementArray(place.element, this.#buffer, place.values.offset, rows * place.stride);
      case "binary": {
        const text = place.field.type.name === "utf8" || place.field.type.name === "largeutf8";
        const absent = place.validity && (() => this.validity(place.field.name as keyof T & string));
        return text
          ? new Utf8Column(this.#buffer, place, rows, absent)
          : new BinaryColumn(this.#buffer, place, rows, absent);
      }
    }
  }
}

function incomplete(field: JsonField, have: number, rows: number): ArrowlaneError {
  return new ArrowlaneError(
    "ERR_INVALID_DATA",
    `column ${JSON.stringify(field.name)} has ${have} values in a batch of ${rows} rows: ` +
      "append one value for each row, or set the writer's length",
  );
}

/** The columns that a schema of apache-arrow's own types is written through. */
export type ColumnsOf<S> = S extends Schema<infer T> ? { [K in keyof T]: ColumnOf<T[K] & DataType> } : never;
