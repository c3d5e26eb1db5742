import { expect, test } from "@jest/globals";
import { Fifo } from "../../ts/fifo.js";
import { untilCollected } from "../support.js";

test("a queue gives back what was put in, in order, and keeps few places more than are taken", () => {
  const queue = new Fifo<number>();
  let [put, taken, seed] = [0, 0, 1];
  for (let step = 0; step < 3000; step++) {
    seed = (seed * 48_271) % 0x7fffffff;
    // Long runs, so that it becomes large and empty again.
    const count = seed % 200;
    for (let n = 0; n < count; n++) {
      if ((step >> 5) % 2 === 0) queue.push(put++);
      else if (taken < put) expect(queue.shift()).toBe(taken++);
    }
    expect(queue.length).toBe(put - taken);
    expect(queue.places).toBeLessThanOrEqual(2 * queue.length + 64);
  }
  expect(queue.drain()).toEqual(Array.from({ length: put - taken }, (_, n) => taken + n));
  expect([queue.length, queue.places, queue.shift()]).toEqual([0, 0, undefined]);
});

test("what was taken is not kept alive", async () => {
  const queue = new Fifo<object>();
  const taken = (() => {
    queue.push({});
    queue.push({});
    return new WeakRef(queue.shift() as object);
  })();
  await untilCollected(() => taken.deref() === undefined, "it is collected");
  expect(queue.length).toBe(1);
});
