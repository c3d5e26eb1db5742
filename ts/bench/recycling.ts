import { Field, Float64, Schema } from "apache-arrow";
import type { Batch, Publisher } from "../index.js";
import { publish, subscribe } from "../index.js";
import type { Half, Outcome } from "./child.js";
import { quantile } from "./rows.js";

/** Bytes of a page. */
const PAGE = 4096;
const schema = new Schema([new Field("x", new Float64(), false)]);

/**
 * What it costs to find and drop the pages that a consumer wrote, when it gives a batch back. Mode
 * `<what was done>/<what is measured>`: `untouched`, `read`, `one page written`, `all written`; `dispose` (how long the
 * consumer's loop is kept) or `back` (until the producer has its memory). Publisher and subscriber are one process; the
 * second half does nothing.
 */
export const recycling: Half = async (task, ready) => {
  ready();
  if (task.half === "second") return {};
  const [did, until] = task.mode.split("/");
  const out = await publish(task.name);
  const batches = subscribe(task.name);
  const rows = task.payload / 8;
  const times = new Float64Array(task.rounds);
  // Asked for before the first is sent, for it is what connects.
  let next = batches.next();
  for (let n = -task.warm; n < task.rounds; n++) {
    await out.send(await out.allocate(schema, rows));
    const { value } = await next;
    touch(value, did, rows);
    next = batches.next();
    const started = performance.now();
    value.dispose();
    if (until === "back") await returned(out);
    const took = performance.now() - started;
    if (until !== "back") await returned(out);
    if (n >= 0) times[n] = took * 1000;
  }
  batches.close();
  await next;
  await out.close();
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) } satisfies Outcome;
};

function touch(batch: Batch, did: string, rows: number): void {
  if (did === "untouched") return;
  const x = batch.toArrow().getChildAt(0)?.data[0].values as Float64Array;
  const step = PAGE / 8;
  let sum = 0;
  for (let i = 0; i < rows; i += step) sum += x[i];
  if (Number.isNaN(sum)) x[0] = 0;
  if (did === "one page written") x[0] = 1;
  if (did === "all written") for (let i = 0; i < rows; i += step) x[i] = i;
}

async function returned(out: Publisher): Promise<void> {
  while (out.statistics().leases > 0) await new Promise((resolve) => setImmediate(resolve));
}
