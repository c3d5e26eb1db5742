import type { FlatBatch } from "./arrow/flatten.js";
import type { JsonSchema } from "./arrow/json-schema.js";
import type { OutgoingLayout } from "./layout.js";
import type { Block } from "./writer.js";

/** A batch whose bytes are where they will be read. */
export interface Outgoing extends OutgoingLayout {
  readonly rows: number;
  readonly block: Block | undefined;
  /** Native handles of the schema and of the dictionaries. */
  readonly schema: number;
  readonly dictionaries: readonly number[];
  /** Set when the block's buffer was detached already. */
  readonly detached?: boolean;
}

/** One binary value: what raw bytes are sent as. */
const BYTES: JsonSchema = {
  fields: [{ name: "value", nullable: false, type: { name: "binary" }, children: [] }],
};

/** Raw bytes as a batch of one row. */
export function flatBytes(bytes: Uint8Array): FlatBatch {
  const offsets = new Uint8Array(new Int32Array([0, bytes.length]).buffer);
  const buffers = [new Uint8Array(0), offsets, bytes];
  return {
    rows: 1,
    nodes: [1, 0],
    buffers,
    variadic: [],
    schema: BYTES,
    columnsKey: BYTES,
    dictionaries: [],
  };
}
