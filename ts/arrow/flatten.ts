import { ArrowlaneError } from "../errors.js";
import { concatNodes } from "./concat.js";
import { type FlatNode, flattenData } from "./flat-node.js";
import type { AnyData, AnyRecordBatch, AnyTable, AnyVector } from "./foreign.js";
import type { JsonField, JsonSchema } from "./json-schema.js";
import { rememberedSchema } from "./schema-memory.js";

export type { AnyRecordBatch, AnyTable } from "./foreign.js";
export { isRecordBatch, isSchema, isTable } from "./foreign.js";
export { type PackedLayout, packedLayout, packInto } from "./pack.js";

/** Columns in IPC order: what is copied into a block, or lies in one. */
export interface Flat {
  rows: number;
  /** Length and null count of each field, depth-first. */
  nodes: number[];
  /** The exact bytes of each buffer; an empty one is `EMPTY`. Views of the caller's memory where possible. */
  buffers: Uint8Array[];
  variadic: number[];
}

/** The values of one dictionary of a batch. */
export interface FlatDictionary {
  /** The id that its field has in the JSON schema. */
  id: number;
  /** The caller's object that holds the values: the same key with the same `flat.rows` need not be sent again. */
  key: object;
  flat: Flat;
}

/** A batch ready to be sent. */
export interface FlatBatch extends Flat {
  schema: JsonSchema;
  /** Dictionaries in the order in which they must go: those that others refer to come first. */
  dictionaries: FlatDictionary[];
  /** The same object for every batch whose schema is the same: a key for what depends on the schema. */
  columnsKey: object;
}

/** A record batch of any copy of apache-arrow, ready to be sent. Slices send only their slice. */
export function flattenBatch(batch: AnyRecordBatch): FlatBatch {
  const schema = rememberedSchema(batch.schema);
  // A disposed batch throws here.
  void batch.data.nullCount;
  return flattenColumns(schema, batch.data.children, batch.data.length);
}

function flattenColumns(
  schema: JsonSchema,
  children: readonly (AnyData | undefined)[],
  rows: number,
): FlatBatch {
  const dictionaries: FlatDictionary[] = [];
  const found = collector(dictionaries);
  const columns = schema.fields.map((field, i) => flattenData(children[i], field, 0, rows, found));
  const { buffers, variadic, nodes } = linear(rows, columns);
  // Property by property: a spread took three times as long as all the rest.
  return { rows, nodes, buffers, variadic, schema, dictionaries, columnsKey: schema };
}

/** The batches of a table of any copy of apache-arrow, ready to be sent; of one without any, a batch without rows. */
export function flattenTable(table: AnyTable): FlatBatch[] {
  if (table.batches.length === 0) return [flattenColumns(rememberedSchema(table.schema), [], 0)];
  return table.batches.map(flattenBatch);
}

function linear(rows: number, columns: FlatNode[]): Flat {
  const flat: Flat = { rows, nodes: [], buffers: [], variadic: [] };
  for (const column of columns) append(flat, column);
  return flat;
}

function append(flat: Flat, node: FlatNode): void {
  flat.nodes.push(node.length, node.nulls);
  for (const buffer of node.buffers) flat.buffers.push(buffer);
  if (node.variadic !== undefined) flat.variadic.push(node.variadic);
  for (const child of node.children) append(flat, child);
}

/** Values that hold no dictionaries of their own are flattened once for as long as the caller keeps them. */
const flattened = new WeakMap<object, { field: string; flat: Flat }>();

function collector(out: FlatDictionary[]) {
  return function found(id: number, values: AnyVector, { dictionary: _, ...field }: JsonField): void {
    const key = values.data.length === 1 ? values.data[0] : values;
    const before = out.find((d) => d.id === id);
    if (before !== undefined) {
      if (before.key === key) return;
      throw new ArrowlaneError(
        "ERR_INVALID_DATA",
        `column ${JSON.stringify(field.name)} is in pieces with different dictionaries: build it in one piece`,
      );
    }
    const shape = JSON.stringify([field.type, field.children]);
    const known = flattened.get(key);
    if (known !== undefined && known.field === shape && known.flat.rows === values.length) {
      // A disposed batch's dictionary throws here; its bytes are no longer ours to send.
      for (const data of values.data) void data.nullCount;
      out.push({ id, key, flat: known.flat });
      return;
    }
    const already = out.length;
    const pieces = values.data.map((data) => flattenData(data, field, 0, data.length, found));
    const flat = linear(values.length, [concatNodes(field, pieces)]);
    if (out.length === already) flattened.set(key, { field: shape, flat });
    out.push({ id, key, flat });
  };
}
