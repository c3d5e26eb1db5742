/** From a publisher to a subscription: what arrives is what was sent, where it was written. */
import { afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { Batch } from "../../ts/index.js";
import {
  Child,
  codeOf,
  connected,
  first,
  freshTopic,
  numbers,
  numbersSchema,
  Stage,
  settle,
  take,
  until,
} from "../support.js";
import { batchOf, commonjs, esm, plain, ROWS, samples } from "../unit/arrow-support.js";

const stage = new Stage();
afterEach(() => stage.clear());

describe("what is sent arrives", () => {
  test("in one process, in order, and ends when the publisher closes", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    for (let b = 0; b < 5; b++) expect(await publisher.send(numbers(b))).toBe(1);
    const closed = publisher.close();
    const batches = [await pending[0]];
    for await (const batch of subscriptions[0]) batches.push(batch);
    await closed;
    expect(batches.map(first)).toEqual([0, 1000, 2000, 3000, 4000]);
    expect(batches.map((b) => b.length)).toEqual([10, 10, 10, 10, 10]);
    for (const batch of batches) batch.dispose();
  });

  test("from another process, and to another process", async () => {
    const topic = freshTopic();
    const child = new Child(
      `const there = subscribe(topic + "-there");
       const back = await publish(topic + "-back");
       for await (const batch of there) {
         let sum = 0;
         for (const value of batch.column("x")) sum += value;
         await back.send(new arrow.Table({ sum: arrow.vectorFromArray(Float64Array.of(sum)) }));
         batch.dispose();
       }
       await back.close();`,
      { env: { TOPIC: topic } },
    );
    const there = await stage.publish(`${topic}-there`);
    const back = stage.subscribe(`${topic}-back`);
    for (const b of [1, 2, 3]) {
      await there.send(numbers(b));
      const answer = await take(back);
      expect(answer.column("sum").get(0)).toBe((10 * b * 1000 + 45) / 2);
      answer.dispose();
    }
    await there.close();
    expect((await back.next()).done).toBe(true);
    expect(await child.ended).toMatchObject({ code: 0, stderr: "" });
  });

  const columns = samples(esm);
  test.each(Object.keys(columns))("a %s column with the same values", async (name) => {
    const { publisher, pending } = await connected(stage);
    await publisher.send(batchOf(esm, { [name]: columns[name] }));
    const batch = await pending[0];
    expect(batch.length).toBe(ROWS);
    expect(String(batch.column(name).type)).toBe(String(columns[name].type));
    expect(plain(batch.column(name))).toEqual(plain(columns[name]));
    batch.dispose();
  });

  test.each([
    ["the ES module", esm],
    ["the CommonJS", commonjs],
  ])("every type at once, made by %s copy of apache-arrow, and slices of it", async (_, copy) => {
    const all = samples(copy);
    const { publisher, subscriptions, pending } = await connected(stage);
    const whole = batchOf(copy, all);
    await publisher.send(whole);
    const batch = await pending[0];
    const rb = batch.toArrow();
    for (const name of Object.keys(all)) {
      expect([name, plain(rb.getChild(name) as arrow.Vector)]).toEqual([name, plain(all[name])]);
    }
    await publisher.send(whole.slice(5, 20));
    const slice = await take(subscriptions[0]);
    expect(slice.length).toBe(15);
    expect(slice.byteLength).toBeLessThan(batch.byteLength);
    for (const name of Object.keys(all)) {
      expect([name, plain(slice.column(name))]).toEqual([name, plain(all[name]).slice(5, 20)]);
    }
    batch.dispose();
    slice.dispose();
  });

  test("a Table as its batches, a received Batch, its slice and its selection", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    const table = new arrow.Table([numbers(1), numbers(2)]);
    await publisher.send(table);
    const received = [await pending[0], await take(subscriptions[0])];
    expect(received.map(first)).toEqual([1000, 2000]);
    const onward = await connected(stage);
    await onward.publisher.send(received[0]);
    await onward.publisher.send(received[1].slice(3, 5));
    const again = [await onward.pending[0], await take(onward.subscriptions[0])];
    expect(again.map(first)).toEqual([1000, 2003]);
    expect(again.map((b) => b.length)).toEqual([10, 2]);
    const selected = await connected(stage);
    await selected.publisher.send(received[0].select(["x"]));
    const only = await selected.pending[0];
    expect(only.columnNames).toEqual(["x"]);
    expect(only.column("x").get(1)).toBe(500.5);
    for (const batch of [...received, ...again, only]) batch.dispose();
  });

  test.each([
    ["ESM", esm],
    ["CommonJS", commonjs],
  ])("a Table without batches as one batch without rows: its schema arrives (%s)", async (_, A) => {
    const { publisher, subscriptions, pending } = await connected(stage);
    const full = batchOf(A, samples(A));
    const empty = new A.Table(full.schema);
    expect(empty.batches).toHaveLength(0);
    expect(await publisher.send(empty)).toBe(1);
    await publisher.send(full);
    const [batch, after] = [await pending[0], await take(subscriptions[0])];
    expect([batch.length, after.length]).toEqual([0, full.numRows]);
    expect(String(batch.schema)).toBe(String(full.schema));
    for (const { name } of full.schema.fields) expect([name, plain(batch.column(name))]).toEqual([name, []]);
    expect(batch.toArrow().numRows).toBe(0);
    batch.dispose();
    after.dispose();
  });

  test("raw bytes as one binary value", async () => {
    const { publisher, pending } = await connected(stage);
    await publisher.send(Uint8Array.of(1, 2, 3, 250));
    const batch = await pending[0];
    expect([batch.length, batch.columnNames]).toEqual([1, ["value"]]);
    expect(Array.from(batch.column("value").get(0) as Uint8Array)).toEqual([1, 2, 3, 250]);
    batch.dispose();
  });

  test("key/values that were sent with a batch, and none that were not", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    await publisher.send(numbers(1), { metadata: { frame: "17", "": "empty key", note: "åäö ✓" } });
    await publisher.send(numbers(2), { metadata: new Map([["frame", "18"]]) });
    await publisher.send(numbers(3));
    const batches = [await pending[0], await take(subscriptions[0]), await take(subscriptions[0])];
    expect(batches.map((b) => [...b.metadata])).toEqual([
      [
        ["frame", "17"],
        ["", "empty key"],
        ["note", "åäö ✓"],
      ],
      [["frame", "18"]],
      [],
    ]);
    expect(batches[0].toArrow().metadata.get("frame")).toBe("17");
    expect(batches[0].copy().metadata.get("frame")).toBe("17");
    for (const batch of batches) batch.dispose();
  });

  test("schema metadata and field metadata", async () => {
    const field = new arrow.Field("i", new arrow.Int32(), true, new Map([["unit", "m"]]));
    const schema = new arrow.Schema([field], new Map([["source", "test"]]));
    const table = new arrow.Table(schema, { i: arrow.vectorFromArray([1, 2], new arrow.Int32()) });
    const { publisher, pending } = await connected(stage);
    await publisher.send(table);
    const batch = await pending[0];
    expect(batch.schema.metadata.get("source")).toBe("test");
    expect(batch.schema.fields[0].metadata.get("unit")).toBe("m");
    batch.dispose();
  });
});

