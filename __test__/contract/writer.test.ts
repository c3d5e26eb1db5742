/**
 * A writer's arrays lie in the publisher's shared memory. Until it is sent nobody sees what is written; from then on
 * the bytes are its subscribers', and the arrays are empty, so that nobody can change what is being read.
 */
import { afterEach, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import {
  codeOf,
  connected,
  counters,
  isPending,
  LENDS,
  lent,
  numbers,
  numbersSchema,
  Stage,
  settle,
  take,
  until,
  untilCollected,
} from "../support.js";
import { plain } from "../unit/arrow-support.js";

const stage = new Stage();
afterEach(() => stage.clear());

const everything = new arrow.Schema([
  new arrow.Field("id", new arrow.Int64(), false),
  new arrow.Field("on", new arrow.Bool(), false),
  new arrow.Field("name", new arrow.Utf8(), true),
  new arrow.Field("bytes", new arrow.Binary(), false),
  new arrow.Field("maybe", new arrow.Float32(), true),
  new arrow.Field("flag", new arrow.Bool(), true),
  new arrow.Field("nothing", new arrow.Null(), true),
]);

test("what was written arrives, of every kind of column, with its nulls", async () => {
  const { publisher, pending } = await connected(stage);
  const writer = await publisher.allocate(everything, 4, { bytes: { name: 64, bytes: 64 } });
  for (let n = 0; n < 4; n++) {
    writer.column("id")[n] = BigInt(n) * 10n;
    writer.column("on").set(n, n % 2 === 0);
    writer.column("name").append(n === 1 ? null : `row ${n} ä`);
    writer.column("bytes").append(Uint8Array.of(n, n));
    writer.column("maybe")[n] = n / 2;
    writer.column("flag").set(n, true);
  }
  writer.validity("maybe").set(2, false);
  writer.validity("flag").set(0, false);
  expect(await publisher.send(writer)).toBe(1);
  const batch = await pending[0];
  expect(batch.zeroCopy).toBe(LENDS);
  expect(plain(batch.column("id"))).toEqual([0n, 10n, 20n, 30n]);
  expect(plain(batch.column("on"))).toEqual([true, false, true, false]);
  expect(plain(batch.column("name"))).toEqual(["row 0 ä", null, "row 2 ä", "row 3 ä"]);
  expect(plain(batch.column("bytes"))).toEqual([
    [0, 0],
    [1, 1],
    [2, 2],
    [3, 3],
  ]);
  expect(plain(batch.column("maybe"))).toEqual([0, 0.5, null, 1.5]);
  expect(plain(batch.column("flag"))).toEqual([null, true, true, true]);
  expect(plain(batch.column("nothing"))).toEqual([null, null, null, null]);
  batch.dispose();
});

test("its length says how many rows are sent", async () => {
  const { publisher, pending } = await connected(stage);
  const writer = await publisher.allocate(numbersSchema, 1000);
  expect([writer.rows, writer.length]).toEqual([1000, 1000]);
  writer.column("i").fill(5);
  writer.length = 3;
  await publisher.send(writer);
  const batch = await pending[0];
  expect(plain(batch.column("i"))).toEqual([5, 5, 5]);
  batch.dispose();
});

test("after send its arrays have length 0 and everything else throws", async () => {
  const { publisher } = await connected(stage);
  const writer = await publisher.allocate(numbersSchema, 8);
  const array = writer.column("i");
  expect(array.length).toBe(8);
  await publisher.send(writer);
  expect([array.length, array.byteLength, array.buffer.byteLength]).toEqual([0, 0, 0]);
  array[0] = 1; // falls into the void
  expect(array[0]).toBeUndefined();
  expect(() => writer.column("x")).toThrow(expect.objectContaining({ code: "ERR_DISPOSED" }));
  expect(() => writer.location).toThrow(expect.objectContaining({ code: "ERR_DISPOSED" }));
  expect(await codeOf(publisher.send(writer))).toBe("ERR_DISPOSED");
  writer.dispose(); // does nothing
});

test("its arrays have length 0 from the call of send, also when that has to wait", async () => {
  const { publisher } = await connected(stage, { queue: { batches: 1 } });
  const abort = new AbortController();
  await publisher.send(numbers(0));
  await publisher.send(numbers(1));
  const { signal } = abort;
  const waiting = publisher.send(numbers(2), { signal });
  const writer = await publisher.allocate(numbersSchema, 8);
  const array = writer.column("i");
  const sent = publisher.send(writer, { signal });
  expect(await isPending(waiting)).toBe(true);
  expect(array.length).toBe(0);
  expect(await isPending(sent)).toBe(true);
  abort.abort();
  await expect(Promise.all([waiting, sent])).rejects.toThrow("aborted");
});

test("disposed it gives its memory back unsent, and who waits for memory goes on", async () => {
  const { publisher } = await connected(stage, { memory: 1 << 20 });
  const rows = 80_000; // 12 bytes each
  const writer = await publisher.allocate(numbersSchema, rows);
  const array = writer.column("x");
  const next = publisher.allocate(numbersSchema, rows);
  expect(await isPending(next)).toBe(true);
  writer.dispose();
  expect(array.length).toBe(0);
  (await next).dispose();
  expect(publisher.statistics().bytesInUse).toBe(0);
  writer.dispose();
});

test("forgotten it gives its memory back when nothing refers to its arrays, and not before", async () => {
  const { publisher } = await connected(stage);
  // What earlier tests forgot comes back first.
  for (let n = 0; n < 3; n++) {
    (globalThis as unknown as { gc(): void }).gc();
    await settle();
  }
  const before = counters().blocks;
  const held = await (async () => {
    const writer = await publisher.allocate(numbersSchema, 100);
    return [writer.column("x")];
  })();
  held[0].fill(1.5);
  (globalThis as unknown as { gc(): void }).gc();
  await settle();
  (globalThis as unknown as { gc(): void }).gc();
  await settle();
  expect(counters().blocks).toBe(before + 1);
  expect(held[0][99]).toBe(1.5);
  held.length = 0;
  await untilCollected(() => counters().blocks === before, "the forgotten block comes back");
});

test("a batch that can never fit is refused, and so are rows that are none", async () => {
  const { publisher } = await connected(stage, { memory: 1 << 20 });
  expect(await codeOf(publisher.allocate(numbersSchema, 1 << 20))).toBe("ERR_OUT_OF_MEMORY");
  for (const rows of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, "7" as never]) {
    expect(await codeOf(publisher.allocate(numbersSchema, rows))).toBe("ERR_INVALID_ARGUMENT");
  }
  expect(await codeOf(publisher.send(numbers(1, 1 << 20)))).toBe("ERR_OUT_OF_MEMORY");
});

