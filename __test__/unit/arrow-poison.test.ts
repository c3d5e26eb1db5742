import { describe, expect, test } from "@jest/globals";
import { type RecordBatch, Table, tableToIPC, Vector } from "apache-arrow";
import { flattenBatch } from "../../ts/arrow/flatten.js";
import { poison } from "../../ts/arrow/poison.js";
import { ArrowlaneError, DisposedError } from "../../ts/errors.js";
import { batchOf, esm, plain, type Received, ROWS, receive, samples } from "./arrow-support.js";

const columns = samples(esm);
const disposed = () => new DisposedError();
const ERR_DISPOSED = expect.objectContaining({ code: "ERR_DISPOSED" });

type Ways = Record<string, () => unknown>;

/** Every way of reading a vector that was there before its batch was disposed. */
function vectorWays(vector: Vector, element: unknown): Ways {
  const ways: Ways = {
    "get(first)": () => vector.get(0),
    "get(null)": () => vector.get(3),
    "get(last)": () => vector.get(vector.length - 1),
    "get(past the end)": () => vector.get(vector.length + 100),
    "at(-1)": () => vector.at(-1),
    isValid: () => vector.isValid(0),
    iteration: () => [...vector],
    "for of": () => {
      for (const _ of vector) return;
    },
    toArray: () => vector.toArray(),
    toJSON: () => vector.toJSON(),
    "JSON.stringify": () => JSON.stringify(vector),
    toString: () => vector.toString(),
    "indexOf(value)": () => vector.indexOf(element),
    "indexOf(null)": () => vector.indexOf(null),
    includes: () => vector.includes(null),
    nullCount: () => vector.nullCount,
    nullable: () => vector.nullable,
    byteLength: () => vector.byteLength,
    "memoize, then get": () => vector.memoize().get(1),
    "slice, then get": () => vector.slice(1, 9).get(1),
    "slice, then toArray": () => vector.slice(1, 9).toArray(),
    "whole slice, then toArray": () => vector.slice().toArray(),
    "concat, then iteration": () => [...vector.concat(vector)],
  };
  // There is nothing to write in a column of nulls.
  if (vector.type.typeId !== 1) ways.set = () => vector.set(0, element as never);
  return ways;
}

/** Every way of reading what was derived from a vector before the dispose: it keeps the old bytes' addresses. */
function derivedWays(vector: Vector): Ways {
  const memoized = vector.memoize();
  const twice = vector.concat(vector);
  const ways: Ways = {
    "memoized get": () => memoized.get(1),
    "memoized iteration": () => [...memoized],
    "concatenated iteration": () => [...twice],
    "concatenated toArray": () => twice.toArray(),
  };
  // Of several pieces without rows, no row is asked for: `null`, there is none, stays the answer.
  if (vector.length === 0) return ways;
  ways["concatenated get"] = () => twice.get(vector.length + 1);
  ways["concatenated isValid"] = () => twice.isValid(1);
  const slice = vector.slice(1, 22);
  const inner = slice.slice(2, 9);
  for (const [name, part] of Object.entries({ slice, "slice of a slice": inner })) {
    Object.assign(ways, {
      [`${name} get`]: () => part.get(1),
      [`${name} isValid`]: () => part.isValid(1),
      [`${name} iteration`]: () => [...part],
      [`${name} toArray`]: () => part.toArray(),
      [`${name} toJSON`]: () => part.toJSON(),
      [`${name} toString`]: () => part.toString(),
      [`${name} nullCount`]: () => part.nullCount,
      [`${name} slice`]: () => part.slice(0, 1).get(0),
    });
  }
  for (let i = 0; i < vector.numChildren; i++) {
    const child = vector.getChildAt(i);
    // A dictionary's type lists the children of its values, which its indices do not have.
    if (child?.data[0] === undefined || child.length === 0) continue;
    ways[`child ${i} get`] = () => child.get(0);
    ways[`child ${i} toArray`] = () => child.toArray();
  }
  return ways;
}

