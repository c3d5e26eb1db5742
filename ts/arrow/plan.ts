import { type Data, type Field, type RecordBatch, type Schema, Struct } from "apache-arrow";
import type { Column } from "../columns.js";
import { ArrowlaneError } from "../errors.js";
import { Guard } from "./guarded-array.js";
import { rowsData } from "./guarded-data.js";
import { vectorOf } from "./guarded-vector.js";
import type { JsonField, JsonSchema } from "./json-schema.js";
import type { BodyAccess, Layout } from "./layout.js";
import { type Cursor, compile, type Reader, skip } from "./readers.js";
import { sharedRecordBatch } from "./record-batch.js";
import {
  columnFromJson,
  fieldFromJson,
  schemaFromJson,
  unsupported,
  unsupportedColumn,
} from "./schema-from-json.js";

export type { BodyAccess, Layout } from "./layout.js";

/** A selection of columns, with what apache-arrow wants to know about it. */
interface Selection {
  indices: readonly number[];
  schema: Schema;
  rows: Struct;
}

/**
 * All that depends only on a schema, computed once: where each column's parts are in a layout, its apache-arrow
 * field, and a reader that touches that column alone. Immutable once made; one plan serves every batch of a
 * stream. Columns that apache-arrow cannot hold do not stand in the way of the others.
 */
export class BatchPlan {
  readonly json: JsonSchema;
  readonly names: string[];
  readonly #positions: Cursor[];
  readonly #unsupported: (string | undefined)[];
  readonly #fields: (Field | undefined)[] = [];
  readonly #readers: (Reader | undefined)[] = [];
  readonly #dictionaries = new Map<number, JsonField>();
  readonly #dictionaryReaders = new Map<number, Reader>();
  readonly #selections = new Map<string, Selection>();
  #all: Selection | undefined;