test("a column that is not filled is refused when sent, and the writer can still be filled", async () => {
  const { publisher, pending } = await connected(stage);
  const schema = new arrow.Schema([new arrow.Field("name", new arrow.Utf8(), false)]);
  const writer = await publisher.allocate(schema, 2, { bytes: 8 });
  writer.column("name").append("a");
  expect(await codeOf(publisher.send(writer))).toBe("ERR_INVALID_DATA");
  expect(() => writer.column("name").append("far too long")).toThrow(
    expect.objectContaining({ code: "ERR_OUT_OF_SPACE" }),
  );
  writer.column("name").append("b");
  await publisher.send(writer);
  const batch = await pending[0];
  expect(plain(batch.column("name"))).toEqual(["a", "b"]);
  batch.dispose();
});

test("a zero-row writer is sent", async () => {
  const { publisher, pending } = await connected(stage);
  await publisher.send(await publisher.allocate(numbersSchema, 0));
  const batch = await pending[0];
  expect(batch.length).toBe(0);
  expect(batch.column("i").toArray().length).toBe(0);
  batch.dispose();
});

lent("a RecordBatch over a writer's arrays goes where it lies, without a copy", async () => {
  const { publisher, pending } = await connected(stage);
  const writer = await publisher.allocate(numbersSchema, 6);
  const location = writer.location;
  const [i, x] = [writer.column("i"), writer.column("x")];
  i.set([1, 2, 3, 4, 5, 6]);
  x.set([0.5, 1, 1.5, 2, 2.5, 3]);
  const batch = new arrow.RecordBatch(
    numbersSchema,
    arrow.makeData({
      type: new arrow.Struct(numbersSchema.fields),
      length: 6,
      nullCount: 0,
      children: [
        arrow.makeData({ type: new arrow.Int32(), length: 6, data: i }),
        arrow.makeData({ type: new arrow.Float64(), length: 6, data: x }),
      ],
    }) as never,
  );
  await publisher.send(batch);
  expect([i.length, x.length]).toEqual([0, 0]);
  const received = await pending[0];
  expect(received.location).toEqual(location);
  expect(plain(received.column("x"))).toEqual([0.5, 1, 1.5, 2, 2.5, 3]);
  received.dispose();
  await until(() => publisher.statistics().bytesInUse === 0, "the block is free");
});

/** A block's address means something in its own publisher's memory only: elsewhere it would show other bytes. */
test("a writer of another publisher is refused, not sent as something else", async () => {
  const a = await connected(stage);
  const b = await connected(stage);
  const writer = await a.publisher.allocate(numbersSchema, 4);
  writer.column("i").fill(1);
  writer.column("x").fill(1);
  expect(await codeOf(b.publisher.send(writer))).toBe("ERR_INVALID_ARGUMENT");
  expect(writer.column("i")[3]).toBe(1);
  await a.publisher.send(writer);
  const batch = await a.pending[0];
  expect(plain(batch.column("i"))).toEqual([1, 1, 1, 1]);
  batch.dispose();
});

/** The batch is spent by the attempt; its memory must not be. */
test("a writer whose sending fails gives its memory back", async () => {
  const before = counters().blocks;
  const { publisher, pending, subscriptions } = await connected(stage);
  await publisher.send(numbers(1));
  const other = new arrow.Schema([new arrow.Field("other", new arrow.Int8(), false)]);
  expect(await codeOf(publisher.send(await publisher.allocate(other, 5)))).toBe("ERR_SCHEMA_MISMATCH");
  (await pending[0]).dispose();
  const writer = await publisher.allocate(numbersSchema, 5);
  const array = writer.column("i");
  const closed = publisher.close();
  expect((await subscriptions[0].next()).done).toBe(true);
  await closed;
  expect(await codeOf(publisher.send(writer))).toBe("ERR_CLOSED");
  expect(array.length).toBe(0);
  await until(() => counters().blocks === before, "all blocks come back");
});

test("many writers are open at once", async () => {
  const { publisher, subscriptions, pending } = await connected(stage);
  const writers = await Promise.all(Array.from({ length: 20 }, () => publisher.allocate(numbersSchema, 7)));
  for (const [n, writer] of writers.entries()) writer.column("i").fill(n);
  for (const writer of writers.toReversed()) await publisher.send(writer);
  const received = [await pending[0]];
  while (received.length < 20) received.push(await take(subscriptions[0]));
  expect(received.map((b) => b.column("i").get(6))).toEqual(Array.from({ length: 20 }, (_, n) => 19 - n));
  for (const batch of received) batch.dispose();
});
