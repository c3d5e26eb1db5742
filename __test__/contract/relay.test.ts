/** A received batch that is published on is forwarded, where that is possible, and copied where it is not. */
import { afterEach, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import type { Batch, publish } from "../../ts/index.js";
import { lane } from "../../ts/native/lane.js";
import { codeOf, connected, first, isPending, Stage, settle, take, until } from "../support.js";

const stage = new Stage();
afterEach(() => stage.clear());

const copied = () => lane().native.copiedBytes();

/** A batch that was received from `up`, and a publisher `down` with a subscriber to send it on to. */
async function received(options: Parameters<typeof publish>[1] = {}) {
  const up = await connected(stage);
  const down = await connected(stage, options);
  const table = new arrow.Table({
    i: arrow.vectorFromArray(Int32Array.from({ length: 64 }, (_, n) => n)),
    x: arrow.vectorFromArray(Float64Array.from({ length: 64 }, (_, n) => n / 2)),
    text: arrow.vectorFromArray(
      Array.from({ length: 64 }, (_, n) => `row ${n}`),
      new arrow.Utf8(),
    ),
  });
  await up.publisher.send(table, { metadata: { kept: "yes" } });
  return { up, down, batch: await up.pending[0] };
}

const held = (of: { publisher: { statistics(): { leases: number } } }) => of.publisher.statistics().leases;

/** Rows of some columns, as one handle. */
function part(batch: Batch, begin: number, end: number, names: string[]): Batch {
  using rows = batch.slice(begin, end);
  return rows.select(names);
}

const cases: [string, (batch: Batch) => Batch, boolean][] = [
  ["all of it", (batch) => batch.slice(), true],
  ["columns in another order", (batch) => batch.select(["text", "i"]), true],
  ["its first rows", (batch) => batch.slice(0, 10), true],
  ["rows that start at a multiple of 8 bytes", (batch) => part(batch, 6, 10, ["x", "i"]), true],
  ["no rows", (batch) => part(batch, 4, 4, ["i"]), true],
  ["rows that do not", (batch) => part(batch, 3, 5, ["i"]), false],
  ["texts from the middle on", (batch) => part(batch, 8, 9, ["text"]), false],
  ["a copy", (batch) => batch.copy(), false],
];

test.each(cases)("%s", async (_, partOf, forwarded) => {
  const { up, down, batch } = await received({ strictZeroCopy: true });
  const loose = await connected(stage);
  const sent = partOf(batch);
  const before = copied();
  expect(await codeOf(down.publisher.send(sent))).toBe(
    forwarded ? "nothing was thrown" : "ERR_COPY_REQUIRED",
  );
  expect(copied()).toBe(before);
  await loose.publisher.send(sent);
  expect(copied() === before).toBe(forwarded);
  for (const pending of [...(forwarded ? down.pending : []), ...loose.pending]) {
    const got = await pending;
    expect([got.length, got.columnNames, got.zeroCopy]).toEqual([
      sent.length,
      sent.columnNames,
      sent.length > 0,
    ]);
    expect(got.toArrow().toArray().map(String)).toEqual(sent.toArrow().toArray().map(String));
    expect([...got.metadata]).toEqual([["kept", "yes"]]);
    if (got.length > 0) expect(got.location?.memory === batch.location?.memory).toBe(forwarded);
    got.dispose();
  }
  sent.dispose();
  batch.dispose();
  await until(() => held(up) === 0, "the lease ends");
});

test("its handle may be disposed as soon as it is asked to be sent, also where it has to wait", async () => {
  const { up, down, batch } = await received({ queue: { batches: 1 } });
  const rows = batch.slice(0, 8);
  const sends = [batch, batch, rows].map((one) => down.publisher.send(one));
  batch.dispose();
  rows.dispose();
  expect(await isPending(sends[2])).toBe(true);
  expect(held(up)).toBe(1);
  const lengths: number[] = [];
  for (let b = 0; b < 3; b++) {
    const got = await (b === 0 ? down.pending[0] : take(down.subscriptions[0]));
    expect(first(got)).toBe(0);
    lengths.push(got.length);
    got.dispose();
  }
  expect(lengths).toEqual([64, 64, 8]);
  expect(await Promise.all(sends)).toEqual([1, 1, 1]);
  await until(() => held(up) === 0, "the lease ends");
});

test("one that is given up while it waits gives its lease back", async () => {
  const { up, down, batch } = await received({ queue: { batches: 1 } });
  const signal = new AbortController();
  const sends = [0, 1, 2, 3].map((n) => down.publisher.send(batch, n < 2 ? {} : { signal: signal.signal }));
  batch.dispose();
  for (const one of sends) one.catch(() => {});
  expect(await isPending(sends[2])).toBe(true);
  signal.abort();
  const settled = await Promise.allSettled(sends);
  expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "rejected"]);
  expect(held(up)).toBe(1);
  (await down.pending[0]).dispose();
  (await take(down.subscriptions[0])).dispose();
  await until(() => held(up) === 0, "the lease ends");
});

test("it goes on as it was received: what was written into it meanwhile stays here", async () => {
  const { up, down, batch } = await received();
  batch.column("i").toArray().fill(-1);
  await down.publisher.send(batch, { metadata: { other: "words" } });
  expect(first(batch)).toBe(-1);
  batch.dispose();
  const got = await down.pending[0];
  expect([...got.column("i").toArray()]).toEqual(Array.from({ length: 64 }, (_, n) => n));
  expect([...got.metadata]).toEqual([["other", "words"]]);
  const [figures] = down.publisher.subscriptions();
  expect([figures.leases, figures.bytes > 64 * 12, down.publisher.statistics().bytesInUse]).toEqual([
    1,
    true,
    0,
  ]);
  got.dispose();
  await until(() => held(up) === 0, "the lease ends");
});

test("close waits for those who read what is somebody else's, with signal for nobody", async () => {
  for (const patient of [true, false]) {
    const { up, down, batch } = await received();
    await down.publisher.send(batch);
    batch.dispose();
    const got = await down.pending[0];
    const signal = new AbortController();
    const closing = down.publisher.close({ signal: signal.signal });
    closing.catch(() => {});
    expect((await down.subscriptions[0].next()).done).toBe(true);
    expect(await isPending(closing)).toBe(true);
    expect(held(up)).toBe(1);
    if (patient) got.dispose();
    else signal.abort();
    expect(await codeOf(closing)).toBe(patient ? "nothing was thrown" : 20);
    if (!patient) {
      // It is read all the same, and so not given back.
      await settle();
      expect([held(up), first(got)]).toEqual([1, 0]);
      got.dispose();
    }
    await until(() => held(up) === 0, "the lease ends");
  }
});
