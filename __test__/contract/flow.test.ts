/**
 * Who waits for whom. Sending is lossless and bounded: `send` waits while a subscriber is too far behind, while all
 * memory is held, and while nobody listens; every wait can be given up, and nothing is lost when it is.
 */
import { afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import type { Batch } from "../../ts/index.js";
import {
  connected,
  first,
  freshTopic,
  isPending,
  LENDS,
  numbers,
  numbersSchema,
  Stage,
  settle,
  take,
  until,
} from "../support.js";

const stage = new Stage();
afterEach(() => stage.clear());

describe("back-pressure", () => {
  test("send waits when as many batches as the queue holds were not taken, and loses none", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 3 } });
    const sends = Array.from({ length: 10 }, (_, b) => publisher.send(numbers(b)));
    // One was awaited and so taken; three more are under way.
    await Promise.all(sends.slice(0, 4));
    for (const waiting of sends.slice(4)) expect(await isPending(waiting)).toBe(true);
    const received = [await pending[0]];
    while (received.length < 10) received.push(await take(subscriptions[0]));
    expect(received.map(first)).toEqual(Array.from({ length: 10 }, (_, b) => b * 1000));
    expect(await Promise.all(sends)).toEqual(Array(10).fill(1));
    for (const batch of received) batch.dispose();
  });

  test("held batches do not count as long as there is memory: taking is what makes room", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 1 } });
    const held: Batch[] = [];
    for (let b = 0; b < 50; b++) {
      await publisher.send(numbers(b));
      held.push(b === 0 ? await pending[0] : await take(subscriptions[0]));
    }
    expect(held.map(first)).toEqual(Array.from({ length: 50 }, (_, b) => b * 1000));
    expect(publisher.statistics().leases).toBe(LENDS ? 50 : 0);
    for (const batch of held) batch.dispose();
    await until(() => publisher.statistics().bytesInUse === 0, "everything comes back");
  });

  test("the queue is bounded in bytes; one batch always fits", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { bytes: 1000 } });
    const sends = Array.from({ length: 4 }, (_, b) => publisher.send(numbers(b, 1000)));
    await sends[0];
    await sends[1];
    expect(await isPending(sends[2])).toBe(true);
    const received = [await pending[0]];
    while (received.length < 4) received.push(await take(subscriptions[0]));
    await Promise.all(sends);
    expect(received.map(first)).toEqual([0, 1000, 2000, 3000]);
    for (const batch of received) batch.dispose();
  });

  test("the slowest subscriber sets the pace, and its leaving ends the wait", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 1 } }, 2);
    await publisher.send(numbers(0));
    await publisher.send(numbers(1));
    const waiting = publisher.send(numbers(2));
    const fast = [await pending[0], await take(subscriptions[0])];
    expect(await isPending(waiting)).toBe(true);
    subscriptions[1].close();
    expect(await waiting).toBe(1);
    fast.push(await take(subscriptions[0]));
    expect(fast.map(first)).toEqual([0, 1000, 2000]);
    for (const batch of [...fast, await pending[1]]) batch.dispose();
  });

  test("with the pool full and everybody holding, send waits; a dispose lets it go on", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { memory: 4 << 20 });
    const rows = 80_000; // just under 1 MiB each
    const sends = Array.from({ length: 12 }, (_, b) => publisher.send(numbers(b, rows)));
    const received = [await pending[0]];
    const next = () => take(subscriptions[0]);
    await settle(50);
    expect(publisher.statistics().bytesInUse).toBeLessThanOrEqual(4 << 20);
    expect(await isPending(sends[11])).toBe(true);
    let sum = 0;
    while (received.length > 0) {
      const batch = received.shift() as Batch;
      const values = batch.column("i").toArray() as Int32Array;
      sum++;
      expect([values[0], values[rows - 1]]).toEqual([first(batch), first(batch) + rows - 1]);
      expect(first(batch)).toBe((sum - 1) * 1000);
      batch.dispose();
      if (sum < 12) received.push(await next());
    }
    await Promise.all(sends);
    await until(() => publisher.statistics().bytesInUse === 0, "everything comes back");
    expect(publisher.statistics().capacity).toBeLessThanOrEqual(4 << 20);
  });

  test("send waits for a subscriber; with minSubscribers 0 it does not", async () => {
    const topic = freshTopic();
    const patient = await stage.publish(topic);
    const waiting = patient.send(numbers(1));
    expect(await isPending(waiting)).toBe(true);
    const subscription = stage.subscribe(topic);
    const batch = await take(subscription);
    expect([await waiting, first(batch)]).toEqual([1, 1000]);
    batch.dispose();
    const careless = await stage.publish(freshTopic(), { minSubscribers: 0 });
    expect(await careless.send(numbers(1))).toBe(0);
    expect(careless.statistics()).toMatchObject({ leases: 0, bytesInUse: 0, subscribers: 0 });
    const two = await connected(stage, { minSubscribers: 2 });
    const both = two.publisher.send(numbers(3));
    expect(await isPending(both)).toBe(true);
    const second = take(stage.subscribe(two.publisher.topic));
    expect(await both).toBe(2);
    for (const one of [await second, await two.pending[0]]) one.dispose();
  });
});

