import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import {
  RecordBatchFileWriter,
  RecordBatchStreamWriter,
  Table,
  tableFromArrays,
  tableFromIPC,
} from "apache-arrow";
import { python, runPython, Workplace } from "./cli-support.js";

const place = new Workplace();
afterAll(() => place.leave());

const ROWS = 1000;
const table = new Table(
  [0, 1, 2, 3].flatMap((n) => {
    const at = (i: number) => n * ROWS + i;
    const id = Int32Array.from({ length: ROWS }, (_, i) => at(i));
    const value = Float64Array.from({ length: ROWS }, (_, i) => at(i) / 3);
    return tableFromArrays({ id, value }).batches;
  }),
);
const rowsOf = (bytes: Buffer) =>
  tableFromIPC(bytes)
    .toArray()
    .map((row) => ({ ...row }));
const expected = table.toArray().map((row) => ({ ...row }));

beforeAll(() => {
  place.withoutApacheArrow();
  writeFileSync(place.path("in.arrow"), RecordBatchFileWriter.writeAll(table).toUint8Array(true));
  writeFileSync(place.path("in.arrows"), RecordBatchStreamWriter.writeAll(table).toUint8Array(true));
  const nothing = new Table(table.schema);
  writeFileSync(place.path("nothing.arrows"), RecordBatchStreamWriter.writeAll(nothing).toUint8Array(true));
});

test("the commands run where apache-arrow is not installed", async () => {
  const { events } = await place.run("doctor", "--json");
  const arrow = events.find(({ name }) => name === "apache-arrow");
  expect(arrow).toMatchObject({ ok: false, found: "not installed" });
  expect(events.at(-1)).toEqual({ event: "end", usable: true });
});

describe("what is published is what is written", () => {
  test.each(["in.arrow", "in.arrows"])("%s to every output", async (input) => {
    for (const out of ["out.arrow", "out.arrows"]) {
      const { publisher, subscriber } = await place.send(input, "--out", out);
      expect([publisher.status, publisher.stderr, subscriber.status, subscriber.stderr]).toEqual([
        0,
        "",
        0,
        "",
      ]);
      const bytes = readFileSync(place.path(out));
      expect(bytes.subarray(0, 6).toString() === "ARROW1").toBe(out === "out.arrow");
      expect(rowsOf(bytes)).toEqual(expected);
    }
    const { subscriber } = await place.send(input, "--out", "-");
    expect(subscriber.status).toBe(0);
    expect(rowsOf(subscriber.stdout)).toEqual(expected);
  });

  test("through standard input, and --memory smaller than a batch: it comes in parts", async () => {
    const publisher = place.start("publish", "topic", "-", "--json", "--memory", "16384");
    const subscriber = place.start("subscribe", "topic", "--out", "parts.arrows", "--json");
    publisher.child.stdin?.end(readFileSync(place.path("in.arrows")));
    const [{ status, events, stderr }, received] = await Promise.all([publisher.ended, subscriber.ended]);
    expect([status, stderr, received.status]).toEqual([0, "", 0]);
    expect(events.at(-1)).toMatchObject({ event: "end", rows: 4 * ROWS });
    expect(events.at(-1).batches).toBeGreaterThan(4);
    expect(rowsOf(readFileSync(place.path("parts.arrows")))).toEqual(expected);
  });

  test("a file without batches still says its schema", async () => {
    const { subscriber } = await place.send("nothing.arrows", "--out", "nothing.arrow");
    expect([subscriber.status, subscriber.stderr]).toEqual([0, ""]);
    const written = tableFromIPC(readFileSync(place.path("nothing.arrow")));
    expect([written.numRows, written.schema.names]).toEqual([0, ["id", "value"]]);
  });

  test("a stream that ends before its first batch is said to have no schema, and writes nothing", async () => {
    const script = place.path("silent.mjs");
    const entry = JSON.stringify(`${process.env.ARROWLANE_DIST}/index.js`);
    writeFileSync(
      script,
      `import { publish } from ${entry};
       const out = await publish("silent", { onSubscriber: async () => {} });
       setInterval(() => {}, 1000);`,
    );
    const publisher = place.spawn(script, []);
    const { status, stderr } = await place.run("subscribe", "silent", "--out", "silent.arrow");
    expect([status, stderr]).toEqual([1, expect.stringContaining("the schema is not known")]);
    expect(existsSync(place.path("silent.arrow"))).toBe(false);
    publisher.child.kill();
    await publisher.ended;
  });
});

describe("--json", () => {
  test("one object per line on both sides", async () => {
    const { publisher, subscriber } = await place.send("in.arrow", "--json");
    expect(publisher.events).toEqual([
      expect.objectContaining({ event: "open", topic: "topic", format: "Arrow IPC file", rows: 4 * ROWS }),
      expect.objectContaining({ event: "end", batches: 4, rows: 4 * ROWS }),
    ]);
    const [schema, first, ...others] = subscriber.events;
    expect(schema.schema.fields.map(({ name }: { name: string }) => name)).toEqual(["id", "value"]);
    expect(first).toMatchObject({
      event: "batch",
      batch: 1,
      rows: ROWS,
      columns: 2,
      via: "shm",
      zeroCopy: true,
    });
    expect(first.memory).toMatch(/^memfd:\d+:\d+$/);
    expect(first.address).toMatch(/^0x[0-9a-f]+$/);
    expect(others.at(-1)).toMatchObject({ event: "end", batches: 4, rows: 4 * ROWS });
  });

  test("--summary says what each column holds", async () => {
    const { subscriber } = await place.send("in.arrow", "--summary", "--json");
    const columns = subscriber.events.filter(({ event }) => event === "column");
    expect(columns).toEqual([
      expect.objectContaining({ name: "id", type: "Int32", rows: 4 * ROWS, nulls: 0, min: "0", max: "3999" }),
      expect.objectContaining({ name: "value", type: "Float64", rows: 4 * ROWS }),
    ]);
  });

  test("without it, a line per batch and a total", async () => {
    const { subscriber } = await place.send("in.arrow");
    const lines = subscriber.stdout.toString().trim().split("\n");
    expect(lines).toHaveLength(5);
    expect(lines[0]).toMatch(/^batch 1: 1,000 rows, 2 columns, /);
    expect(lines[4]).toMatch(/^4 batches, 4,000 rows, /);
  });
});

