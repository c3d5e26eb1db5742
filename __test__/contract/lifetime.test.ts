/**
 * How long a received batch may be read.
 *
 * A body is lent: its bytes are the publisher's. The lease ends with the last handle's `dispose`, and from then on
 * every way of reading throws `ERR_DISPOSED`; nothing crashes and nothing returns nonsense. Where nobody disposes, the
 * lease lives until the last object over the bytes is collected.
 */
import { afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import type { Batch } from "../../ts/index.js";
import { DisposedError } from "../../ts/index.js";
import { connected, first, numbers, Stage, settle, take, until, untilCollected } from "../support.js";
import { batchOf, esm, plain, plainly, questions, reads, samples } from "../unit/arrow-support.js";

const stage = new Stage();
afterEach(() => stage.clear());
const disposed = expect.objectContaining({ code: "ERR_DISPOSED", name: "DisposedError" });
const collect = () => (globalThis as unknown as { gc(): void }).gc();

describe("reading after dispose throws and does not crash", () => {
  const columns = samples(esm);
  test.each(Object.keys(columns))("a %s column, in every way", async (name) => {
    const { publisher, pending } = await connected(stage);
    await publisher.send(batchOf(esm, { [name]: columns[name] }));
    const batch = await pending[0];
    const vector = batch.column(name);
    const rb = batch.toArrow();
    const slice = vector.slice(1, 9);
    const element = vector.type.typeId === arrow.Type.List ? (vector.get(1) as arrow.Vector) : undefined;
    for (const [how, read] of Object.entries(reads)) {
      expect([how, plainly(read(vector))]).toEqual([how, plainly(read(columns[name]))]);
    }
    batch.dispose();
    for (const [how, read] of Object.entries(reads)) {
      let outcome: unknown = "was read";
      try {
        outcome = ["was read", read(vector)];
      } catch (error) {
        outcome = (error as { code?: unknown }).code;
      }
      expect([how, outcome]).toEqual([how, "ERR_DISPOSED"]);
    }
    expect(() => plain(slice)).toThrow(disposed);
    expect(() => plain(rb.getChildAt(0) as arrow.Vector)).toThrow(disposed);
    expect(() => rb.get(0)?.toJSON()).toThrow(disposed);
    expect(() => [...new arrow.Table([rb])].map((row) => row?.toJSON())).toThrow(disposed);
    if (element !== undefined) expect(() => element.get(0)).toThrow(disposed);
  });

  test("and so does everything that is asked of the handle", async () => {
    const { publisher, pending } = await connected(stage);
    await publisher.send(numbers(1), { metadata: { a: "b" } });
    const batch = await pending[0];
    expect(batch.disposed).toBe(false);
    batch.dispose();
    expect(batch.disposed).toBe(true);
    const asked = questions(batch);
    for (const ask of asked) expect(ask).toThrow(DisposedError);
    await expect(publisher.send(batch)).rejects.toThrow(disposed);
    const other = await connected(stage);
    await expect(other.publisher.send(batch)).rejects.toThrow(disposed);
  });

  test("a RecordBatch whose batch was disposed cannot be sent on", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    await publisher.send(batchOf(esm, samples(esm)));
    const batch = await pending[0];
    const rb = batch.toArrow();
    batch.dispose();
    await expect(publisher.send(rb)).rejects.toThrow(disposed);
    await expect(publisher.send(new arrow.Table([rb]))).rejects.toThrow(disposed);
    expect(subscriptions).toHaveLength(1);
  });
});