/** Every way of reading a record batch, and what was taken out of it before. */
function batchWays(batch: RecordBatch): Ways {
  const table = new Table([batch]);
  const two = new Table([batch, batch]);
  const slice = batch.slice(1, 20);
  const some = batch.select([batch.schema.fields[0].name]);
  const ways: Ways = {
    get: () => batch.get(0),
    at: () => batch.at(-1),
    isValid: () => batch.isValid(0),
    iteration: () => [...batch],
    toArray: () => batch.toArray(),
    indexOf: () => batch.indexOf({} as never),
    nullCount: () => batch.nullCount,
    getChild: () => (batch.getChildAt(0) as Vector).get(0),
    slice: () => batch.slice(0, 2).get(0),
    select: () => batch.select([batch.schema.fields[0].name]).get(0),
    concat: () => batch.concat(batch).get(0),
    "slice from before": () => slice.get(0),
    "slice from before, toArray": () => slice.toArray(),
    "selection from before": () => some.get(0),
    "table iteration": () => [...table],
    "table toArray": () => table.toArray(),
    "table toString": () => table.toString(),
    "table column": () => [...(table.getChildAt(0) as Vector)],
    "table of two, iteration": () => [...two],
    "table of two, column": () => [...(two.getChildAt(0) as Vector)],
    tableToIPC: () => tableToIPC(table),
    "sending it on": () => flattenBatch(batch),
  };
  if (batch.numRows > 0) {
    const row = batch.get(0) as Record<string, unknown> & { toJSON(): unknown };
    const tableSlice = table.slice(2, 9);
    ways["table get"] = () => table.get(0);
    ways["table of two, get"] = () => two.get(batch.numRows);
    ways["row's column"] = () => row[batch.schema.fields[0].name];
    ways["row toJSON"] = () => row.toJSON();
    ways["row iteration"] = () => [...(row as unknown as Iterable<unknown>)];
    ways["row toString"] = () => row.toString();
    ways["table slice's rows"] = () => JSON.stringify(tableSlice.toArray());
  }
  return ways;
}

function dispose({ body }: Received): void {
  poison(body.datas, disposed);
  structuredClone(body.buffer, { transfer: [body.buffer] });
}

function expectAllToThrow(ways: Ways): void {
  const readable: string[] = [];
  for (const [name, read] of Object.entries(ways)) {
    try {
      read();
      readable.push(name);
    } catch (error) {
      if ((error as { code?: string }).code !== "ERR_DISPOSED") readable.push(`${name}: ${error}`);
    }
  }
  expect(readable).toEqual([]);
}

describe.each(Object.keys(columns))("reading a disposed column of type %s throws ERR_DISPOSED", (name) => {
  const sent = (rows = ROWS) => receive(flattenBatch(batchOf(esm, { [name]: columns[name] }).slice(0, rows)));

  test.each([ROWS, 0])("as a vector of %i rows", (rows) => {
    const got = sent(rows);
    const vector = got.plan.columnVector(0, got.layout, got.body);
    const ways = { ...vectorWays(vector, columns[name].get(0)), ...derivedWays(vector) };
    dispose(got);
    expectAllToThrow(ways);
  });

  test.each([ROWS, 0])("as a record batch of %i rows", (rows) => {
    const got = sent(rows);
    const ways = batchWays(got.plan.toRecordBatch(got.layout, got.body));
    dispose(got);
    expectAllToThrow(ways);
  });

  test("as part of a batch", () => {
    const got = sent();
    const vector = got.plan.columnVector(0, got.layout, got.body, 2, 30);
    const ways = { ...vectorWays(vector, columns[name].get(2)), ...derivedWays(vector) };
    const batch = batchWays(got.plan.toRecordBatch(got.layout, got.body, undefined, [0], 2, 30));
    dispose(got);
    expectAllToThrow(ways);
    expectAllToThrow(batch);
  });

  test("as elements that were taken out before", () => {
    const got = sent();
    const vector = got.plan.columnVector(0, got.layout, got.body);
    const values = Array.from({ length: ROWS }, (_, i) => vector.get(i));
    const ways: Ways = {};
    values.forEach((value, i) => {
      if (value instanceof Vector && value.length > 0) {
        ways[`vector ${i} get`] = () => value.get(0);
        ways[`vector ${i} toArray`] = () => value.toArray();
        ways[`vector ${i} iteration`] = () => [...value];
      } else if (
        typeof value?.toJSON === "function" &&
        !ArrayBuffer.isView(value) &&
        Object.keys(value).length > 0
      ) {
        // The keys of a map row are copied when they are asked for; its values are not.
        ways[`row ${i} toJSON`] = () => value.toJSON();
        ways[`row ${i} iteration`] = () => [...value];
      }
    });
    dispose(got);
    expectAllToThrow(ways);
  });

  test("while another handle on the same body goes on reading", () => {
    const got = sent();
    const other = { ...got, body: Object.assign(Object.create(got.body), { datas: [], guard: undefined }) };
    const kept = got.plan.columnVector(0, got.layout, got.body);
    const gone = other.plan.columnVector(0, other.layout, other.body);
    poison(other.body.datas, disposed);
    expect(plain(kept)).toEqual(plain(columns[name]));
    if (kept.length > 0) expectAllToThrow(vectorWays(gone, null));
  });
});