test("--hold gives every subscriber the whole file, until it is stopped; --count stops after so many", async () => {
  const publisher = place.start("publish", "held", "in.arrow", "--hold", "--json");
  await publisher.says('"open"');
  const outs = ["one.arrow", "two.arrows"];
  const subscribers = await Promise.all(outs.map((out) => place.run("subscribe", "held", "--out", out)));
  expect(subscribers.map(({ status }) => status)).toEqual([0, 0]);
  for (const out of outs) expect(rowsOf(readFileSync(place.path(out)))).toEqual(expected);

  const counted = await place.run("subscribe", "held", "--count", "2", "--json", "--out", "counted.arrow");
  expect(counted.events.at(-1)).toMatchObject({ event: "end", batches: 2 });
  expect(rowsOf(readFileSync(place.path("counted.arrow")))).toEqual(expected.slice(0, 2 * ROWS));

  publisher.child.kill("SIGTERM");
  const { status, events } = await publisher.ended;
  expect([status, events.at(-1)]).toEqual([143, { event: "stopped", signal: "SIGTERM" }]);
  expect(events.filter(({ event }) => event === "served").length).toBeGreaterThanOrEqual(2);
});

/** Files that apache-arrow cannot write are made with pyarrow, which `npm test` installs. */
const withPython = python === undefined ? describe.skip : describe;

withPython("every type passes, without apache-arrow (needs pyarrow: ARROWLANE_PYTHON)", () => {
  const types = `
ree = pa.RunEndEncodedArray.from_arrays(pa.array([3, 5], pa.int32()), pa.array(["x", "y"]))
batch = pa.record_batch({
  "ree": ree,
  "lv": pa.array([[1, 2], None, [], [3], [4]], pa.list_view(pa.int64())),
  "llv": pa.array([[1, 2], None, [], [3], [4]], pa.large_list_view(pa.int8())),
  "sv": pa.array(["a", "long enough to be out of line", None, "b", "c"], pa.string_view()),
  "n": pa.nulls(5), "dec": pa.array([1, 2, 3, 4, None], pa.decimal256(50, 2)),
  "mdi": pa.array([(1, 2, 3)] * 5, pa.month_day_nano_interval()),
  "u": pa.UnionArray.from_dense(pa.array([0, 1, 0, 1, 0], pa.int8()), pa.array([0, 0, 1, 1, 2], pa.int32()), [pa.array([1, 2, 3]), pa.array(["p", "q"])]),
})
batches = [batch, batch.slice(1, 3), batch]
with ipc.new_stream("x.arrows", batch.schema) as w:
  for b in batches: w.write_batch(b)
`;
  const replaced = `
def batch(values): return pa.record_batch({"d": pa.DictionaryArray.from_arrays(pa.array([0, 1, 0, None], pa.int8()), pa.array(values))})
batches = [batch(["a", "b"]), batch(["c", "d"]), batch(["a", "b", "e"])]
with ipc.new_stream("x.arrows", batches[0].schema) as w:
  for b in batches: w.write_batch(b)
`;
  const compare = `
def read(path):
  opened = (ipc.open_file if path.endswith(".arrow") else ipc.open_stream)(path)
  t = opened.read_all(); t.validate(full=True); return t
a, b = read("x.arrows"), read("y.EXT")
print(a.schema.types == b.schema.types and a.to_pylist() == b.to_pylist(), a.num_rows)
`;

  test.each([
    ["run-end-encoded, list-view, view, union and other types", types, 13],
    ["dictionaries that are replaced", replaced, 12],
  ])("%s", async (_, make, rows) => {
    runPython(place.folder, make);
    for (const out of ["y.arrow", "y.arrows"]) {
      const { publisher, subscriber } = await place.send("x.arrows", "--out", out);
      expect([publisher.status, publisher.stderr, subscriber.status, subscriber.stderr]).toEqual([
        0,
        "",
        0,
        "",
      ]);
      const printed = runPython(place.folder, compare.replace("EXT", out.split(".")[1]));
      expect(printed.trim()).toBe(`True ${rows}`);
    }
  });

  test("Parquet is read", async () => {
    runPython(place.folder, `pq.write_table(pa.table({"id": list(range(4000))}), "x.parquet")`);
    const { publisher } = await place.send("x.parquet", "--out", "z.arrow");
    expect(publisher.events[0]).toMatchObject({ format: "Parquet", rows: 4000 });
    const ids = tableFromIPC(readFileSync(place.path("z.arrow"))).getChild("id");
    expect(ids?.toArray()).toEqual(BigInt64Array.from({ length: 4000 }, (_, i) => BigInt(i)));
  });
});
