/**
 * A consumer cannot hurt a producer. JavaScript has no read-only buffers: what a subscriber writes into a batch stays in
 * its own copy of the page, and is thrown away with the batch.
 */
import { afterEach, expect, test } from "@jest/globals";
import type { Batch } from "../../ts/index.js";
import { Child, connected, first, numbers, numbersSchema, Stage, take, until } from "../support.js";

const stage = new Stage();
afterEach(() => stage.clear());

const scribble = (batch: Batch) => {
  const { buffer } = batch.column("i").data[0].values as Int32Array;
  new Uint8Array(buffer as ArrayBuffer).fill(0xa5);
};
const values = (batch: Batch) => Array.from(batch.column("i").toArray() as Int32Array);
const range = (from: number, rows = 10) => Array.from({ length: rows }, (_, n) => from + n);

test("garbage in a received batch reaches no producer, no other subscriber, no neighbour and no later batch", async () => {
  const { publisher, subscriptions, pending } = await connected(stage);
  const child = new Child(
    `const there = subscribe(topic);
     for await (const batch of there) {
       say("got " + Array.from(batch.column("i").toArray()).join());
       await once(process.stdin, "data");
       say("still " + Array.from(batch.column("i").toArray()).join());
       batch.dispose();
     }
     process.stdin.destroy();`,
    { env: { TOPIC: publisher.topic } },
  );
  await until(() => publisher.subscribers === 2, "the child takes part");
  await publisher.send(numbers(1));
  await publisher.send(numbers(2));
  const [one, two] = [await pending[0], await take(subscriptions[0])];
  const location = one.location;
  await child.said(`got ${range(1000).join()}`);
  scribble(one);
  expect(first(one)).not.toBe(1000);
  expect(values(two)).toEqual(range(2000));
  child.tell("look");
  await child.said(`still ${range(1000).join()}`);
  await child.said(`got ${range(2000).join()}`);
  child.tell("look");
  one.dispose();
  two.dispose();
  await until(() => publisher.statistics().bytesInUse === 0, "both come back");
  // The same memory again, and every batch in it is as it was written.
  const places = new Set<string>();
  for (let b = 3; b < 20; b++) {
    await publisher.send(numbers(b));
    const batch = await take(subscriptions[0]);
    expect(values(batch)).toEqual(range(b * 1000));
    places.add(`${batch.location?.memory} ${batch.location?.offset}`);
    scribble(batch);
    batch.dispose();
    await child.said(`got ${range(b * 1000).join()}`);
    child.tell("look");
    await child.said(`still ${range(b * 1000).join()}`);
    await until(() => publisher.statistics().bytesInUse === 0, "it comes back");
  }
  expect(places.has(`${location?.memory} ${location?.offset}`)).toBe(true);
  await publisher.close();
  expect(await child.ended).toMatchObject({ code: 0, stderr: "" });
});

test("large batches too, whose pages are found on a thread of their own", async () => {
  const { publisher, subscriptions, pending } = await connected(stage, { memory: 16 << 20 }, 2);
  const rows = 300_000;
  for (let b = 0; b < 8; b++) {
    const writer = await publisher.allocate(numbersSchema, rows);
    writer.column("i").fill(b);
    writer.column("x").fill(b / 2);
    await publisher.send(writer);
    const [mine, other] = await Promise.all(b === 0 ? pending : subscriptions.map(take));
    expect((mine.column("i").toArray() as Int32Array).every((value) => value === b)).toBe(true);
    scribble(mine);
    expect((other.column("i").toArray() as Int32Array).every((value) => value === b)).toBe(true);
    expect((other.column("x").toArray() as Float64Array).every((value) => value === b / 2)).toBe(true);
    mine.dispose();
    other.dispose();
  }
});