  constructor(json: JsonSchema) {
    this.json = json;
    this.names = json.fields.map((f) => f.name);
    this.#unsupported = json.fields.map(unsupported);
    const cursor: Cursor = { node: 0, buffer: 0, variadic: 0 };
    this.#positions = json.fields.map((field) => {
      const here = { ...cursor };
      skip(field, cursor);
      return here;
    });
    for (const field of json.fields) this.#collectDictionaries(field);
  }

  get columnCount(): number {
    return this.json.fields.length;
  }

  /** The ids of all dictionaries of the schema, depth-first. */
  get dictionaryIds(): number[] {
    return [...this.#dictionaries.keys()];
  }

  /** The apache-arrow schema. Throws `ERR_UNSUPPORTED_TYPE` when a column cannot be held. */
  get schema(): Schema {
    return this.#everything().schema;
  }

  /** The index of the first column of that name, or -1. */
  indexOf(name: string): number {
    return this.names.indexOf(name);
  }

  /** What in column `i` apache-arrow cannot hold, or `undefined`. */
  unsupported(i: number): string | undefined {
    return this.#unsupported[i];
  }

  /** The apache-arrow field of column `i`. Throws `ERR_UNSUPPORTED_TYPE` when the column cannot be held. */
  field(i: number): Field {
    let field = this.#fields[i];
    if (field === undefined) {
      field = columnFromJson(this.#column(i));
      this.#fields[i] = field;
    }
    return field;
  }

  /**
   * Column `i` over the body's bytes, without a copy. `begin` and `end` take part of the rows.
   * Every Data made is told to `body.made`. Throws `ERR_UNSUPPORTED_TYPE` when the column cannot be held.
   */
  columnData(i: number, layout: Layout, body: BodyAccess, begin = 0, end = layout.rows): Data {
    const read = this.#readers[i] ?? this.#compileColumn(i);
    const guard = guardOf(body);
    const data = read(layout, body, guard);
    if (data.length !== layout.rows) throw unevenColumn(this.names[i], data.length, layout.rows);
    return begin === 0 && end === layout.rows ? data : sliceOf(data, begin, end, body);
  }

  /** Column `i` as a Vector; see {@link columnData}. */
  columnVector(i: number, layout: Layout, body: BodyAccess, begin = 0, end = layout.rows): Column {
    return vectorOf(this.columnData(i, layout, body, begin, end));
  }

  /** The rows as one struct Data: of all columns, or of those at `indices`. */
  batchData(
    layout: Layout,
    body: BodyAccess,
    indices?: readonly number[],
    begin = 0,
    end = layout.rows,
  ): Data<Struct> {
    return this.#batchData(this.#selection(indices), layout, body, begin, end);
  }

  /** The RecordBatch over the body's bytes: of all columns, or of those at `indices`. */
  toRecordBatch(
    layout: Layout,
    body: BodyAccess,
    metadata?: Map<string, string>,
    indices?: readonly number[],
    begin = 0,
    end = layout.rows,
  ): RecordBatch {
    const selection = this.#selection(indices);
    const data = this.#batchData(selection, layout, body, begin, end);
    return sharedRecordBatch(selection.schema, data, metadata);
  }

  /**
   * The values of dictionary `id` from a layout whose only column they are. A dictionary that came in several
   * pieces is the Vector of their Data, in order. `body` is that of the dictionary, which lives longer than a batch.
   */
  dictionaryData(id: number, layout: Layout, body: BodyAccess): Data {
    let read = this.#dictionaryReaders.get(id);
    if (read === undefined) {
      const field = this.dictionaryField(id);
      read = compile(field, fieldFromJson(field).type, { node: 0, buffer: 0, variadic: 0 });
      this.#dictionaryReaders.set(id, read);
    }
    return read(layout, body, guardOf(body));
  }

  /** The field of dictionary `id`'s values. */
  dictionaryField(id: number): JsonField {
    const field = this.#dictionaries.get(id);
    if (field !== undefined) return field;
    throw new ArrowlaneError(
      "ERR_INVALID_DATA",
      `the schema has no dictionary ${id}: its producer is at fault`,
    );
  }

  #column(i: number): JsonField {
    const field = this.json.fields[i];
    if (field !== undefined) return field;
    throw new ArrowlaneError(
      "ERR_INVALID_ARGUMENT",
      `there is no column ${i}: the batch has ${this.columnCount} (${this.names.join(", ")})`,
    );
  }

  #compileColumn(i: number): Reader {
    const read = compile(this.#column(i), this.field(i).type, { ...this.#positions[i] });
    this.#readers[i] = read;
    return read;
  }

  #batchData(
    selection: Selection,
    layout: Layout,
    body: BodyAccess,
    begin: number,
    end: number,
  ): Data<Struct> {
    const { indices } = selection;
    const columns = new Array<Data>(indices.length);
    for (let n = 0; n < columns.length; n++)
      columns[n] = this.columnData(indices[n], layout, body, begin, end);
    const data = rowsData(guardOf(body), selection.rows, end - begin, columns);
    body.made(data);
    return data;
  }

  #everything(): Selection {
    if (this.#all === undefined) {
      const { json } = this;
      const bad = this.#unsupported.findIndex((reason) => reason !== undefined);
      if (bad !== -1) throw unsupportedColumn(json.fields[bad], this.#unsupported[bad] as string);
      const indices = json.fields.map((_, i) => i);
      const schema = schemaFromJson(json);
      for (const i of indices) this.#fields[i] ??= schema.fields[i];
      this.#all = { indices, schema, rows: new Struct(schema.fields) };
    }
    return this.#all;
  }

  #selection(indices: readonly number[] | undefined): Selection {
    if (indices === undefined) return this.#all ?? this.#everything();
    const key = indices.join();
    let selection = this.#selections.get(key);
    if (selection === undefined) {
      const fields = indices.map((i) => this.#column(i));
      const json: JsonSchema = { ...this.json, fields };
      const schema = schemaFromJson(json);
      selection = { indices: [...indices], schema, rows: new Struct(schema.fields) };
      this.#selections.set(key, selection);
    }
    return selection;
  }

  #collectDictionaries(field: JsonField): void {
    if (field.dictionary !== undefined) {
      const { dictionary, ...values } = field;
      this.#dictionaries.set(dictionary.id, values);
    }
    for (const child of field.children) this.#collectDictionaries(child);
  }
}

function guardOf(body: BodyAccess): Guard {
  if (body.guard === undefined) body.guard = new Guard();
  return body.guard;
}

function sliceOf(data: Data, begin: number, end: number, body: BodyAccess): Data {
  const slice = data.slice(begin, end - begin);
  tell(slice, body);
  return slice;
}

function tell(data: Data, body: BodyAccess): void {
  body.made(data);
  for (const child of data.children) tell(child, body);
}

function unevenColumn(name: string, length: number, rows: number): ArrowlaneError {
  return new ArrowlaneError(
    "ERR_INVALID_DATA",
    `column ${JSON.stringify(name)} has ${length} values in a batch of ${rows} rows: its producer is at fault`,
  );
}
