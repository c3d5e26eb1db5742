import { arrow, hasArrow } from "../arrow-layer.js";
import { Batch } from "../batch.js";
import { ArrowlaneError } from "../errors.js";
import type { Sendable } from "../sending.js";
import { Writer } from "../writer.js";

/** @internal One thing to send, or each of several. */
export function each(
  what: Sendable | Iterable<Sendable> | AsyncIterable<Sendable>,
): Iterable<Sendable> | AsyncIterable<Sendable> {
  const one =
    what instanceof Batch ||
    what instanceof Writer ||
    what instanceof Uint8Array ||
    (hasArrow() && (arrow().isRecordBatch(what) || arrow().isTable(what)));
  if (one) return [what as Sendable];
  const many = what as Partial<Iterable<Sendable> & AsyncIterable<Sendable>> | null | undefined;
  if (typeof what === "object" && (many?.[Symbol.iterator] ?? many?.[Symbol.asyncIterator]) !== undefined) {
    return what as Iterable<Sendable>;
  }
  throw new ArrowlaneError(
    "ERR_INVALID_ARGUMENT",
    "what is offered must be a batch, a table, bytes, an iterable of those, a function that makes one, or a publisher",
  );
}
