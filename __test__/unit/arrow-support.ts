import { createRequire } from "node:module";
import type { Data, DataType, RecordBatch, Vector } from "apache-arrow";
import * as esm from "apache-arrow";
import { type FlatBatch, flattenBatch, packedLayout, packInto } from "../../ts/arrow/flatten.js";
import type { BodyAccess, Layout } from "../../ts/arrow/layout.js";
import { layoutOf } from "../../ts/arrow/pack.js";
import { BatchPlan } from "../../ts/arrow/plan.js";
import type { Batch } from "../../ts/index.js";

export type Arrow = typeof esm;
export const commonjs: Arrow = createRequire(import.meta.url)("apache-arrow");
export { esm };

/** 37 rows, some null: odd on purpose, so that bitmaps never end on a byte. */
export const ROWS = 37;

const every = <T>(value: (i: number) => T): (T | null)[] =>
  Array.from({ length: ROWS }, (_, i) => (i % 5 === 3 ? null : value(i)));

const text = (i: number) => (i % 4 === 0 ? `a rather long string, number ${i}, åäö` : `s${i}`);
const bytes = (i: number) => new TextEncoder().encode(text(i));

/** A column of every type that apache-arrow can hold, made by `A`. */
export function samples(A: Arrow): Record<string, Vector> {
  const field = (name: string, type: DataType, nullable = true) => new A.Field(name, type, nullable);
  const make = (values: unknown[], type: DataType) => A.vectorFromArray(values as never[], type) as Vector;
  const words = (type: DataType, perRow: number, array: typeof Int32Array | typeof Uint32Array) => {
    const data = new array(ROWS * perRow).map((_, i) => (i % perRow === 0 ? i * 3 + 1 : i % 3));
    const nullBitmap = new Uint8Array(5).fill(0b11011011);
    return new A.Vector([
      A.makeData({ type: type as never, length: ROWS, data, nullBitmap } as never),
    ]) as Vector;
  };
  const integers = [
    ["int8", new A.Int8(), (i: number) => i - 20],
    ["int16", new A.Int16(), (i: number) => i * 100 - 999],
    ["int32", new A.Int32(), (i: number) => i * 100_000 - 999],
    ["int64", new A.Int64(), (i: number) => BigInt(i) * -(2n ** 40n)],
    ["uint8", new A.Uint8(), (i: number) => i * 5],
    ["uint16", new A.Uint16(), (i: number) => i * 1000],
    ["uint32", new A.Uint32(), (i: number) => i * 100_000_000],
    ["uint64", new A.Uint64(), (i: number) => BigInt(i) * 2n ** 58n],
    ["float16", new A.Float16(), (i: number) => i / 2],
    ["float32", new A.Float32(), (i: number) => i / 4],
    ["float64", new A.Float64(), (i: number) => i / 3],
  ] as const;
  const moment = (i: number) => 86_400_000 * (i * 100 + 1);
  const out: Record<string, Vector> = {
    null: new A.Vector([A.makeData({ type: new A.Null(), length: ROWS })]) as Vector,
    bool: make(
      every((i) => i % 3 === 0),
      new A.Bool(),
    ),
    full: make(
      Array.from({ length: ROWS }, (_, i) => i),
      new A.Int32(),
    ),
    fulluint16: make(
      Array.from({ length: ROWS }, (_, i) => i),
      new A.Uint16(),
    ),
    fullfloat64: make(
      Array.from({ length: ROWS }, (_, i) => i / 2),
      new A.Float64(),
    ),
    fullfloat16: make(
      Array.from({ length: ROWS }, (_, i) => i / 2),
      new A.Float16(),
    ),
    fullint64: make(
      Array.from({ length: ROWS }, (_, i) => BigInt(i)),
      new A.Int64(),
    ),
    utf8: make(every(text), new A.Utf8()),
    largeutf8: make(every(text), new A.LargeUtf8()),
    utf8view: make(every(text), new A.Utf8View()),
    binary: make(every(bytes), new A.Binary()),
    largebinary: make(every(bytes), new A.LargeBinary()),
    binaryview: make(every(bytes), new A.BinaryView()),
    fixedsizebinary: make(
      every((i) => Uint8Array.of(i, i + 1, i + 2)),
      new A.FixedSizeBinary(3),
    ),
    decimal128: words(new A.Decimal(2, 30, 128), 4, Uint32Array),
    decimal256: words(new A.Decimal(2, 60, 256), 8, Uint32Array),
    dateday: make(
      every((i) => new Date(moment(i))),
      new A.DateDay(),
    ),
    datemillisecond: make(
      every((i) => new Date(moment(i))),
      new A.DateMillisecond(),
    ),
    timesecond: make(
      every((i) => i * 60),
      new A.TimeSecond(),
    ),
    timemillisecond: make(
      every((i) => i * 60_000),
      new A.TimeMillisecond(),
    ),
    timemicrosecond: make(
      every((i) => BigInt(i) * 60_000_000n),
      new A.TimeMicrosecond(),
    ),
    timenanosecond: make(
      every((i) => BigInt(i) * 60_000_000_000n),
      new A.TimeNanosecond(),
    ),
    timestampsecond: make(every(moment), new A.TimestampSecond()),
    timestampmillisecond: make(every(moment), new A.TimestampMillisecond("Europe/Berlin")),
    timestampmicrosecond: make(every(moment), new A.TimestampMicrosecond("UTC")),
    timestampnanosecond: make(every(moment), new A.TimestampNanosecond()),
    durationsecond: make(
      every((i) => BigInt(i)),
      new A.DurationSecond(),
    ),
    durationmillisecond: make(
      every((i) => BigInt(i)),
      new A.DurationMillisecond(),
    ),
    durationmicrosecond: make(
      every((i) => BigInt(i)),
      new A.DurationMicrosecond(),
    ),
    durationnanosecond: make(
      every((i) => BigInt(i)),
      new A.DurationNanosecond(),
    ),
    intervalyearmonth: words(new A.IntervalYearMonth(), 1, Int32Array),
    intervaldaytime: words(new A.IntervalDayTime(), 2, Int32Array),
    intervalmonthdaynano: words(new A.IntervalMonthDayNano(), 4, Int32Array),
    list: make(
      every((i) => Array.from({ length: i % 4 }, (_, n) => i * 10 + n)),
      new A.List(field("item", new A.Int32())),
    ),
    largelist: make(
      every((i) => Array.from({ length: i % 4 }, (_, n) => text(n))),
      new A.LargeList(field("item", new A.Utf8())),
    ),
    fixedsizelist: make(
      every((i) => [i, i + 0.5, -i]),
      new A.FixedSizeList(3, field("item", new A.Float64())),
    ),
    struct: make(
      every((i) => ({ a: i, b: text(i) })),
      new A.Struct([field("a", new A.Int32()), field("b", new A.Utf8())]) as never,
    ),
    map: make(
      every((i) => new Map(Array.from({ length: i % 3 }, (_, n) => [`k${n}`, i + n]))),
      new A.Map_(
        field(
          "entries",
          new A.Struct([field("key", new A.Utf8(), false), field("value", new A.Int32())]) as never,
          false,
        ) as never,
      ),
    ),
    dictionary: make(
      every((i) => ["red", "green", "blue"][i % 3]),
      new A.Dictionary(new A.Utf8(), new A.Int32()),
    ),
    dictionary8: make(
      every((i) => (i % 3) * 1.5),
      new A.Dictionary(new A.Float64(), new A.Int8() as never),
    ),
    listofstructs: make(
      every((i) =>
        Array.from({ length: i % 3 }, (_, n) => ({
          word: ["x", "y", "zz"][(i + n) % 3],
          n: i % 4 === n ? null : n,
        })),
      ),
      new A.List(
        field(
          "item",
          new A.Struct([
            field("word", new A.Dictionary(new A.Utf8(), new A.Int16() as never)),
            field("n", new A.Int32()),
          ]) as never,
        ),
      ),
    ),
    ...unions(A),
  };
  for (const [name, type, value] of integers) out[name] = make(every(value as (i: number) => unknown), type);
  return out;
}