describe("dispose", () => {
  test("ends the lease, and a second one does nothing", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    await publisher.send(numbers(1));
    await publisher.send(numbers(2));
    const [a, b] = [await pending[0], await take(subscriptions[0])];
    expect(publisher.statistics().leases).toBe(2);
    a.dispose();
    a.dispose();
    a[Symbol.dispose]();
    await until(() => publisher.statistics().leases === 1, "one lease ends");
    await settle();
    expect(publisher.statistics().leases).toBe(1);
    expect(first(b)).toBe(2000);
    b.dispose();
    await until(() => publisher.statistics().bytesInUse === 0, "the memory is free");
  });

  test("gives raw typed arrays length 0", async () => {
    const { publisher, pending } = await connected(stage);
    await publisher.send(numbers(1));
    const batch = await pending[0];
    const raw = batch.column("x").data[0].values as Float64Array;
    const view = new Uint8Array(raw.buffer);
    expect(raw.length).toBe(10);
    batch.dispose();
    expect([raw.length, raw.buffer.byteLength, view.length, raw[0]]).toEqual([0, 0, 0, undefined]);
  });

  test("in the middle of an iteration makes the next step throw", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    const all = samples(esm);
    await publisher.send(batchOf(esm, all));
    let batch = await pending[0];
    for (const name of Object.keys(all)) {
      let seen = 0;
      expect(() => {
        for (const _ of batch.column(name)) if (++seen === 3) batch.dispose();
      }).toThrow(disposed);
      expect([name, seen]).toEqual([name, 3]);
      await publisher.send(batchOf(esm, all));
      batch = await take(subscriptions[0]);
    }
    batch.dispose();
  });

  test("`using` disposes at the end of the block", async () => {
    const { publisher, pending } = await connected(stage);
    await publisher.send(numbers(1));
    let kept: Batch;
    {
      using batch = await pending[0];
      kept = batch;
      expect(first(batch)).toBe(1000);
    }
    expect(kept.disposed).toBe(true);
    await until(() => publisher.statistics().leases === 0, "the lease ends");
  });

  test("after the publisher closed, and after it was collected, does no harm", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    await publisher.send(numbers(1));
    const batch = await pending[0];
    await publisher.close();
    expect((await subscriptions[0].next()).done).toBe(true);
    expect(plain(batch.column("i"))).toHaveLength(10);
    batch.dispose();
    expect(() => batch.column("i")).toThrow(disposed);
  });
});

describe("slices and selections are handles of their own on the same lease", () => {
  test("the lease ends with the last of them", async () => {
    const { publisher, pending } = await connected(stage);
    await publisher.send(numbers(1));
    const batch = await pending[0];
    const slice = batch.slice(2, 5);
    const select = slice.select(["x"]);
    const column = select.column("x");
    expect([slice.length, select.length, select.columnNames]).toEqual([3, 3, ["x"]]);
    expect(slice.toArrow().numRows).toBe(3);
    expect(select.schema.fields.map((f) => f.name)).toEqual(["x"]);
    batch.dispose();
    expect(() => batch.column("i")).toThrow(disposed);
    expect(plain(slice.column("i"))).toEqual([1002, 1003, 1004]);
    slice.dispose();
    await settle();
    expect(publisher.statistics().leases).toBe(1);
    expect(plain(column)).toEqual([501, 501.5, 502]);
    select.dispose();
    expect(() => column.get(0)).toThrow(disposed);
    await until(() => publisher.statistics().leases === 0, "the lease ends");
  });

  test("slice counts as arrays do", async () => {
    const { publisher, pending } = await connected(stage);
    await publisher.send(numbers(0));
    const batch = await pending[0];
    const rows = Array.from({ length: 10 }, (_, n) => n);
    for (const [begin, end] of [
      [],
      [3],
      [3, 7],
      [-4],
      [-4, -1],
      [7, 3],
      [20],
      [0, 99],
      [-99, 2],
      [Number.NaN, 2],
    ]) {
      const slice = batch.slice(begin, end);
      expect([begin, end, plain(slice.column("i"))]).toEqual([begin, end, rows.slice(begin, end)]);
      slice.dispose();
    }
    const inner = batch.slice(2, 8).slice(1, -1);
    expect(plain(inner.column("i"))).toEqual([3, 4, 5, 6]);
    expect(() => batch.select(["nope"])).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARGUMENT" }));
    expect(() => batch.column("nope")).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARGUMENT" }));
    const x: Batch = inner.select(["x"]);
    expect(() => x.column("i")).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARGUMENT" }));
    batch.dispose();
  });

  test("a copy outlives the lease", async () => {
    const { publisher, pending } = await connected(stage);
    await publisher.send(batchOf(esm, samples(esm)));
    const batch = await pending[0];
    const expected = Object.fromEntries(
      batch.columnNames.map((n) => [n, plain(batch.column(n)).slice(3, 30)]),
    );
    const slice = batch.slice(3, 30);
    const copy = slice.copy();
    const part = slice.select(["utf8", "dictionary"]).copy();
    slice.dispose();
    batch.dispose();
    for (const name of Object.keys(expected))
      expect([name, plain(copy.column(name))]).toEqual([name, expected[name]]);
    expect(part.columnNames).toEqual(["utf8", "dictionary"]);
    expect(plain(part.column("dictionary"))).toEqual(expected.dictionary);
    copy.dispose();
    part.dispose();
    expect(() => copy.column("i")).toThrow(disposed);
  });
});