test.each(Object.keys(columns))(
  "disposing while a column of type %s is iterated ends the iteration",
  (name) => {
    const got = receive(flattenBatch(batchOf(esm, { [name]: columns[name] })));
    const iterations = [
      got.plan.columnVector(0, got.layout, got.body)[Symbol.iterator](),
      got.plan.toRecordBatch(got.layout, got.body).getChild(name)?.[Symbol.iterator](),
    ] as IterableIterator<unknown>[];
    for (const iteration of iterations) expect(iteration.next().done).not.toBe(true);
    dispose(got);
    for (const iteration of iterations) expect(() => iteration.next()).toThrow(ERR_DISPOSED);
  },
);

test("a raw typed array that was taken out has length 0", () => {
  const got = receive(flattenBatch(batchOf(esm, { full: columns.full })));
  const raw = got.plan.columnVector(0, got.layout, got.body).toArray() as Int32Array;
  expect(raw.length).toBe(ROWS);
  dispose(got);
  expect(raw.length).toBe(0);
});

test("the buffers of a disposed column throw whatever is done with them", () => {
  const got = receive(flattenBatch(batchOf(esm, { utf8: columns.utf8 })));
  const [data] = got.plan.columnVector(0, got.layout, got.body).data;
  dispose(got);
  const values = data.values as Uint8Array;
  expect(() => values[0]).toThrow(ERR_DISPOSED);
  expect(() => values.length).toThrow(ERR_DISPOSED);
  expect(() => (data.nullBitmap as Uint8Array)[0]).toThrow(ERR_DISPOSED);
  expect(() => {
    values[0] = 1;
  }).toThrow(ERR_DISPOSED);
  expect(() => [...values]).toThrow(ERR_DISPOSED);
  expect(() => Buffer.from(values)).toThrow(ERR_DISPOSED);
  expect(() => (data.valueOffsets as Int32Array).subarray(0)).toThrow(ERR_DISPOSED);
});

test("disposing twice keeps the first reason", () => {
  const got = receive(flattenBatch(batchOf(esm, columns).slice(0, 0)));
  const batch = got.plan.toRecordBatch(got.layout, got.body);
  dispose(got);
  poison(got.body.datas, () => new ArrowlaneError("ERR_CLOSED", "revoked"));
  expect(() => batch.get(0)).toThrow(ERR_DISPOSED);
});

test("a revoked batch throws the reason it was revoked for", () => {
  const got = receive(flattenBatch(batchOf(esm, columns)));
  const batch = got.plan.toRecordBatch(got.layout, got.body);
  const slice = batch.slice(3);
  poison(got.body.datas, () => new ArrowlaneError("ERR_CLOSED", "revoked"));
  const ERR_REVOKED = expect.objectContaining({ code: "ERR_CLOSED" });
  expect(() => batch.get(0)).toThrow(ERR_REVOKED);
  expect(() => slice.getChild("full")?.toArray()).toThrow(ERR_REVOKED);
});

test("values that were copied out live on", () => {
  const got = receive(flattenBatch(batchOf(esm, { utf8: columns.utf8, int32: columns.int32 })));
  const batch = got.plan.toRecordBatch(got.layout, got.body);
  const copied = plain(batch.getChildAt(0) as Vector);
  const sum = (batch.getChildAt(1) as Vector<esm.Int32>).get(1);
  dispose(got);
  expect(copied).toEqual(plain(columns.utf8));
  expect(sum).toBe(columns.int32.get(1));
});

test("a dictionary that other batches use is not poisoned with one of them", () => {
  const got = receive(flattenBatch(batchOf(esm, { dictionary: columns.dictionary })));
  const vector = got.plan.columnVector(0, got.layout, got.body);
  poison(got.body.datas, disposed);
  expect(() => vector.get(0)).toThrow(ERR_DISPOSED);
  const again = { ...got, body: Object.assign(Object.create(got.body), { datas: [], guard: undefined }) };
  expect(plain(again.plan.columnVector(0, again.layout, again.body))).toEqual(plain(columns.dictionary));
});
