import { describe, expect, test } from "@jest/globals";
import {
  Binary,
  Bool,
  DateDay,
  DateMillisecond,
  Decimal,
  Dictionary,
  Field,
  FixedSizeBinary,
  FixedSizeList,
  Float16,
  Float32,
  Float64,
  Int8,
  Int32,
  Int64,
  LargeUtf8,
  List,
  Null,
  Schema,
  TimeMillisecond,
  TimestampMillisecond,
  Uint16,
  Utf8,
  type Vector,
} from "apache-arrow";
import { BatchPlan } from "../../ts/arrow/plan.js";
import { schemaToJson } from "../../ts/arrow/schema.js";
import { BatchWriter, planWriter, type WriterOptions } from "../../ts/arrow/writer.js";
import { commonjs, plain, TestBody } from "./arrow-support.js";

function written(writer: BatchWriter, buffer: ArrayBuffer) {
  const plan = new BatchPlan(JSON.parse(JSON.stringify(writer.plan.schema)));
  return plan.toRecordBatch(writer.finish(), new TestBody(buffer));
}

function open<T extends Record<string, never>>(schema: Schema<T>, rows: number, options?: WriterOptions) {
  const plan = planWriter(schema, rows, options);
  const buffer = new ArrayBuffer(plan.bytes);
  // What the block held before: nothing of it may show.
  new Uint8Array(buffer).fill(0xa5);
  return { writer: new BatchWriter<T>(plan, buffer), buffer };
}

const schemaOf = (type: unknown, nullable = true) =>
  new Schema([new Field("x", type as Int32, nullable)]) as unknown as Schema<never>;

describe("a fixed-width column is written through the typed array it is read through", () => {
  test.each([
    ["Int8", new Int8(), Int8Array, [1, -2, 3]],
    ["Uint16", new Uint16(), Uint16Array, [1, 2, 60000]],
    ["Int32", new Int32(), Int32Array, [1, -2, 3]],
    ["Int64", new Int64(), BigInt64Array, [1n, -2n, 3n]],
    ["Float32", new Float32(), Float32Array, [0.5, -2, 3]],
    ["Float64", new Float64(), Float64Array, [0.1, -2, 3]],
    ["DateDay", new DateDay(), Int32Array, [1, 2, 3]],
    ["DateMillisecond", new DateMillisecond(), BigInt64Array, [1n, 2n, 3n]],
    ["TimeMillisecond", new TimeMillisecond(), Int32Array, [1, 2, 3]],
    ["TimestampMillisecond", new TimestampMillisecond(), BigInt64Array, [1n, 2n, 3n]],
    ["Float16", new Float16(), Uint16Array, [15360, 16384, 0]],
    ["Decimal", new Decimal(2, 30), Uint32Array, [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]],
    ["FixedSizeBinary", new FixedSizeBinary(2), Uint8Array, [1, 2, 3, 4, 5, 6]],
    [
      "FixedSizeList",
      new FixedSizeList(2, new Field("item", new Float32(), true)),
      Float32Array,
      [1, 2, 3, 4, 5, 6],
    ],
  ] as const)("%s", (_, type, array, values) => {
    const { writer, buffer } = open(schemaOf(type), 3);
    const column = writer.column("x" as never) as unknown as { set(values: unknown): void; length: number };
    expect(column).toBeInstanceOf(array);
    expect(column.length).toBe(values.length);
    column.set(values);
    const got = written(writer, buffer).getChildAt(0) as Vector;
    expect(got.nullCount).toBe(0);
    const flat = got.type.typeId === 16 ? [...got].flatMap((v) => [...v]) : Array.from(got.data[0].values);
    expect(flat).toEqual(values);
  });
});

test("a batch of several types is written in place, with nulls, in fewer rows than there was room for", () => {
  const schema = new Schema([
    new Field("id", new Int32(), false),
    new Field("price", new Float64(), true),
    new Field("name", new Utf8(), true),
    new Field("blob", new Binary(), true),
    new Field("long", new LargeUtf8(), false),
    new Field("ok", new Bool(), true),
    new Field("nothing", new Null(), true),
  ]) as unknown as Schema<{
    id: Int32;
    price: Float64;
    name: Utf8;
    blob: Binary;
    long: LargeUtf8;
    ok: Bool;
    nothing: Null;
  }>;
  const plan = planWriter(schema, 100, { bytes: { name: 64, blob: 16, long: 100 } });
  const buffer = new ArrayBuffer(plan.bytes);
  new Uint8Array(buffer).fill(0xa5);
  const writer = new BatchWriter<{
    id: Int32;
    price: Float64;
    name: Utf8;
    blob: Binary;
    long: LargeUtf8;
    ok: Bool;
    nothing: Null;
  }>(plan, buffer);
  const id: Int32Array = writer.column("id");
  const price: Float64Array = writer.column("price");
  const name = writer.column("name");
  const blob = writer.column("blob");
  const long = writer.column("long");
  const ok = writer.column("ok");
  for (let i = 0; i < 11; i++) {
    id[i] = i;
    price[i] = i / 2;
    name.append(i === 4 ? null : `n${i}å`);
    blob.append(i % 2 ? Uint8Array.of(i) : null);
    long.append(`l${i}`);
    ok.set(i, i % 3 === 0);
  }
  writer.validity("price").set(7, false);
  writer.length = 11;
  const got = written(writer as unknown as BatchWriter, buffer);
  const column = (n: string) => plain(got.getChild(n) as Vector);
  const rows = Array.from({ length: 11 }, (_, i) => i);
  expect(got.numRows).toBe(11);
  expect(column("id")).toEqual(rows);
  expect(column("price")).toEqual(rows.map((i) => (i === 7 ? null : i / 2)));
  expect(column("name")).toEqual(rows.map((i) => (i === 4 ? null : `n${i}å`)));
  expect(column("blob")).toEqual(rows.map((i) => (i % 2 ? [i] : null)));
  expect(column("long")).toEqual(rows.map((i) => `l${i}`));
  expect(column("ok")).toEqual(rows.map((i) => i % 3 === 0));
  expect(column("nothing")).toEqual(rows.map(() => null));
  expect(name.remainingBytes).toBe(64 - name.bytes);
});