describe("without dispose the lease lives as long as anything over the bytes", () => {
  /** Takes a batch in a function of its own, so that nothing but what `keep` returns can refer to it. */
  async function keepOnly<T>(
    source: arrow.RecordBatch,
    keep: (batch: Batch) => T,
  ): Promise<{ kept: T[]; leases: () => number }> {
    const { publisher, subscriptions, pending } = await connected(stage);
    await publisher.send(source);
    const kept = await pending[0].then((batch) => [keep(batch)]);
    pending.length = 0;
    subscriptions.length = 0;
    return { kept, leases: () => publisher.statistics().leases };
  }

  const keeps: [string, (batch: Batch) => unknown, (kept: never) => unknown][] = [
    ["a column", (b) => b.column("x"), (v: arrow.Vector) => v.get(3)],
    ["a RecordBatch", (b) => b.toArrow(), (rb: arrow.RecordBatch) => rb.getChild("x")?.get(3)],
    ["a Table", (b) => new arrow.Table([b.toArrow()]), (t: arrow.Table) => t.getChild("x")?.get(3)],
    ["a slice of a column", (b) => b.column("x").slice(3), (v: arrow.Vector) => v.get(0)],
    ["a typed array", (b) => b.column("x").data[0].values, (a: Float64Array) => a[3]],
    [
      "an ArrayBuffer",
      (b) => ({ buffer: b.column("x").data[0].values.buffer, at: b.column("x").data[0].values.byteOffset }),
      ({ buffer, at }: { buffer: ArrayBuffer; at: number }) => new Float64Array(buffer, at)[3],
    ],
    ["another handle", (b) => b.slice(3), (b: Batch) => b.column("x").get(0)],
  ];
  test.each(keeps)("%s keeps it; collected, the lease ends", async (_, keep, read) => {
    const { kept, leases } = await keepOnly(numbers(1), keep);
    for (let n = 0; n < 5; n++) {
      collect();
      await settle();
    }
    expect(leases()).toBe(1);
    expect(read(kept[0] as never)).toBe(501.5);
    kept.length = 0;
    await untilCollected(() => leases() === 0, "the lease ends");
  });

  test("a batch of which nothing was taken is collected", async () => {
    const { kept, leases } = await keepOnly(numbers(1), () => "nothing");
    expect(kept).toEqual(["nothing"]);
    await untilCollected(() => leases() === 0, "the lease ends");
  });

  test("a dictionary-encoded column keeps its dictionary", async () => {
    const words = arrow.vectorFromArray(
      ["u", "v", "u"],
      new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32()),
    );
    const { kept, leases } = await keepOnly(batchOf(esm, { words }), (b) => b.column("words"));
    for (let n = 0; n < 5; n++) {
      collect();
      await settle();
    }
    expect(leases()).toBeGreaterThanOrEqual(1);
    expect(plain(kept[0])).toEqual(["u", "v", "u"]);
    kept.length = 0;
    // The stream itself keeps its current dictionary, for batches to come.
    await untilCollected(() => leases() === 1, "the batch's lease ends");
  });
});