describe("odd shapes", () => {
  test("zero rows, of every type", async () => {
    const all = samples(esm);
    const { publisher, pending } = await connected(stage);
    await publisher.send(batchOf(esm, all).slice(0, 0));
    const batch = await pending[0];
    expect(batch.length).toBe(0);
    for (const name of Object.keys(all)) expect(batch.column(name).toArray().length).toBe(0);
    expect(batch.toArrow().numRows).toBe(0);
    batch.dispose();
    expect(() => batch.toArrow()).toThrow(expect.objectContaining({ code: "ERR_DISPOSED" }));
  });

  test("rows without columns", async () => {
    const { publisher, pending } = await connected(stage);
    const data = arrow.makeData({ type: new arrow.Struct([]), length: 7, nullCount: 0, children: [] });
    await publisher.send(new arrow.RecordBatch(new arrow.Schema([]), data as never));
    const batch = await pending[0];
    expect([batch.length, batch.columnNames, batch.byteLength]).toEqual([7, [], 0]);
    expect(batch.toArrow().numRows).toBe(7);
    expect(batch.slice(2).length).toBe(5);
    batch.dispose();
  });

  test("3,000 columns", async () => {
    const vector = arrow.vectorFromArray(["a", null, "ccc"], new arrow.Utf8());
    const columns = Object.fromEntries(Array.from({ length: 3000 }, (_, n) => [`c${n}`, vector]));
    const { publisher, subscriptions, pending } = await connected(stage);
    const wide = batchOf(esm, columns);
    await publisher.send(wide);
    const batch = await pending[0];
    expect(batch.columnNames.length).toBe(3000);
    expect(plain(batch.column("c2999"))).toEqual(["a", null, "ccc"]);
    expect(batch.toArrow().numCols).toBe(3000);
    await publisher.send(batch);
    const again = await take(subscriptions[0]);
    expect(plain(again.column("c1234"))).toEqual(["a", null, "ccc"]);
    batch.dispose();
    again.dispose();
  });

  test("empty strings, empty lists and nothing but nulls", async () => {
    const columns = {
      empty: arrow.vectorFromArray(["", "", ""], new arrow.Utf8()),
      lists: arrow.vectorFromArray([[], [], []], new arrow.List(new arrow.Field("item", new arrow.Int32()))),
      nulls: arrow.vectorFromArray([null, null, null], new arrow.Utf8()),
      words: arrow.vectorFromArray(
        [null, null, null],
        new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32()),
      ),
      more: arrow.vectorFromArray(["u", "v", "u"], new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32())),
    };
    const { publisher, pending } = await connected(stage);
    await publisher.send(batchOf(esm, columns as never));
    const batch = await pending[0];
    for (const [name, vector] of Object.entries(columns)) {
      expect([name, plain(batch.column(name))]).toEqual([name, plain(vector as arrow.Vector)]);
    }
    batch.dispose();
  });
});

