/**
 * `column.reinterpret(type)`: the bytes of a uint8 or fixed-size binary column as values of another type, in place.
 * What they are is compared with what apache-arrow itself reads from such bytes, and with pyarrow's `view`.
 */
import { afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import type { Batch } from "../../ts/index.js";
import { describePython, endPython, Python } from "../interop/python-support.js";
import { codeOf, connected, Stage } from "../support.js";
import { commonjs, plain } from "../unit/arrow-support.js";

const stage = new Stage();
afterEach(async () => {
  await stage.clear();
  await endPython();
});
const disposed = expect.objectContaining({ code: "ERR_DISPOSED" });

/** Every type of fixed width that apache-arrow holds, with its width in bytes. */
const types: [string, number, (A: typeof arrow) => arrow.DataType][] = [
  ["int8", 1, (A) => new A.Int8()],
  ["int16", 2, (A) => new A.Int16()],
  ["int32", 4, (A) => new A.Int32()],
  ["int64", 8, (A) => new A.Int64()],
  ["uint8", 1, (A) => new A.Uint8()],
  ["uint16", 2, (A) => new A.Uint16()],
  ["uint32", 4, (A) => new A.Uint32()],
  ["uint64", 8, (A) => new A.Uint64()],
  ["float16", 2, (A) => new A.Float16()],
  ["float32", 4, (A) => new A.Float32()],
  ["float64", 8, (A) => new A.Float64()],
  ["decimal128", 16, (A) => new A.Decimal(2, 30, 128)],
  ["decimal256", 32, (A) => new A.Decimal(2, 60, 256)],
  ["date32", 4, (A) => new A.DateDay()],
  ["date64", 8, (A) => new A.DateMillisecond()],
  ["time32(s)", 4, (A) => new A.TimeSecond()],
  ["time64(ns)", 8, (A) => new A.TimeNanosecond()],
  ["timestamp(s)", 8, (A) => new A.TimestampSecond()],
  ["timestamp(us)", 8, (A) => new A.TimestampMicrosecond("UTC")],
  ["duration(ms)", 8, (A) => new A.DurationMillisecond()],
  ["interval", 8, (A) => new A.IntervalDayTime()],
  ["fixed-size binary", 3, (A) => new A.FixedSizeBinary(3)],
];

const VALUES = 12;

/** Bytes of values that every type can hold. */
function bytesOf(width: number): Uint8Array {
  const bytes = new Uint8Array(VALUES * width);
  for (let n = 0; n < VALUES; n++)
    for (let k = 0; k < Math.min(width, 4); k++) bytes[n * width + k] = 3 * n + k + 1;
  return bytes;
}

/** A column of bytes: uint8, or fixed-size binary with rows 4 and 8 null. */
function column(bytes: Uint8Array, byteWidth?: number, nulls = false): arrow.Vector {
  const type = byteWidth === undefined ? new arrow.Uint8() : new arrow.FixedSizeBinary(byteWidth);
  const length = bytes.length / (byteWidth ?? 1);
  const nullCount = [4, 8].filter((row) => row < length).length;
  const nullBitmap = nulls ? { nullBitmap: Uint8Array.of(0b11101111, 0b11011110), nullCount } : {};
  return new arrow.Vector([arrow.makeData({ type, length, data: bytes, ...nullBitmap } as never)]);
}

/** What apache-arrow reads from such bytes. */
function read(type: arrow.DataType, bytes: Uint8Array, width: number): unknown[] {
  const { buffer } = bytes.slice();
  const Values = type.ArrayType as unknown as new (buffer: ArrayBufferLike) => Uint8Array;
  const data = new Values(buffer);
  return plain(
    new arrow.Vector([arrow.makeData({ type, length: bytes.length / width, data } as never)]) as arrow.Vector,
  );
}

async function received(columns: Record<string, arrow.Vector>, options = {}): Promise<Batch> {
  const { publisher, pending } = await connected(stage, options);
  await publisher.send(new arrow.Table(columns));
  return pending[0];
}

const inPlace = (bytes: arrow.Vector, values: arrow.Vector) => {
  const [from, to] = [bytes.data[0].values, values.data[0].values];
  expect([to.buffer === from.buffer, to.byteOffset, to.byteLength]).toEqual([
    true,
    from.byteOffset,
    from.byteLength,
  ]);
};

describe.each(types)("%s", (_, width, typeOf) => {
  test.each(["ESM", "CommonJS"])(
    "a uint8 column is read as its values, in place (a type of the %s copy)",
    async (copy) => {
      const type = typeOf(copy === "ESM" ? arrow : (commonjs as typeof arrow));
      const batch = await received({ bytes: column(bytesOf(width)) });
      const bytes = batch.column("bytes");
      const values = bytes.reinterpret(type);
      expect(values.length).toBe(VALUES);
      expect(plain(values)).toEqual(read(typeOf(arrow), bytesOf(width), width));
      expect(values.type.toString()).toBe(typeOf(arrow).toString());
      inPlace(bytes, values);
      batch.dispose();
    },
  );

  test("so is a fixed-size binary one, row by row, with its nulls, and slices of it", async () => {
    const type = typeOf(arrow);
    const all = read(type, bytesOf(width), width);
    const batch = await received({
      full: column(bytesOf(width), width),
      some: column(bytesOf(width), width, true),
    });
    expect(plain(batch.column("full").reinterpret(type))).toEqual(all);
    const some = batch.column("some").reinterpret(type);
    const expected = all.map((value, n) => ([4, 8].includes(n) ? null : value));
    expect(plain(some)).toEqual(expected);
    expect(some.nullCount).toBe(2);
    inPlace(batch.column("some"), some);
    const slice = batch.slice(3, 11);
    expect(plain(slice.column("some").reinterpret(type))).toEqual(expected.slice(3, 11));
    expect(plain(slice.column("some").reinterpret(type).slice(1, 4))).toEqual(expected.slice(4, 7));
    const vectors = [some, slice.column("full").reinterpret(type)].map((vector) => ({
      vector,
      derived: vector.slice(1, 3),
    }));
    batch.dispose();
    slice.dispose();
    for (const { vector, derived } of vectors) {
      for (const look of [
        () => vector.get(0),
        () => [...vector],
        () => vector.toArray(),
        () => vector.toJSON(),
        () => vector.slice(0, 1).get(0),
        () => vector.nullCount,
        () => derived.get(0),
        () => derived.toArray(),
      ]) {
        expect(look).toThrow(disposed);
      }
    }
    expect(() => some.reinterpret(type)).toThrow(disposed);
  });
});

test("a fixed-size binary row of several widths gives that many values; a part of one gives none", async () => {
  const batch = await received({ rows: column(bytesOf(16), 16), odd: column(bytesOf(6), 6).slice(0, 12) });
  const values = batch.column("rows").reinterpret(new arrow.Float32());
  expect(values.length).toBe(4 * VALUES);
  expect(plain(values)).toEqual(read(new arrow.Float32(), bytesOf(16), 4));
  expect(plain(batch.column("odd").reinterpret(new arrow.Int16()))).toHaveLength(3 * VALUES);
  expect(await codeOf(() => batch.column("odd").reinterpret(new arrow.Int32()))).toBe("ERR_INVALID_ARGUMENT");
  expect(await codeOf(() => batch.column("rows").reinterpret(new arrow.Decimal(0, 60, 256)))).toBe(
    "ERR_INVALID_ARGUMENT",
  );
  batch.dispose();
});

test("bytes that are not a whole number of values are refused, and so are nulls that would not stay rows", async () => {
  const nulls = arrow.vectorFromArray([1, null, 3, 4], new arrow.Uint8());
  const batch = await received({ seven: column(new Uint8Array(4)), nulls });
  const other = await received({ wide: column(new Uint8Array(32), 4, true) });
  expect(plain(batch.slice(0, 2).column("seven").reinterpret(new arrow.Int16()))).toEqual([0]);
  expect(await codeOf(() => batch.slice(0, 3).column("seven").reinterpret(new arrow.Int16()))).toBe(
    "ERR_INVALID_ARGUMENT",
  );
  expect(await codeOf(() => batch.column("nulls").reinterpret(new arrow.Int32()))).toBe(
    "ERR_INVALID_ARGUMENT",
  );
  // Of the same width, rows stay rows; and where a slice has none, there is nothing to refuse.
  expect(plain(batch.column("nulls").reinterpret(new arrow.Int8()))).toEqual([1, null, 3, 4]);
  expect(plain(batch.slice(2).column("nulls").reinterpret(new arrow.Uint16()))).toEqual([0x0403]);
  expect(await codeOf(() => other.column("wide").reinterpret(new arrow.Int16()))).toBe(
    "ERR_INVALID_ARGUMENT",
  );
  batch.dispose();
});

test("bytes that do not lie as the type needs them are refused, never copied", async () => {
  const batch = await received({ bytes: column(bytesOf(8)) });
  for (const [begin, type, code] of [
    [1, new arrow.Int16(), "ERR_ALIGNMENT"],
    [4, new arrow.Float64(), "ERR_ALIGNMENT"],
    [2, new arrow.DateDay(), "ERR_ALIGNMENT"],
    [8, new arrow.Decimal(0, 30, 128), "nothing was thrown"],
    [4, new arrow.Decimal(0, 30, 128), "ERR_ALIGNMENT"],
    [4, new arrow.Float32(), "nothing was thrown"],
    [3, new arrow.FixedSizeBinary(8), "nothing was thrown"],
  ] as const) {
    const slice = batch.slice(begin, begin + 64).column("bytes");
    expect([begin, String(type), await codeOf(() => slice.reinterpret(type))]).toEqual([
      begin,
      String(type),
      code,
    ]);
  }
  expect(batch.zeroCopy).toBe(true);
  batch.dispose();
});

test("columns and types of other kinds are refused by name", async () => {
  const batch = await received({
    i: arrow.vectorFromArray([1, 2], new arrow.Int32()),
    signed: arrow.vectorFromArray([1, 2], new arrow.Int8()),
    text: arrow.vectorFromArray(["a", "b"], new arrow.Utf8()),
    words: arrow.vectorFromArray(["a", "b"], new arrow.Dictionary(new arrow.Utf8(), new arrow.Uint8())),
    bytes: column(new Uint8Array(2)),
  });
  const refused = (name: string, type: unknown) =>
    codeOf(() => batch.column(name).reinterpret(type as arrow.DataType));
  for (const name of ["i", "signed", "text", "words"]) {
    expect([name, await refused(name, new arrow.Float32())]).toEqual([name, "ERR_INVALID_ARGUMENT"]);
  }
  const item = new arrow.Field("item", new arrow.Uint8());
  for (const type of [
    new arrow.Bool(),
    new arrow.Utf8(),
    new arrow.Null(),
    new arrow.FixedSizeList(2, item),
    new arrow.FixedSizeBinary(0),
    new arrow.Dictionary(new arrow.Utf8(), new arrow.Uint8()),
    undefined,
    null,
    "float32",
    {},
  ]) {
    expect([String(type), await refused("bytes", type)]).toEqual([String(type), "ERR_INVALID_ARGUMENT"]);
  }
  expect(await refused("bytes", new arrow.Decimal(0, 5, 32))).toBe("ERR_UNSUPPORTED_TYPE");
  expect(() => batch.column("i").reinterpret(new arrow.Float32())).toThrow("int32");
  batch.dispose();
});

test("a column without rows has no values, and throws after dispose like all others", async () => {
  const batch = await received({ bytes: column(bytesOf(4)) });
  const empty = batch.slice(0, 0).column("bytes").reinterpret(new arrow.Float32());
  expect([empty.length, plain(empty)]).toEqual([0, []]);
});

describePython("pyarrow's view", () => {
  test("gives the same values for the same bytes, of every type that both have", async () => {
    const python = new Python(
      "",
      `
import base64
import random
random.seed(4)
types = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float16(), pa.float32(),
  pa.float64(), pa.decimal128(38, 3), pa.decimal256(76, 3), pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"),
  pa.time64("ns"), pa.timestamp("s"), pa.timestamp("ms", "UTC"), pa.timestamp("us"), pa.timestamp("ns"), pa.duration("s"), pa.duration("ns")]
columns = {}
for n, type in enumerate(types):
    width = type.bit_width // 8
    # The last byte stays 0: times of day and dates are small, decimals within their precision.
    rows = [None if row % 7 == 3 else bytes([random.randrange(100) if k < max(1, width - 2) else 0 for k in range(width)]) for row in range(40)]
    columns[f"bytes{n}"] = pa.array(rows, pa.binary(width))
    columns[f"view{n}"] = columns[f"bytes{n}"].view(type)
sink = pa.BufferOutputStream()
batch = pa.record_batch(columns)
with pa.ipc.new_stream(sink, batch.schema) as writer:
    writer.write(batch)
say("stream", json.dumps(base64.b64encode(sink.getvalue()).decode()))
`,
    );
    const { publisher, pending } = await connected(stage);
    await publisher.send(arrow.tableFromIPC(Buffer.from(await python.told<string>("stream"), "base64")));
    const batch = await pending[0];
    const count = batch.columnNames.length / 2;
    expect(count).toBe(25);
    for (let n = 0; n < count; n++) {
      const view = batch.column(`view${n}`);
      const ours = batch.column(`bytes${n}`).reinterpret(view.type);
      expect([String(ours.type), ours.nullCount, plain(ours)]).toEqual([String(view.type), 6, plain(view)]);
      inPlace(batch.column(`bytes${n}`), ours);
    }
    batch.dispose();
  });
});
