import { Field, Float64, makeData, RecordBatch, Schema, Struct } from "apache-arrow";
import type { Half } from "./child.js";
import { quantile } from "./rows.js";

const schemas: Schema[] = [];

/** A schema of so many columns of doubles: `x`, or `x0`, `x1`, …. */
export function doubles(columns: number): Schema {
  const names = columns === 1 ? ["x"] : Array.from({ length: columns }, (_, i) => `x${i}`);
  schemas[columns] ??= new Schema(names.map((name) => new Field(name, new Float64(), false)));
  return schemas[columns];
}

/** Columns of this process's own memory. */
export function values(columns: number, rows: number): Float64Array[] {
  return Array.from({ length: columns }, () => new Float64Array(rows).fill(1));
}

const type = new Float64();

/** The RecordBatch over such columns, as apache-arrow's own users build it. */
export function localBatch(columns: readonly Float64Array[]): RecordBatch {
  const schema = doubles(columns.length);
  const { length } = columns[0];
  const children = columns.map((data) => makeData({ type, length, nullCount: 0, data }));
  const rows = makeData({ type: new Struct(schema.fields), length, nullCount: 0, children });
  return new RecordBatch(schema, rows);
}

/** How many RecordBatches a second one process builds from buffers of its own. The first half does nothing. */
export const localRate: Half = async (task, ready) => {
  ready();
  if (task.half === "first") return {};
  const columns = values(task.columns, task.payload / 8 / task.columns);
  let started = 0;
  let sum = 0;
  for (let n = -task.warm; n < task.rounds; n++) {
    if (n === 0) started = performance.now();
    columns[0][0] = n;
    sum += localBatch(columns).getChildAt(0)?.get(0);
  }
  const took = performance.now() - started;
  if (Number.isNaN(sum)) throw new Error("a local RecordBatch could not be read");
  return { perSecond: (1000 * task.rounds) / took };
};

/** Microseconds to copy the payload once from one array into another. The second half does nothing. */
export const memcpy: Half = async (task, ready) => {
  ready();
  if (task.half === "second") return {};
  const from = new Uint8Array(task.payload).fill(1);
  const to = new Uint8Array(task.payload).fill(2);
  // Short ones are repeated: the clock is not that fine.
  const repeat = Math.max(1, Math.floor((256 << 10) / task.payload));
  const times = new Float64Array(task.rounds);
  for (let n = -task.warm; n < task.rounds; n++) {
    const started = performance.now();
    for (let i = 0; i < repeat; i++) to.set(from);
    if (n >= 0) times[n] = ((performance.now() - started) * 1000) / repeat;
  }
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
};