test("the schema may be of another copy of the library, or JSON", () => {
  const foreign = new commonjs.Schema([new commonjs.Field("x", new commonjs.Int32(), false)]);
  for (const schema of [foreign, schemaToJson(foreign)]) {
    const plan = planWriter(schema, 2);
    const buffer = new ArrayBuffer(plan.bytes);
    const writer = new BatchWriter(plan, buffer);
    writer.column("x").set([4, 5]);
    expect(plain(written(writer, buffer).getChildAt(0) as Vector)).toEqual([4, 5]);
  }
});

test("a schema without columns, of the library or in JSON, makes a batch of rows", () => {
  for (const schema of [
    new Schema([], new Map([["k", "v"]])),
    { fields: [], metadata: [{ key: "k", value: "v" }] },
  ]) {
    const plan = planWriter(schema, 2);
    expect(plan.schema).toEqual({ fields: [], metadata: [{ key: "k", value: "v" }] });
    expect(new BatchWriter(plan, new ArrayBuffer(0)).finish()).toEqual({
      rows: 2,
      nodes: [],
      buffers: [],
      variadic: [],
    });
  }
});

test("columns start on 64 bytes and do not overlap", () => {
  const fields = Array.from(
    { length: 9 },
    (_, i) => new Field(`c${i}`, i % 2 ? new Int8() : new Utf8(), i % 3 === 0),
  );
  const plan = planWriter(new Schema(fields), 13, { bytes: 5 });
  const places = plan.columns.flatMap((c) =>
    Object.values(c).filter((p): p is { offset: number; length: number } => typeof p?.offset === "number"),
  );
  let end = 0;
  for (const place of places.sort((a, b) => a.offset - b.offset)) {
    expect(place.offset % 64).toBe(0);
    expect(place.offset).toBeGreaterThanOrEqual(end);
    end = place.offset + place.length;
  }
  expect(end).toBe(plan.bytes);
});

describe("a writer says what is wrong", () => {
  const code = (c: string) => expect.objectContaining({ code: c });

  test("when the bytes or the rows are used up, and adds nothing", () => {
    const { writer } = open(schemaOf(new Utf8()), 3, { bytes: 5 });
    const column = writer.column("x" as never) as {
      append(v: unknown): void;
      length: number;
      remainingBytes: number;
    };
    column.append("abc");
    expect(() => column.append("åå")).toThrow(code("ERR_OUT_OF_SPACE"));
    expect(() => column.append(new Uint8Array(3))).toThrow(code("ERR_OUT_OF_SPACE"));
    expect([column.length, column.remainingBytes]).toEqual([1, 2]);
    column.append("å");
    column.append("");
    expect(() => column.append("")).toThrow(code("ERR_OUT_OF_SPACE"));
  });

  test("when a column has fewer values than the batch rows", () => {
    const { writer } = open(schemaOf(new Utf8()), 3);
    expect(() => writer.finish()).toThrow(code("ERR_INVALID_DATA"));
    writer.length = 0;
    expect(writer.finish().rows).toBe(0);
  });

  test("when nulls are written where there are none", () => {
    const { writer } = open(schemaOf(new Utf8(), false), 3);
    expect(() => writer.validity("x" as never)).toThrow(code("ERR_INVALID_ARGUMENT"));
    const column = writer.column("x" as never) as { append(v: unknown): void; length: number };
    expect(() => column.append(null)).toThrow(code("ERR_INVALID_ARGUMENT"));
    expect(column.length).toBe(0);
  });

  test("about rows, columns, lengths and buffers that cannot be", () => {
    const { writer } = open(schemaOf(new Bool()), 3);
    expect(() => (writer.column("x" as never) as { set(i: number, v: boolean): void }).set(3, true)).toThrow(
      code("ERR_INVALID_ARGUMENT"),
    );
    expect(() => writer.column("y" as never)).toThrow(code("ERR_INVALID_ARGUMENT"));
    for (const length of [-1, 4, 1.5, Number.NaN]) {
      expect(() => {
        writer.length = length;
      }).toThrow(code("ERR_INVALID_ARGUMENT"));
    }
    expect(() => planWriter(schemaOf(new Int8()), -1)).toThrow(code("ERR_INVALID_ARGUMENT"));
    expect(() => planWriter(schemaOf(new Utf8()), 1, { bytes: 2 ** 31 })).toThrow(
      code("ERR_INVALID_ARGUMENT"),
    );
    expect(() => new BatchWriter(planWriter(schemaOf(new Int8()), 9), new ArrayBuffer(3))).toThrow(
      code("ERR_INVALID_ARGUMENT"),
    );
  });

  test.each([
    ["list", new List(new Field("item", new Int32(), true))],
    ["dictionary", new Dictionary(new Utf8(), new Int32())],
  ])("about a %s column, which cannot be written in place", (name, type) => {
    expect(() => planWriter(schemaOf(type), 3)).toThrow(
      expect.objectContaining({ code: "ERR_UNSUPPORTED_TYPE", message: expect.stringContaining(name) }),
    );
  });
});
