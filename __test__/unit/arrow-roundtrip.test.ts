import { describe, expect, test } from "@jest/globals";
import { RecordBatch, Table, tableFromIPC, tableToIPC, Vector } from "apache-arrow";
import { flattenBatch, flattenTable } from "../../ts/arrow/flatten.js";
import { batchOf, commonjs, esm, plain, ROWS, receive, roundTrip, samples } from "./arrow-support.js";

const columns = samples(esm);
const foreign = samples(commonjs);
const names = Object.keys(columns);

describe.each(names)("a column of type %s", (name) => {
  const original = columns[name];

  test("arrives with the values it was sent with", () => {
    const got = roundTrip(batchOf(esm, { [name]: original })).getChildAt(0) as Vector;
    expect(plain(got)).toEqual(plain(original));
    expect(got.nullCount).toBe(original.nullCount);
    expect(got.length).toBe(ROWS);
  });

  test("reads alike by get, iteration, toArray and toJSON", () => {
    const got = roundTrip(batchOf(esm, { [name]: original })).getChildAt(0) as Vector;
    expect(String([...got])).toEqual(String([...original]));
    expect(got.toArray().length).toBe(original.toArray().length);
    expect(json(got)).toEqual(json(original));
    expect(got.toString()).toEqual(original.toString());
  });

  test("is the same when another copy of the library made it", () => {
    const got = roundTrip(batchOf(commonjs, { [name]: foreign[name] })).getChildAt(0) as Vector;
    expect(got).toBeInstanceOf(Vector);
    expect(plain(got)).toEqual(plain(foreign[name]));
  });

  test.each([
    [0, 1],
    [1, 9],
    [7, 30],
    [8, 16],
    [13, ROWS],
    [5, 5],
  ])("is sent from %i to %i when it is a slice, and no more", (begin, end) => {
    const whole = batchOf(esm, { [name]: original });
    const expected = plain(original).slice(begin, end);
    const flat = flattenBatch(whole.slice(begin, end));
    const { plan, layout, body } = receive(flat);
    expect(plain(plan.columnVector(0, layout, body))).toEqual(expected);
    const bytes = (f: { buffers: Uint8Array[] }) => f.buffers.reduce((n, b) => n + b.length, 0);
    if (original.type.typeId !== 1) expect(bytes(flat)).toBeLessThan(bytes(flattenBatch(whole)));
    // A slice of a slice.
    const inner = whole.slice(begin, end).slice(1);
    expect(plain(roundTrip(inner).getChildAt(0) as Vector)).toEqual(expected.slice(1));
  });

  test("can be sliced where it was received", () => {
    const { plan, layout, body } = receive(flattenBatch(batchOf(esm, { [name]: original })));
    expect(plain(plan.columnVector(0, layout, body, 3, 22))).toEqual(plain(original).slice(3, 22));
    const vector = plan.columnVector(0, layout, body);
    expect(plain(vector.slice(9, 14))).toEqual(plain(original).slice(9, 14));
    // And sent on from there.
    const again = roundTrip(plan.toRecordBatch(layout, body).slice(9, 14));
    expect(plain(again.getChildAt(0) as Vector)).toEqual(plain(original).slice(9, 14));
  });

  test("may have no rows", () => {
    const got = roundTrip(batchOf(esm, { [name]: original }).slice(0, 0));
    expect(got.numRows).toBe(0);
    expect([...(got.getChildAt(0) as Vector)]).toEqual([]);
    expect(tableFromIPC(tableToIPC(new Table(got))).numRows).toBe(0);
  });

  test("is accepted by apache-arrow's own writer", () => {
    const got = roundTrip(batchOf(esm, { [name]: original }));
    const read = tableFromIPC(tableToIPC(new Table(got)));
    expect(plain(read.getChildAt(0) as Vector)).toEqual(plain(original));
  });
});

test("a batch of every type arrives as one, in order", () => {
  const batch = batchOf(esm, columns);
  const got = roundTrip(batch);
  expect(got).toBeInstanceOf(RecordBatch);
  expect(got.schema.names).toEqual(names);
  expect(got.numRows).toBe(ROWS);
  for (const name of names)
    expect([name, plain(got.getChild(name) as Vector)]).toEqual([name, plain(columns[name])]);
  expect(json(got)).toEqual(json(batch));
});

test("columns can be read one at a time, in any order and selection", () => {
  const { plan, layout, body } = receive(flattenBatch(batchOf(esm, columns)));
  for (const name of [...names].reverse()) {
    const got = plan.columnVector(plan.indexOf(name), layout, body);
    expect([name, plain(got)]).toEqual([name, plain(columns[name])]);
  }
  const some = ["utf8view", "struct", "dictionary", "int8"];
  const batch = plan.toRecordBatch(
    layout,
    body,
    undefined,
    some.map((n) => plan.indexOf(n)),
    4,
    20,
  );
  expect(batch.schema.names).toEqual(some);
  expect(plain(batch.getChild("struct") as Vector)).toEqual(plain(columns.struct).slice(4, 20));
});

test("values are read in place, from the body's own ArrayBuffer", () => {
  const { plan, layout, body } = receive(flattenBatch(batchOf(esm, columns)));
  const batch = plan.toRecordBatch(layout, body);
  const values = batch.getChild("full")?.data[0].values as Int32Array;
  expect(values.buffer).toBe(body.buffer);
  values[5] = 4711;
  expect(new Int32Array(body.buffer, values.byteOffset)[5]).toBe(4711);
  expect(body.copiedBytes).toBe(0);
});

