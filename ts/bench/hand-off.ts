import { Field, Float64, Schema } from "apache-arrow";
import type { Batch, Publisher } from "../index.js";
import { publish, subscribe } from "../index.js";
import type { Half, Task } from "./child.js";
import { Clock } from "./clock.js";

type Columns = { x: Float64 };

const schema = new Schema<Columns>([new Field("x", new Float64(), false)]);

/**
 * The whole hand-off, there and back over two topics: allocate a batch, write two fresh values into it in place,
 * send it, read both through apache-arrow on the other side, dispose it, answer with a batch of the same size that
 * carries their sum.
 */
export const handOff: Half = (task, ready) => (task.half === "first" ? ask(task, ready) : answer(task));

async function ask(task: Task, ready: () => void): Promise<ReturnType<Clock["oneWay"]>> {
  const rows = task.payload / 8;
  const clock = new Clock(task.warm, task.rounds);
  const out = await publish(`${task.name}-there`);
  const back = subscribe<Columns>(`${task.name}-back`);
  ready();
  let expected = 0;
  const send = async () => {
    clock.start();
    const writer = await out.allocate(schema, rows);
    const x = writer.column("x");
    const [a, b] = [Math.random(), Math.random()];
    x[0] = a;
    x[rows - 1] = b;
    expected = a + b;
    await out.send(writer);
  };
  const check = (batch: Batch<Columns>) => {
    const x = batch.column("x");
    const [sum, negated] = [x.get(0), x.get(rows - 1)];
    batch.dispose();
    if (sum !== expected || negated !== -expected) {
      throw new Error(`a hand-off returned ${sum} and ${negated}, not ${expected}`);
    }
    return clock.stop();
  };
  await send();
  if (task.mode === "callback") {
    await back.forEach((batch) => {
      if (check(batch)) send().catch(fail);
      else back.close();
    });
  } else {
    for await (const batch of back) {
      if (!check(batch)) break;
      await send();
    }
  }
  await out.close();
  return clock.oneWay();
}

async function answer(task: Task): Promise<Record<string, never>> {
  const rows = task.payload / 8;
  const there = subscribe<Columns>(`${task.name}-there`);
  const out = await publish(`${task.name}-back`);
  const read = (batch: Batch<Columns>) => {
    const x = batch.column("x");
    const sum = (x.get(0) as number) + (x.get(rows - 1) as number);
    batch.dispose();
    return sum;
  };
  if (task.mode === "callback") {
    await there.forEach((batch) => {
      reply(out, rows, read(batch)).catch(fail);
    });
  } else {
    for await (const batch of there) await reply(out, rows, read(batch));
  }
  await out.close();
  return {};
}

async function reply(out: Publisher, rows: number, sum: number): Promise<void> {
  const writer = await out.allocate(schema, rows);
  const x = writer.column("x");
  x[0] = sum;
  x[rows - 1] = -sum;
  await out.send(writer);
}

/** Surfaces as an uncaught exception, which ends the process and with it the run. */
function fail(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}