function unions(A: Arrow): Record<string, Vector> {
  const fields = [new A.Field("i", new A.Int32(), true), new A.Field("s", new A.Utf8(), true)];
  const typeIds = Int8Array.from({ length: ROWS }, (_, i) => (i % 3 === 0 ? 7 : 5));
  const ints = (n: number) =>
    A.vectorFromArray(
      Array.from({ length: n }, (_, i) => i * 2),
      new A.Int32(),
    ).data[0];
  const strings = (n: number) =>
    A.vectorFromArray(
      Array.from({ length: n }, (_, i) => (i === 2 ? null : text(i))),
      new A.Utf8(),
    ).data[0];
  const seen: Record<number, number> = { 5: 0, 7: 0 };
  const valueOffsets = Int32Array.from(typeIds, (id) => seen[id]++);
  const sparse = A.makeData({
    type: new A.SparseUnion([5, 7], fields),
    typeIds,
    children: [ints(ROWS), strings(ROWS)],
  } as never) as unknown as Data;
  const dense = A.makeData({
    type: new A.DenseUnion([5, 7], fields),
    typeIds,
    valueOffsets,
    children: [ints(seen[5]), strings(seen[7])],
  } as never) as unknown as Data;
  return { sparseunion: new A.Vector([sparse]) as Vector, denseunion: new A.Vector([dense]) as Vector };
}

