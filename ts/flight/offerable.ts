import { unlessAborted } from "../aborted.js";
import { arrow, hasArrow } from "../arrow-layer.js";
import { Batch } from "../batch.js";
import { ArrowlaneError } from "../errors.js";
import type { Sendable } from "../sending.js";
import { Subscription } from "../subscription.js";
import { Writer } from "../writer.js";
import { Transfer } from "./transfer.js";

/** One thing to send, or each of several. */
function each(
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

/** As {@link each}; ends with the signal's reason, also while the next one is waited for. */
async function* eachUntil(
  what: Parameters<typeof each>[0],
  signal: AbortSignal | undefined,
): AsyncGenerator<Sendable, void, undefined> {
  const all = each(what);
  if (signal === undefined || !(Symbol.asyncIterator in all)) return yield* all;
  const iterator = all[Symbol.asyncIterator]();
  let left: "open" | "ended" | "waiting" = "open";
  try {
    for (;;) {
      left = "waiting";
      const next = await unlessAborted(iterator.next(), signal);
      left = next.done ? "ended" : "open";
      if (next.done) return;
      yield next.value;
    }
  } finally {
    // One that is waited for may never come, and leaves when it does.
    if (left === "waiting") void iterator.return?.()?.catch(() => {});
    else if (left === "open") await iterator.return?.();
  }
}

/** @internal Sends one thing, or each of several. What a transfer or a subscription gives nobody else gets to see, so it is disposed here. */
export async function sendEach(
  what: Parameters<typeof each>[0],
  signal: AbortSignal | undefined,
  send: (one: Sendable) => Promise<unknown>,
): Promise<void> {
  const delivered = what instanceof Transfer || what instanceof Subscription;
  for await (const one of eachUntil(what, signal)) {
    try {
      signal?.throwIfAborted();
      await send(one);
    } finally {
      if (delivered) (one as Batch).dispose();
    }
  }
}
