/**
 * Types that apache-arrow does not have: their batches travel like all others, and only looking into such a column with
 * apache-arrow is refused. pyarrow makes them and compares (ARROWLANE_PYTHON; `npm test` installs it).
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { FileWriter, openFile } from "../../ts/files.js";
import { Batch } from "../../ts/index.js";
import { connected, Stage, until } from "../support.js";
import { buildConsumer, type Consumer } from "./consumer.js";

const python = process.env.ARROWLANE_PYTHON;
const withPython = python === undefined ? describe.skip : describe;
const stage = new Stage();
let folder: string;
let consumer: Consumer;

/** Python that knows the batch, and compares a file with rows of it. */
const MAKE = `
import sys, pyarrow as pa, pyarrow.ipc as ipc
ree = pa.RunEndEncodedArray.from_arrays(pa.array([3, 5], pa.int32()), pa.array(["x", None]))
batch = pa.record_batch({
  "plain": pa.array([1, 2, None, 4, 5], pa.int64()),
  "runs": ree,
  "lv": pa.array([[1, 2], None, [], [3], [4]], pa.list_view(pa.int64())),
  "llv": pa.array([["a"], None, [], ["b", "c"], ["d"]], pa.large_list_view(pa.string())),
  "inside": pa.StructArray.from_arrays([ree, pa.array([1, 2, 3, 4, 5])], ["r", "n"]),
})
def read(name):
  with ipc.open_stream(name) as r:
    t = r.read_all(); t.validate(full=True); return t
`;
const py = (code: string) => {
  const text = execFileSync(python as string, ["-c", MAKE + code], { cwd: folder, encoding: "utf8" });
  return text.trim();
};

/** Writes a batch and has pyarrow compare it with rows and columns of the original. */
async function sameAs(batch: Batch, expression: string): Promise<void> {
  const writer = FileWriter.create(join(folder, "y.arrows"), batch);
  await writer.write(batch);
  await writer.finish();
  expect(
    py(`t = read("y.arrows"); e = ${expression}
print(t.schema.types == e.schema.types and t.to_pylist() == e.to_pylist() or (t, e))`),
  ).toBe("True");
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "arrowlane-types-"));
  consumer = buildConsumer(folder);
});
afterEach(() => stage.clear());
afterAll(() => rmSync(folder, { recursive: true }));

const TYPES: [name: string, said: RegExp][] = [
  ["runs", /"runs".*runendencoded/],
  ["lv", /"lv".*listview/],
  ["llv", /"llv".*largelistview/],
  ["inside", /"inside".*runendencoded/],
];

withPython("batches of types that apache-arrow does not have", () => {
  async function received(strictZeroCopy = false) {
    py(`
with ipc.new_stream("x.arrows", batch.schema) as w: w.write_batch(batch)`);
    const { publisher } = await connected(stage);
    const subscription = stage.subscribe(publisher.topic, { strictZeroCopy });
    const next = subscription.next();
    await until(() => publisher.subscribers === 2, "it takes part");
    for await (const read of await openFile(join(folder, "x.arrows"))) {
      await publisher.send(read);
      read.dispose();
    }
    return { publisher, batch: (await next).value as Batch };
  }

  test.each([false, true])(
    "a column of such a type is refused by name, the others are read (strict: %s)",
    async (strict) => {
      const { batch } = await received(strict);
      expect([batch.length, batch.columnNames]).toEqual([5, ["plain", "runs", "lv", "llv", "inside"]]);
      expect([...batch.column("plain")]).toEqual([1n, 2n, null, 4n, 5n]);
      for (const [name, said] of TYPES) {
        const refusal = { code: "ERR_UNSUPPORTED_TYPE", message: expect.stringMatching(said) };
        expect(() => batch.column(name)).toThrow(expect.objectContaining(refusal));
        expect(() => batch.select([name]).toArrow()).toThrow(expect.objectContaining(refusal));
      }
      for (const look of [() => batch.toArrow(), () => batch.schema]) {
        expect(look).toThrow(expect.objectContaining({ code: "ERR_UNSUPPORTED_TYPE" }));
      }
      const some = batch.select(["plain"]);
      expect(
        some
          .toArrow()
          .toArray()
          .map((row) => row?.plain),
      ).toEqual([1n, 2n, null, 4n, 5n]);
      expect(batch.zeroCopy).toBe(true);
      some.dispose();
      batch.dispose();
      expect(() => batch.column("lv")).toThrow(expect.objectContaining({ code: "ERR_DISPOSED" }));
    },
  );

  test("received, copied, sliced and selected, each is what was sent", async () => {
    const { batch } = await received();
    await sameAs(batch, "pa.table(batch)");
    const copy = batch.copy();
    const slice = batch.slice(1, 4);
    const part = slice.copy();
    const selected = slice.select(["lv", "runs"]).copy();
    batch.dispose();
    await sameAs(copy, "pa.table(batch)");
    await sameAs(part, "pa.table(batch.slice(1, 3))");
    await sameAs(selected, 'pa.table(batch.slice(1, 3)).select(["lv", "runs"])');
    for (const one of [copy, slice, part, selected]) one.dispose();
  });

  test("exported and imported, and sent on, whole and in part", async () => {
    const { publisher, batch } = await received();
    const part = batch.slice(2, 5);
    for (const [source, expected] of [
      [batch, "pa.table(batch)"],
      [part, "pa.table(batch.slice(2, 3))"],
    ] as const) {
      const [array, schema] = consumer.make();
      source.exportTo(array, schema);
      const imported = Batch.importFrom(array, schema);
      await sameAs(imported, expected);
      const onward = await connected(stage);
      await onward.publisher.send(imported);
      await onward.publisher.send(source);
      const relayed = [await onward.pending[0], (await onward.subscriptions[0].next()).value as Batch];
      for (const one of relayed) await sameAs(one, expected);
      for (const one of [imported, ...relayed]) one.dispose();
      consumer.drop(array);
    }
    part.dispose();
    batch.dispose();
    // The other subscriber never took its own.
    await until(() => publisher.statistics().leases === 1, "the lease returns");
  });
});
