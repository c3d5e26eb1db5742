import { describe, expect, test } from "@jest/globals";
import {
  Data,
  Dictionary,
  Field,
  Int8,
  Int32,
  List,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table,
  tableFromArrays,
  Utf8,
  Vector,
} from "apache-arrow";
import { countZeros, sliceBits } from "../../ts/arrow/bitmap.js";
import {
  flattenBatch,
  flattenTable,
  isRecordBatch,
  isTable,
  packedLayout,
  packInto,
} from "../../ts/arrow/flatten.js";
import { batchOf, commonjs, esm, plain, ROWS, receive, roundTrip, samples } from "./arrow-support.js";

const columns = samples(esm);

test("buffers go as views of the caller's memory where their bytes need no change", () => {
  const [data] = columns.full.data;
  const flat = flattenBatch(batchOf(esm, { full: columns.full }));
  expect(flat.nodes).toEqual([ROWS, 0]);
  expect(flat.buffers[0].length).toBe(0);
  expect(flat.buffers[1].buffer).toBe(data.values.buffer);
  expect(flat.buffers[1].length).toBe(ROWS * 4);
});

test("batches and tables of every copy are recognised, and nothing else", () => {
  for (const A of [esm, commonjs]) {
    const batch = batchOf(A, { x: samples(A).utf8 });
    expect([isRecordBatch(batch), isTable(batch)]).toEqual([true, false]);
    const table = new A.Table([batch]);
    expect([isRecordBatch(table), isTable(table)]).toEqual([false, true]);
    expect(isTable(new A.Table())).toBe(true);
  }
  for (const x of [
    null,
    undefined,
    1,
    "x",
    {},
    [],
    new Uint8Array(3),
    columns.utf8,
    { schema: { fields: [] } },
  ]) {
    expect([isRecordBatch(x), isTable(x)]).toEqual([false, false]);
  }
});

test("an empty table is one batch without rows, and a batch without columns keeps its rows", () => {
  const [empty, ...others] = flattenTable(new Table());
  expect([empty.rows, empty.nodes, empty.buffers, others]).toEqual([0, [], [], []]);
  const data = makeData({ type: new Struct([]), length: 5, nullCount: 0, children: [] });
  const flat = flattenBatch(new RecordBatch(new Schema([]), data as never));
  expect([flat.rows, flat.nodes, flat.buffers]).toEqual([5, [], []]);
  const { plan, layout, body } = receive(flat);
  expect(plan.toRecordBatch(layout, body).numRows).toBe(5);
});

test("packing aligns every buffer and leaves no byte out", () => {
  const flat = flattenBatch(batchOf(esm, columns));
  const packed = packedLayout(flat);
  const target = new Uint8Array(packed.bytes);
  packInto(flat, packed, target);
  flat.buffers.forEach((buffer, i) => {
    expect(packed.offsets[i] % 64).toBe(0);
    expect(target.subarray(packed.offsets[i], packed.offsets[i] + buffer.length)).toEqual(
      new Uint8Array(buffer),
    );
  });
  expect(() => packInto(flat, packed, target.subarray(1))).toThrow(
    expect.objectContaining({ code: "ERR_INVALID_ARGUMENT" }),
  );
});

test("the same schema has the same key, in whatever objects it comes", () => {
  const keys = [esm, commonjs].map((A) => flattenBatch(batchOf(A, { a: samples(A).int8 })).columnsKey);
  expect(keys[0]).toBe(keys[1]);
  expect(flattenBatch(batchOf(esm, { b: columns.int8 })).columnsKey).not.toBe(keys[0]);
});

test("a schema whose metadata changed is sent anew", () => {
  const batch = batchOf(esm, { a: columns.int8 });
  const before = flattenBatch(batch).schema;
  batch.schema.metadata.set("k", "v");
  expect(flattenBatch(batch).schema.metadata).toEqual([{ key: "k", value: "v" }]);
  batch.schema.fields[0].metadata.set("unit", "m");
  expect(flattenBatch(batch).schema.fields[0].metadata).toEqual([{ key: "unit", value: "m" }]);
  expect(before.metadata).toEqual([]);
});