test("buffers at odd addresses are copied, and said to be", () => {
  const { plan, layout, body } = receive(
    flattenBatch(batchOf(esm, { full: columns.full, int64: columns.int64 })),
  );
  const moved = new ArrayBuffer(body.buffer.byteLength + 1);
  new Uint8Array(moved).set(new Uint8Array(body.buffer), 1);
  Object.assign(body, { buffer: moved });
  const buffers = Array.from(layout.buffers).map((n, i) => (i % 2 === 0 ? n + 1 : n));
  const batch = plan.toRecordBatch({ ...layout, buffers }, body);
  expect(plain(batch.getChildAt(0) as Vector)).toEqual(plain(columns.full));
  expect(plain(batch.getChildAt(1) as Vector)).toEqual(plain(columns.int64));
  expect(body.copiedBytes).toBe(ROWS * 4 + ROWS * 8);
});

test("a buffer shorter than its column is an error, not the next column's bytes", () => {
  const { plan, layout, body } = receive(flattenBatch(batchOf(esm, { full: columns.full })));
  const buffers = Array.from(layout.buffers);
  buffers[3] -= 1;
  expect(() => plan.columnData(0, { ...layout, buffers }, body)).toThrow(
    expect.objectContaining({ code: "ERR_INVALID_DATA" }),
  );
  expect(() => plan.columnData(0, { ...layout, buffers: [] }, body)).toThrow(
    expect.objectContaining({ code: "ERR_INVALID_DATA" }),
  );
  expect(() => plan.columnData(0, { ...layout, nodes: [] }, body)).toThrow(
    expect.objectContaining({ code: "ERR_INVALID_DATA" }),
  );
});

test.each([
  ["list", 3],
  ["struct", 3],
  ["fixedsizelist", 2],
  ["sparseunion", 2],
])("a %s with fewer children than it refers to is an error", (name, node) => {
  const { plan, layout, body } = receive(flattenBatch(batchOf(esm, { [name]: columns[name] })));
  const nodes = Array.from(layout.nodes);
  nodes[node - (node % 2)] = 1;
  nodes[node - (node % 2) + 1] = 0;
  expect(() => plan.columnData(0, { ...layout, nodes }, body)).toThrow(
    expect.objectContaining({ code: "ERR_INVALID_DATA" }),
  );
});

test("buffers may lie in several ArrayBuffers", () => {
  const flat = flattenBatch(batchOf(esm, { utf8: columns.utf8 }));
  const { plan, body } = receive(flat);
  const parts = flat.buffers.map((b) => b.slice().buffer as ArrayBuffer);
  const layout = {
    ...flat,
    buffers: flat.buffers.flatMap((b) => [0, b.length]),
    bufferSource: flat.buffers.map((_, i) => i),
  };
  body.arrayBuffer = ((i: number) => parts[i]) as never;
  expect(plain(plan.columnVector(0, layout, body))).toEqual(plain(columns.utf8));
});

test("columns of the same name stay apart", () => {
  const a = columns.full;
  const b = columns.utf8;
  const fields = [new esm.Field("x", a.type, true), new esm.Field("x", b.type, true)];
  const flat = flattenBatch({
    schema: { fields },
    data: { ...batchOf(esm, { a, b }).data, length: ROWS, children: [a.data[0], b.data[0]] },
    numRows: ROWS,
  } as never);
  const { plan, layout, body } = receive(flat);
  const batch = plan.toRecordBatch(layout, body);
  expect(plain(batch.getChildAt(0) as Vector)).toEqual(plain(a));
  expect(plain(batch.getChildAt(1) as Vector)).toEqual(plain(b));
});

test("select and selectAt of a received batch give the columns named", () => {
  const batch = roundTrip(batchOf(esm, { a: columns.int8, b: columns.utf8, c: columns.bool }));
  const some = batch.select(["b", "c"]);
  expect(some.schema.names).toEqual(["b", "c"]);
  expect(plain(some.getChild("b") as Vector)).toEqual(plain(columns.utf8));
  expect(plain(batch.selectAt([2, 0]).getChildAt(0) as Vector)).toEqual(plain(columns.bool));
});

test("a table is sent as its batches", () => {
  const batch = batchOf(esm, columns);
  const table = new Table([batch.slice(0, 11), batch.slice(11)]);
  const flats = flattenTable(table);
  expect(flats.map((f) => f.rows)).toEqual([11, ROWS - 11]);
  expect(flats[0].columnsKey).toBe(flats[1].columnsKey);
  const parts = flats.map(receive).map(({ plan, layout, body }) => plan.toRecordBatch(layout, body));
  for (const name of names) {
    const got = parts.flatMap((p) => plain(p.getChild(name) as Vector));
    expect([name, got]).toEqual([name, plain(columns[name])]);
  }
});

test("a column that the library only pretends to have arrives as nulls", () => {
  const shorter = batchOf(esm, { a: columns.utf8 }).slice(0, 5);
  const fields = [
    ...shorter.schema.fields,
    ...names.map((n) => new esm.Field(`no ${n}`, columns[n].type, true)),
  ].filter((f) => f.type.typeId !== 14);
  const data = esm.makeData({
    type: new esm.Struct(fields),
    length: 5,
    children: [shorter.data.children[0]],
  });
  const got = roundTrip(new RecordBatch(new esm.Schema(fields), data as never));
  for (const field of fields.slice(1)) {
    expect([field.name, plain(got.getChild(field.name) as Vector)]).toEqual([
      field.name,
      Array(5).fill(null),
    ]);
  }
});

function json(x: unknown): unknown {
  const simple = (_: string, v: unknown) => (typeof v === "bigint" ? `${v}n` : v);
  return JSON.parse(JSON.stringify(Array.from(x as Iterable<unknown>), simple));
}