describe("order", () => {
  test("sends that were not awaited arrive in the order of the calls, whatever they were", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 2 } });
    const sends: Promise<number>[] = [];
    for (let b = 0; b < 30; b += 3) {
      const writer = await publisher.allocate(numbersSchema, 10);
      writer.column("i").fill(b * 1000);
      writer.column("x").fill(0);
      sends.push(publisher.send(new arrow.Table([numbers(b)])));
      writer.column("i").fill((b + 1) * 1000);
      sends.push(publisher.send(writer));
      sends.push(publisher.send(numbers(b + 2)));
    }
    const received = [await pending[0]];
    while (received.length < 30) {
      const batch = await take(subscriptions[0]);
      received.push(batch);
    }
    expect(received.map(first)).toEqual(Array.from({ length: 30 }, (_, b) => b * 1000));
    await Promise.all(sends);
    for (const batch of received) batch.dispose();
  });

  test("several next() that wait get the batches in order", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    const waits = [pending[0], ...Array.from({ length: 4 }, () => take(subscriptions[0]))];
    for (let b = 0; b < 5; b++) await publisher.send(numbers(b));
    const received = await Promise.all(waits);
    expect(received.map(first)).toEqual([0, 1000, 2000, 3000, 4000]);
    for (const batch of received) batch.dispose();
  });
});

describe("an abort", () => {
  const reason = new Error("no longer wanted");

  test("of a send that waits for a subscriber rejects with the reason, and the batch is not sent", async () => {
    const topic = freshTopic();
    const publisher = await stage.publish(topic);
    const abort = new AbortController();
    const sent = publisher.send(numbers(1), { signal: abort.signal });
    expect(await isPending(sent)).toBe(true);
    abort.abort(reason);
    await expect(sent).rejects.toBe(reason);
    expect(publisher.statistics().bytesInUse).toBe(0);
    const next = take(stage.subscribe(topic));
    await publisher.send(numbers(2));
    expect(first(await next)).toBe(2000);
  });

  test("of a send behind another comes through at once; the others keep their order", async () => {
    const topic = freshTopic();
    const publisher = await stage.publish(topic);
    const abort = new AbortController();
    const one = publisher.send(numbers(1));
    const writer = await publisher.allocate(numbersSchema, 5);
    const array = writer.column("i");
    const given = [
      publisher.send(numbers(2), { signal: abort.signal }),
      publisher.send(writer, { signal: abort.signal }),
      publisher.send(new arrow.Table([numbers(3)]), { signal: abort.signal }),
    ];
    for (const send of given) send.catch(() => {});
    const four = publisher.send(numbers(4));
    expect(await isPending(given[1])).toBe(true);
    const used = publisher.statistics().bytesInUse;
    abort.abort(reason);
    for (const send of given) await expect(send).rejects.toBe(reason);
    expect(array.length).toBe(0);
    await until(() => publisher.statistics().bytesInUse < used, "the writer's memory comes back");
    const subscription = stage.subscribe(topic);
    const received = [await take(subscription), await take(subscription)];
    expect(received.map(first)).toEqual([1000, 4000]);
    await Promise.all([one, four]);
    expect(subscription.topic).toBe(topic);
    for (const batch of received) batch.dispose();
    await until(() => publisher.statistics().bytesInUse === 0, "all memory comes back");
  });

  test("of an allocate that waits for memory rejects; already aborted signals do too", async () => {
    const { publisher } = await connected(stage, { memory: 1 << 20 });
    const writer = await publisher.allocate(numbersSchema, 80_000);
    const abort = new AbortController();
    const waiting = publisher.allocate(numbersSchema, 80_000, { signal: abort.signal });
    expect(await isPending(waiting)).toBe(true);
    abort.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(publisher.allocate(numbersSchema, 1, { signal: abort.signal })).rejects.toBe(reason);
    await expect(publisher.send(numbers(1), { signal: abort.signal })).rejects.toBe(reason);
    writer.dispose();
    (await publisher.allocate(numbersSchema, 80_000)).dispose();
  });

  test("of a subscription rejects who waits, also before there is a publisher, and whoever comes after", async () => {
    const abort = new AbortController();
    const early = stage.subscribe(freshTopic(), { signal: abort.signal });
    const idle = stage.subscribe(freshTopic(), { signal: abort.signal });
    const { publisher } = await connected(stage);
    const joined = stage.subscribe(publisher.topic, { signal: abort.signal });
    const waits = [early.next(), joined.next()];
    for (const wait of waits) wait.catch(() => {});
    await until(() => publisher.subscribers === 2, "it takes part");
    abort.abort(reason);
    for (const wait of waits) await expect(wait).rejects.toBe(reason);
    await expect(idle.next()).rejects.toBe(reason);
    expect((await early.next()).done).toBe(true);
    await until(() => publisher.subscribers === 1, "it has left");
    await expect(
      (async () => {
        for await (const _ of stage.subscribe(publisher.topic, { signal: abort.signal }));
      })(),
    ).rejects.toBe(reason);
  });
});
