/**
 * Batches through the socket, where memory cannot be shared: what arrives is a copy and says so, of any size, and neither
 * side takes more memory than it was allowed.
 *
 * @jest-environment-options {"memory": "heap"}
 */
import { afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { type Batch, publish, subscribe } from "../../ts/index.js";
import {
  codeOf,
  connected,
  counters,
  first,
  freshTopic,
  isPending,
  numbers,
  numbersSchema,
  Stage,
  take,
  until,
} from "../support.js";

const stage = new Stage();

afterEach(() => stage.clear());

const MIB = 1 << 20;
const bytesSchema = new arrow.Schema([new arrow.Field("b", new arrow.Uint8(), false)]);

/** A batch of so many bytes, in which every page has something else. */
async function filled(publisher: Awaited<ReturnType<typeof publish>>, bytes: number) {
  const writer = await publisher.allocate(bytesSchema, bytes);
  const column = writer.column("b") as Uint8Array;
  for (let at = 0; at < bytes; at += 1024) column[at] = (at / 1024) % 251;
  return writer;
}

function isFilled(batch: Batch, bytes: number): boolean {
  const column = batch.column("b").data[0].values as Uint8Array;
  if (column.length !== bytes) return false;
  for (let at = 0; at < bytes; at += 1024) if (column[at] !== (at / 1024) % 251) return false;
  return true;
}

describe("a batch that came through the socket", () => {
  test("is a copy that says so, aligned, and outlives its publisher", async () => {
    // Other test files of this process may have left something to the garbage collector.
    const before = counters();
    const { publisher, pending } = await connected(stage);
    expect(publisher.uri).toMatch(/^unix:/);
    const writer = await publisher.allocate(numbersSchema, 3);
    expect(writer.location).toBeUndefined();
    writer.column("i").set([1, 2, 3]);
    writer.column("x").set([0.5, 1, 1.5]);
    await publisher.send(writer);
    const batch = await pending[0];
    expect([batch.zeroCopy, batch.via, batch.location]).toEqual([false, "unix", undefined]);
    expect(batch.address % 64n).toBe(0n);
    await publisher.close();
    expect([...batch.column("i")]).toEqual([1, 2, 3]);
    expect([...batch.column("x")]).toEqual([0.5, 1, 1.5]);
    const { blocks, arrivals, segments } = counters();
    expect(arrivals).toBe(before.arrivals + 1);
    expect([blocks <= before.blocks, segments <= before.segments]).toEqual([true, true]);
    batch.dispose();
    expect(await codeOf(() => batch.column("i"))).toBe("ERR_DISPOSED");
    expect(counters().arrivals).toBe(before.arrivals);
  });

  test("can be written, and nobody sees that", async () => {
    const { publisher, pending } = await connected(stage, {}, 2);
    await publisher.send(numbers(7));
    const [one, other] = await Promise.all(pending);
    (one.column("i").data[0].values as Int32Array).fill(-1);
    expect([first(one), first(other)]).toEqual([-1, 7000]);
    for (const batch of [one, other]) batch.dispose();
  });

  test("may be larger than a frame, and gives the publisher's memory back when it is with the system", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    for (const bytes of [100_000_000, 64 * MIB, 8 << 10, (8 << 10) + 1, 1]) {
      await publisher.send(await filled(publisher, bytes));
      const batch = bytes === 100_000_000 ? await pending[0] : await take(subscriptions[0]);
      expect(isFilled(batch, bytes)).toBe(true);
      // Held by its reader, and by nobody else.
      await until(() => publisher.statistics().bytesInUse === 0, "the block is free");
      batch.dispose();
    }
    expect(counters().arrivals).toBe(0);
  });
});

describe("strictZeroCopy", () => {
  test("refuses a publisher that could not lend, and a subscription that would be given copies", async () => {
    const topic = freshTopic();
    expect(await codeOf(publish(topic, { strictZeroCopy: true }))).toBe("ERR_COPY_REQUIRED");
    await expect(publish(topic, { strictZeroCopy: true })).rejects.toThrow(/ARROWLANE_MEMORY/);
    // The name is free, and stays so.
    const publisher = await stage.publish(topic);
    const strict = subscribe(topic, { strictZeroCopy: true });
    expect(await codeOf(strict.next())).toBe("ERR_COPY_REQUIRED");
    expect(await strict.next()).toEqual({ done: true, value: undefined });
    const pending = take(stage.subscribe(topic));
    await until(() => publisher.subscribers > 0, "it takes part");
    await publisher.send(numbers(1));
    (await pending).dispose();
  });
});

const READER = `
const subscription = subscribe(topic);
subscription.next().then(async ({ value }) => {
  say("has", value.byteLength);
  value.dispose();
  let count = 1;
  for await (const batch of subscription) { count++; batch.dispose(); }
  say("read", count);
});
`;

describe("a subscriber that does not read", () => {
  test("stops the sender within the publisher's memory, and gets everything when it goes on", async () => {
    const memory = 8 * MIB;
    const publisher = await stage.publish(freshTopic(), { memory });
    const reader = stage.child(publisher.topic, READER);
    await until(() => publisher.subscribers === 1, "it takes part");
    await publisher.send(await filled(publisher, MIB));
    await reader.said(`has ${MIB}`);
    reader.kill("SIGSTOP");
    let sent = 0;
    const all = (async () => {
      for (; sent < 32; sent++) await publisher.send(await filled(publisher, MIB));
    })();
    expect(await isPending(all)).toBe(true);
    await until(() => publisher.statistics().bytesInUse >= 7 * MIB, "all memory is taken");
    expect(await isPending(all)).toBe(true);
    expect(sent).toBeLessThan(12);
    expect(publisher.statistics().capacity).toBeLessThanOrEqual(memory);
    reader.kill("SIGCONT");
    await all;
    await publisher.close();
    await reader.said("read 33");
  });

  test("is evicted when it reads nothing for evictAfter, and its half of a body is let go of when it dies", async () => {
    const publisher = await stage.publish(freshTopic(), { memory: 32 * MIB, evictAfter: 250 });
    const reader = stage.child(publisher.topic, READER);
    await until(() => publisher.subscribers === 1, "it takes part");
    reader.kill("SIGSTOP");
    await publisher.send(await filled(publisher, 16 * MIB));
    await until(() => publisher.subscriptions()[0]?.state === "evicted", "it is evicted");
    expect(publisher.statistics().bytesInUse).toBeGreaterThan(0);
    reader.kill();
    await until(() => publisher.statistics().bytesInUse === 0, "its block is back");
  });

  test("is spared while it reads a body, however long that takes", async () => {
    const publisher = await stage.publish(freshTopic(), { memory: 256 * MIB, evictAfter: 300 });
    const reader = stage.child(publisher.topic, READER);
    await until(() => publisher.subscribers === 1, "it takes part");
    const sending = publisher.send(await filled(publisher, 128 * MIB));
    // It is stopped most of the time, and reads a little in between.
    for (let round = 0; round < 12; round++) {
      reader.kill("SIGSTOP");
      await new Promise((done) => setTimeout(done, 60));
      reader.kill("SIGCONT");
      await new Promise((done) => setTimeout(done, 5));
    }
    await sending;
    await publisher.close();
    await reader.said("read 1");
  });
});