/** A batch of the given columns, made by `A`. */
export function batchOf(A: Arrow, columns: Record<string, Vector>): RecordBatch {
  const fields = Object.entries(columns).map(([name, v]) => new A.Field(name, v.type, true));
  const schema = new A.Schema(fields);
  const children = Object.values(columns).map((v) => v.data[0]);
  const rows = Object.values(columns)[0]?.length ?? 0;
  const data = A.makeData({ type: new A.Struct(fields), length: rows, nullCount: 0, children });
  return new A.RecordBatch(schema, data as never);
}

/** What a receiver has of a sent batch: a plan, a layout, and a body in one ArrayBuffer. */
export interface Received {
  plan: BatchPlan;
  layout: Layout;
  body: TestBody;
}

/** A body that notes what it is told. */
export class TestBody implements BodyAccess {
  readonly datas: Data[] = [];
  readonly dictionaries = new Map<number, Vector>();
  copiedBytes = 0;
  constructor(readonly buffer: ArrayBuffer) {}
  arrayBuffer(): ArrayBuffer {
    return this.buffer;
  }
  dictionary(id: number): Vector {
    return this.dictionaries.get(id) as Vector;
  }
  made(data: Data): void {
    this.datas.push(data);
  }
  copied(bytes: number): void {
    this.copiedBytes += bytes;
  }
}

/** Packs a flat batch into one ArrayBuffer and takes the receiver's side of it. */
export function receive(flat: FlatBatch): Received {
  // Through JSON, as the schema goes to the native side and back.
  const plan = new BatchPlan(JSON.parse(JSON.stringify(flat.schema)));
  const put = (part: { rows: number; nodes: number[]; buffers: Uint8Array[]; variadic: number[] }) => {
    const packed = packedLayout(part);
    const buffer = new ArrayBuffer(packed.bytes);
    packInto(part, packed, new Uint8Array(buffer));
    return { layout: layoutOf(part, packed), buffer };
  };
  const { layout, buffer } = put(flat);
  const body = new TestBody(buffer);
  for (const { id, flat: values } of flat.dictionaries) {
    const at = put(values);
    const own = new TestBody(at.buffer);
    for (const [inner, vector] of body.dictionaries) own.dictionaries.set(inner, vector);
    body.dictionaries.set(id, new esm.Vector([plan.dictionaryData(id, at.layout, own)]));
  }
  return { plan, layout, body };
}

export function roundTrip(batch: RecordBatch): RecordBatch {
  const { plan, layout, body } = receive(flattenBatch(batch));
  return plan.toRecordBatch(layout, body);
}

/** Every way of reading a Vector that apache-arrow has. */
export const reads: Record<string, (vector: Vector) => unknown> = {
  get: (v) => v.get(0),
  at: (v) => v.at(-1),
  isValid: (v) => v.isValid(0),
  iteration: (v) => Array.from(v),
  toArray: (v) => v.toArray(),
  toJSON: (v) => v.toJSON(),
  toString: (v: Vector) => v.toString(),
  nullCount: (v) => v.nullCount,
  indexOf: (v) => v.indexOf(v.get(0)),
  "slice and read": (v) => v.slice(0, 2).get(0),
  "slice and toArray": (v) => v.slice(0, 2).toArray(),
};

/** A column's values as plain data, whatever copy of the library holds them. */
export function plain(vector: Vector): unknown[] {
  return Array.from({ length: vector.length }, (_, i) => plainly(vector.get(i)));
}

/** A value as plain data. */
export function plainly(x: unknown): unknown {
  if (x === null || x === undefined || typeof x !== "object") return x;
  if (ArrayBuffer.isView(x)) return Array.from(x as unknown as Iterable<unknown>);
  if (Array.isArray(x)) return x.map(plainly);
  if (x.constructor?.name === "Vector") return plain(x as Vector);
  if (typeof (x as Iterable<unknown>)[Symbol.iterator] === "function") {
    return Array.from(x as Iterable<[unknown, unknown]>, ([key, v]) => [key, plainly(v)]);
  }
  return x;
}

/** Everything that may be asked of a batch with a column `i` only while its lease lasts. */
export const questions = (batch: Batch): (() => unknown)[] => [
  () => batch.column("i"),
  () => batch.toArrow(),
  () => batch.schema,
  () => batch.columnNames,
  () => batch.metadata,
  () => batch.location,
  () => batch.address,
  () => batch.slice(),
  () => batch.select(["i"]),
  () => batch.copy(),
  () => batch.exportTo(8n, 8n),
];
