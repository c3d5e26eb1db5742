import type { RecordBatch, Table } from "apache-arrow";
import type { Batch } from "./batch.js";
import { checkMetadata } from "./metadata.js";
import { checkObject, checkSignal } from "./options.js";
import type { Writer } from "./writer.js";

/** What can be sent: see `Publisher.send`. A `Uint8Array` arrives as one row of one Binary column, `value`. */
export type Sendable = Batch | Writer | RecordBatch | Table | Uint8Array;

/** What can be said of one sending. */
export interface SendOptions {
  /** Key/values that travel with the batch; a `Batch` that is sent on keeps its own where nothing is said. */
  metadata?: ReadonlyMap<string, string> | Record<string, string>;
  /** Gives up waiting; rejects with the signal's reason, and the batch is not sent. */
  signal?: AbortSignal;
}

/** Throws `ERR_INVALID_ARGUMENT` for options that are none. */
export function checkSending(options: SendOptions): void {
  checkObject("the options of send", options);
  checkMetadata(options.metadata);
  checkSignal(options.signal);
}