describe("dictionaries", () => {
  test("keep their key while they are the same, so that they need not be sent again", () => {
    const batch = batchOf(esm, { d: columns.dictionary });
    const [first] = flattenBatch(batch.slice(0, 5)).dictionaries;
    const [second] = flattenBatch(batch.slice(5)).dictionaries;
    expect(first.key).toBe(second.key);
    expect(first.flat).toBe(second.flat);
    const [other] = flattenBatch(batchOf(esm, { d: samples(esm).dictionary })).dictionaries;
    expect(other.key).not.toBe(first.key);
  });

  test("of several chunks go over as one", () => {
    for (const name of Object.keys(columns).filter(
      (n) => columns[n].type.typeId !== -1 && n !== "listofstructs",
    )) {
      const values = columns[name];
      const chunks = new Vector([
        values.slice(0, 11).data[0],
        values.slice(11, 12).data[0],
        values.slice(12).data[0],
      ]);
      const type = new Dictionary(values.type, new Int8() as never);
      const indices = Int8Array.from({ length: 74 }, (_, i) => (i * 5) % ROWS);
      const data = makeData({
        type: type as never,
        length: 74,
        nullCount: 0,
        data: indices,
        dictionary: chunks,
      } as never);
      const got = roundTrip(batchOf(esm, { d: new Vector([data as Data]) as Vector })).getChildAt(
        0,
      ) as Vector;
      const expected = plain(values);
      expect([name, plain(got)]).toEqual([name, Array.from(indices, (i) => expected[i])]);
    }
  });

  test("may hold dictionaries: the inner one goes first", () => {
    const inner = new Dictionary(new Utf8(), new Int8() as never);
    const lists = esm.vectorFromArray([["a", "b"], ["b"], []], new List(new Field("item", inner, true)));
    const outer = new Dictionary(lists.type, new Int32());
    const data = makeData({
      type: outer,
      length: 4,
      nullCount: 0,
      data: Int32Array.of(2, 0, 1, 0),
      dictionary: lists,
    } as never) as unknown as Data;
    const flat = flattenBatch(batchOf(esm, { d: new Vector([data]) as Vector }));
    expect(flat.dictionaries.map((d) => d.id)).toEqual([1, 0]);
    const { plan, layout, body } = receive(flat);
    const got = plan.toRecordBatch(layout, body).getChildAt(0) as Vector;
    expect(plain(got)).toEqual([[], ["a", "b"], ["b"], ["a", "b"]]);
  });
});

describe("data that is not what it says is refused, never sent as something else", () => {
  const utf8 = (valueOffsets: Int32Array, data = new Uint8Array(8), length = 2) =>
    batchOf(esm, { x: new Vector([new Data(new Utf8(), 0, length, 0, [valueOffsets, data])]) as Vector });
  const view = () => {
    const words = new Int32Array(4);
    words.set([20, 0, 0, 90]);
    const values = new Uint8Array(words.buffer);
    const data = new Data(new esm.Utf8View(), 0, 1, 0, [undefined, values], [], undefined, [
      new Uint8Array(100),
    ]);
    return batchOf(esm, { x: new Vector([data]) as Vector });
  };
  const bitmap = () =>
    batchOf(esm, {
      x: new Vector([
        new Data(new Int32(), 0, 20, 3, [undefined, new Int32Array(20), new Uint8Array(1)]),
      ]) as Vector,
    });
  const plainArray = () =>
    batchOf(esm, { x: new Vector([new Data(new Int32(), 0, 2, 0, [undefined, [1, 2] as never])]) as Vector });

  test.each([
    ["offsets beyond the values", () => utf8(Int32Array.of(0, 4, 9))],
    ["offsets that go back", () => utf8(Int32Array.of(4, 2, 1))],
    ["too few offsets", () => utf8(Int32Array.of(0, 4), undefined, 5)],
    ["views beyond their buffer", view],
    ["a validity bitmap too short", bitmap],
    ["values in a plain array", plainArray],
  ])("%s", (_, batch) => {
    expect(() => flattenBatch(batch())).toThrow(expect.objectContaining({ code: "ERR_INVALID_DATA" }));
  });
});

test("bitmaps are cut at any bit", () => {
  const bits = Uint8Array.from({ length: 9 }, (_, i) => (i * 73 + 41) & 0xff);
  const bit = (bytes: Uint8Array, i: number) => (bytes[i >> 3] >> (i & 7)) & 1;
  for (let begin = 0; begin < 20; begin++) {
    for (let length = 0; length < 50; length++) {
      const cut = sliceBits(bits, begin, length);
      let zeros = 0;
      for (let i = 0; i < length; i++) {
        if (bit(cut, i) !== bit(bits, begin + i)) throw new Error(`bit ${i} of ${begin}+${length}`);
        zeros += 1 - bit(bits, begin + i);
      }
      expect(countZeros(bits, begin, length)).toBe(zeros);
    }
  }
});

test("values that are not of the type their schema states are refused", () => {
  const table = tableFromArrays({ s: ["a", "b"] });
  const lying = new RecordBatch(new Schema([new Field("s", new Utf8(), true)]), table.batches[0].data);
  expect(() => flattenBatch(lying)).toThrow(expect.objectContaining({ code: "ERR_INVALID_DATA" }));
});
