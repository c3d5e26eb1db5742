import { publish, subscribe } from "../index.js";
import type { Half, Outcome, Task } from "./child.js";
import { doubles } from "./local.js";

/**
 * Batches one way, as fast as they go; the second half counts them. Mode `handles`: each is disposed as it comes;
 * `record-batches`: each becomes an apache-arrow RecordBatch, of which one value is read.
 */
export const rate: Half = (task, ready) => (task.half === "first" ? send(task, ready) : drain(task));

async function send(task: Task, ready: () => void): Promise<Outcome> {
  const out = await publish(task.name, { queue: { batches: 1024 } });
  ready();
  const schema = doubles(task.columns);
  const [{ name }] = schema.fields;
  const rows = task.payload / 8 / task.columns;
  for (let n = 0; n < task.warm + task.rounds; n++) {
    const writer = await out.allocate(schema, rows);
    (writer.column(name) as Float64Array)[0] = n;
    await out.send(writer);
  }
  await out.close();
  return {};
}

async function drain(task: Task): Promise<Outcome> {
  const total = task.warm + task.rounds;
  const builds = task.mode === "record-batches";
  let count = 0;
  let started = performance.now();
  await subscribe(task.name).forEach((batch) => {
    if (builds && batch.toArrow().getChildAt(0)?.get(0) !== count) throw new Error(`batch ${count} is wrong`);
    batch.dispose();
    if (++count === task.warm) started = performance.now();
  });
  if (count !== total) throw new Error(`${count} of ${total} batches arrived`);
  return { perSecond: (1000 * task.rounds) / (performance.now() - started) };
}
