import { publish, subscribe } from "../index.js";
import { lane } from "../native/lane.js";
import type { Half, Outcome, Task } from "./child.js";
import { doubles } from "./local.js";

/**
 * One batch to so many subscribers (mode), each a process of its own, that read its first and last value. The next one
 * is written when all of them have given it back: there is memory for one alone.
 */
export const fan: Half = (task, ready) => (task.half === "first" ? send(task, ready) : read(task));

async function send(task: Task, ready: () => void): Promise<Outcome> {
  const [schema, rows] = [doubles(1), task.payload / 8];
  const out = await publish(task.name, { memory: task.payload, minSubscribers: Number(task.mode) });
  const times = new Float64Array(task.rounds);
  const before = lane().native.copiedBytes();
  ready();
  for (let n = -task.warm; n < task.rounds; n++) {
    const writer = await out.allocate(schema, rows);
    const x = writer.column("x") as Float64Array;
    x[0] = n;
    x[rows - 1] = -n;
    if (n >= 0) times[n] = now();
    const given = await out.send(writer);
    if (given !== Number(task.mode)) throw new Error(`a batch was given to ${given} subscribers`);
  }
  await out.close();
  return { times, copied: lane().native.copiedBytes() - before };
}

async function read(task: Task): Promise<Outcome> {
  const rows = task.payload / 8;
  const times = new Float64Array(task.rounds);
  const before = lane().native.copiedBytes();
  let n = -task.warm;
  await subscribe(task.name).forEach((batch) => {
    const x = batch.column("x");
    const [a, b] = [x.get(0), x.get(rows - 1)];
    if (n >= 0) times[n] = now();
    if (a !== n || b !== -n || !batch.zeroCopy) throw new Error(`batch ${n} arrived as ${a} and ${b}`);
    n++;
    batch.dispose();
  });
  if (n !== task.rounds) throw new Error(`${n} of ${task.rounds} batches arrived`);
  return { times, copied: lane().native.copiedBytes() - before };
}

/** Microseconds of the system's monotonic clock, which is the same in every process. */
function now(): number {
  return Number(process.hrtime.bigint()) / 1000;
}
