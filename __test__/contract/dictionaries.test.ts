/**
 * How long dictionaries live. Batches of a stream share them: each stays readable until the last batch that refers to it
 * is disposed, also when another has replaced it for the batches to come.
 */
import { afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import type { Batch } from "../../ts/index.js";
import { connected, counters, Stage, take, until } from "../support.js";
import { batchOf, esm, plain, samples } from "../unit/arrow-support.js";

const stage = new Stage();
afterEach(() => stage.clear());
const disposed = expect.objectContaining({ code: "ERR_DISPOSED", name: "DisposedError" });

describe("dictionaries that batches share", () => {
  const words = (values: string[]) =>
    arrow.vectorFromArray(values, new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32()));

  test("stay readable until the last batch that refers to them is disposed", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    const vector = words(["a", "b", "c", "a"]);
    await publisher.send(batchOf(esm, { words: vector }));
    await publisher.send(batchOf(esm, { words: vector }));
    const [one, two] = [await pending[0], await take(subscriptions[0])];
    const [a, b] = [one.column("words"), two.column("words")];
    expect([plain(a), plain(b)]).toEqual([
      ["a", "b", "c", "a"],
      ["a", "b", "c", "a"],
    ]);
    one.dispose();
    expect(() => a.get(0)).toThrow(disposed);
    expect(plain(b)).toEqual(["a", "b", "c", "a"]);
    two.dispose();
    expect(() => b.get(0)).toThrow(disposed);
    const again = publisher.send(batchOf(esm, { words: vector }));
    const three = await take(subscriptions[0]);
    await again;
    expect(plain(three.column("words"))).toEqual(["a", "b", "c", "a"]);
    three.dispose();
  });

  test("are replaced in the middle of a stream: each batch keeps those it was sent with", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    const versions = [["a", "b"], ["c", "d", "e"], ["f"], ["a", "b"]];
    for (const values of versions) await publisher.send(batchOf(esm, { words: words(values) }));
    const batches = [await pending[0]];
    while (batches.length < versions.length) batches.push(await take(subscriptions[0]));
    expect(batches.map((b) => plain(b.column("words")))).toEqual(versions);
    for (const batch of batches) batch.dispose();
    await publisher.close();
    expect((await subscriptions[0].next()).done).toBe(true);
  });

  test("inside of dictionaries are kept by all that share the outer one", async () => {
    const inner = arrow.vectorFromArray(
      ["x", "y", "x"],
      new arrow.Dictionary(new arrow.Utf8(), new arrow.Int8() as never),
    );
    const struct = new arrow.Struct([new arrow.Field("word", inner.type, true)]);
    const values = new arrow.Vector([
      arrow.makeData({ type: struct, length: 3, nullCount: 0, children: [inner.data[0]] } as never),
    ]) as unknown as arrow.Vector<arrow.Struct>;
    const type = new arrow.Dictionary(struct, new arrow.Int32(), 99);
    const outer = new arrow.Vector([
      arrow.makeData({
        type,
        length: 4,
        nullCount: 0,
        data: Int32Array.of(2, 1, 0, 1),
        dictionary: values,
      } as never),
    ]) as arrow.Vector;
    const { publisher, subscriptions, pending } = await connected(stage);
    await publisher.send(batchOf(esm, { outer }));
    await publisher.send(batchOf(esm, { outer }));
    const [one, two] = [await pending[0], await take(subscriptions[0])];
    const words = (batch: Batch) =>
      Array.from(batch.column("outer"), (row) => (row as { word: string }).word);
    expect(words(one)).toEqual(["x", "y", "x", "y"]);
    const column = two.column("outer");
    one.dispose();
    expect(Array.from(column, (row) => (row as { word: string }).word)).toEqual(["x", "y", "x", "y"]);
    expect(words(two)).toEqual(["x", "y", "x", "y"]);
    two.dispose();
    expect(() => (column.get(0) as { word: string }).word).toThrow(disposed);
  });

  test("leave nothing behind when the publisher closes", async () => {
    const before = counters();
    const { publisher, subscriptions, pending } = await connected(stage);
    await publisher.send(batchOf(esm, samples(esm)));
    const batch = await pending[0];
    plain(batch.column("dictionary"));
    batch.dispose();
    await publisher.close();
    expect((await subscriptions[0].next()).done).toBe(true);
    await until(() => counters().blocks === before.blocks, "all blocks come back");
    await until(() => counters().segments <= before.segments, "all segments go");
    await until(() => counters().mappings <= before.mappings, "all mappings go");
  });
});