describe("zero copy", () => {
  test("a subscriber reads the memory that the writer wrote, in one process and in another", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    const child = new Child(
      `for await (const batch of subscribe(topic)) {
         say(JSON.stringify({ ...batch.location, offset: String(batch.location.offset), zeroCopy: batch.zeroCopy, via: batch.via,
           x: batch.column("x").get(9), copied: batch.zeroCopy }));
         batch.dispose();
       }`,
      { env: { TOPIC: publisher.topic } },
    );
    await until(() => publisher.subscribers === 2, "the child takes part");
    const writer = await publisher.allocate(numbersSchema, 10);
    const location = writer.location;
    writer.column("i").fill(7);
    writer.column("x").fill(0.25);
    await publisher.send(writer);
    const batch = await pending[0];
    expect(batch.location).toEqual(location);
    expect([batch.zeroCopy, batch.via, batch.device]).toEqual([true, "shm", { type: "cpu", id: 0n }]);
    // One ArrayBuffer for the whole body, and all columns are views of it.
    expect(batch.column("i").data[0].values.buffer).toBe(batch.column("x").data[0].values.buffer);
    expect(batch.toArrow().getChild("i")?.data[0].values.buffer).toBe(
      batch.column("i").data[0].values.buffer,
    );
    expect(batch.zeroCopy).toBe(true);
    batch.dispose();
    await publisher.close();
    expect((await subscriptions[0].next()).done).toBe(true);
    const { stdout, code, stderr } = await child.ended;
    expect([code, stderr]).toEqual([0, ""]);
    expect(JSON.parse(stdout)).toEqual({
      memory: location?.memory,
      offset: String(location?.offset),
      zeroCopy: true,
      via: "shm",
      x: 0.25,
      copied: true,
    });
  });

  test("two subscribers read the same memory under leases of their own", async () => {
    const { publisher, pending } = await connected(stage, {}, 2);
    expect(await publisher.send(numbers(4))).toBe(2);
    const [a, b] = await Promise.all(pending);
    expect(a.location).toEqual(b.location);
    expect(publisher.statistics().leases).toBe(2);
    a.dispose();
    await until(() => publisher.statistics().leases === 1, "the first lease ends");
    expect(first(b)).toBe(4000);
    expect(publisher.statistics().bytesInUse).toBeGreaterThan(0);
    b.dispose();
    await until(() => publisher.statistics().leases === 0, "the second lease ends");
    expect(publisher.statistics().bytesInUse).toBe(0);
  });

  test("what is received has the address of its first buffer, and slices share the memory", async () => {
    const { publisher, pending } = await connected(stage);
    await publisher.send(numbers(4));
    const batch = await pending[0];
    const slice = batch.slice(2, 5);
    expect(slice.address).toBe(batch.address);
    expect(slice.column("i").data[0].values.buffer).toBe(batch.column("i").data[0].values.buffer);
    const copy = batch.copy();
    expect(copy.address).not.toBe(batch.address);
    expect([copy.location, copy.via, copy.zeroCopy]).toEqual([undefined, "copy", false]);
    for (const one of [batch, slice, copy]) one.dispose();
  });

  test("a batch that is sent on is copied once, and strictZeroCopy refuses", async () => {
    const { publisher } = await connected(stage, { strictZeroCopy: true });
    expect(await codeOf(publisher.send(numbers(1)))).toBe("ERR_COPY_REQUIRED");
    expect(await codeOf(publisher.send(new arrow.Table([numbers(1)])))).toBe("ERR_COPY_REQUIRED");
    expect(await codeOf(publisher.send(Uint8Array.of(1)))).toBe("ERR_COPY_REQUIRED");
    const writer = await publisher.allocate(numbersSchema, 2);
    expect(await publisher.send(writer)).toBe(1);
    await settle();
    expect(publisher.statistics().leases).toBe(1);
  });
});

test("what cannot be sent is refused with a sentence on what can", async () => {
  const { publisher } = await connected(stage);
  for (const nonsense of [null, undefined, 17, "text", {}, [], new ArrayBuffer(8), new Float64Array(3)]) {
    expect(await codeOf(publisher.send(nonsense as never))).toBe("ERR_INVALID_ARGUMENT");
  }
  expect(Batch.name).toBe("Batch");
});
