/** What a publisher permits, what a subscriber asks for and gets, and what both can read of it. */
import { channel } from "node:diagnostics_channel";
import { afterEach, describe, expect, test } from "@jest/globals";
import type { PublishOptions, SubscribeOptions } from "../../ts/index.js";
import { publish, subscribe } from "../../ts/index.js";
import { codeOf, first, freshTopic, lent, numbers, Stage, settle, take, until } from "../support.js";

const stage = new Stage();
afterEach(() => stage.clear());

async function pairOf(publishing: PublishOptions, ...asking: SubscribeOptions[]) {
  const publisher = await stage.publish(freshTopic(), publishing);
  const subscriptions = asking.map((options) => stage.subscribe(publisher.topic, options));
  const pending = subscriptions.map(take);
  for (const one of pending) one.catch(() => {});
  return { publisher, subscriptions, pending };
}

test("a subscriber gets what it asks for within what is permitted, and both sides can read it", async () => {
  const { publisher, subscriptions, pending } = await pairOf(
    { queue: { batches: 10, bytes: 1e6 }, permits: { queue: { batches: 20 } } },
    {},
    { overflow: "drop-oldest", queue: { batches: 15, bytes: 2e6 } },
    { overflow: "drop-newest", queue: { batches: 65_536 } },
  );
  await until(() => publisher.subscribers === 3, "all take part");
  const expected = [
    { queue: { batches: 10, bytes: 1e6 }, overflow: "wait", last: false },
    { queue: { batches: 15, bytes: 1e6 }, overflow: "drop-oldest", last: false },
    { queue: { batches: 20, bytes: 1e6 }, overflow: "drop-newest", last: false },
  ];
  const told = publisher.subscriptions();
  expect(told.map(({ policy }) => policy)).toEqual(expected);
  expect(told.map(({ pid, state }) => [pid, state])).toEqual(Array(3).fill([process.pid, "active"]));
  expect(await publisher.send(numbers(1))).toBe(3);
  for (const batch of await Promise.all(pending)) batch.dispose();
  expect(subscriptions.map((one) => one.statistics().policy)).toEqual(expected);
});

describe("what is not permitted is refused with ERR_NOT_PERMITTED and disturbs nobody:", () => {
  test.each<[string, PublishOptions, SubscribeOptions]>([
    ["to wait where batches are dropped", { overflow: "drop-oldest" }, { overflow: "wait" }],
    ["to drop where nothing else is permitted", { permits: { overflow: [] } }, { overflow: "drop-newest" }],
    ["the latest batch where none is kept", {}, { last: true }],
  ])("%s", async (_, publishing, asking) => {
    const { publisher, pending } = await pairOf({ ...publishing, minSubscribers: 0 }, asking, {});
    expect(await codeOf(pending[0])).toBe("ERR_NOT_PERMITTED");
    await until(() => publisher.subscribers === 1, "the other takes part");
    expect(await publisher.send(numbers(1))).toBe(1);
    (await pending[1]).dispose();
    await settle();
    expect(publisher.subscriptions()).toHaveLength(1);
  });
});

test.each<[PublishOptions & SubscribeOptions]>([
  [{ overflow: "explode" as "wait" }],
  [{ queue: { batches: 0 } }],
  [{ queue: { batches: 70_000 } }],
  [{ queue: { bytes: 0.5 } }],
])("nonsense is refused before anything is done: %j", async (options) => {
  expect(await codeOf(publish(freshTopic(), options))).toBe("ERR_INVALID_ARGUMENT");
  expect(await codeOf(() => subscribe(freshTopic(), options))).toBe("ERR_INVALID_ARGUMENT");
});

test.each<[PublishOptions]>([
  [{ evictAfter: 0 }],
  [{ evictAfter: Number.NaN }],
  [{ permits: { overflow: ["explode" as "wait"] } }],
  [{ permits: { queue: { batches: -1 } } }],
  [{ last: true, onSubscriber: async () => {} }],
])("nonsense of a publisher's is refused: %j", async (options) => {
  expect(await codeOf(publish(freshTopic(), options))).toBe("ERR_INVALID_ARGUMENT");
});

test("drops are counted on both sides, told on a channel, and send says to how many it was given", async () => {
  const seen: unknown[] = [];
  const listen = (message: unknown) => seen.push(message);
  const events = channel("arrowlane:subscription");
  events.subscribe(listen);
  try {
    const { publisher, subscriptions, pending } = await pairOf(
      { overflow: "drop-newest", queue: { batches: 3 } },
      {},
    );
    await until(() => publisher.subscribers === 1, "it takes part");
    await publisher.send(numbers(0));
    (await pending[0]).dispose();
    await settle();
    const given = [];
    for (let b = 1; b <= 8; b++) given.push(await publisher.send(numbers(b)));
    expect(given).toEqual([1, 1, 1, 0, 0, 0, 0, 0]);
    for (const b of [1, 2, 3]) {
      const batch = await take(subscriptions[0]);
      expect(first(batch)).toBe(b * 1000);
      batch.dispose();
    }
    await until(() => subscriptions[0].statistics().dropped === 5, "it is told though nothing follows");
    const { received, queued, leases, bytes } = subscriptions[0].statistics();
    expect({ received, queued, leases, bytes }).toEqual({ received: 4, queued: 0, leases: 0, bytes: 0 });
    const [{ sent, dropped, inFlight, waited }] = publisher.subscriptions();
    expect({ sent, dropped, inFlight, waited }).toEqual({ sent: 4, dropped: 5, inFlight: 0, waited: 0 });
    expect(seen).toEqual([{ event: "dropped", topic: publisher.topic, dropped: 5 }]);
  } finally {
    events.unsubscribe(listen);
  }
});

lent("what is held is counted on both sides, also after the subscription's end", async () => {
  const { publisher, subscriptions, pending } = await pairOf({}, {});
  await publisher.send(numbers(1));
  const batch = await pending[0];
  const [{ leases, bytes, oldestLease }] = publisher.subscriptions();
  expect({ leases, bytes: bytes > 0, aged: (oldestLease ?? -1) >= 0 }).toEqual({
    leases: 1,
    bytes: true,
    aged: true,
  });
  // Two columns of ten rows, the second one aligned.
  const held = { leases: 1, bytes: 64 + 80 };
  expect(subscriptions[0].statistics()).toMatchObject({ received: 1, ...held });
  subscriptions[0].close();
  expect(subscriptions[0].statistics()).toMatchObject(held);
  await until(() => publisher.subscriptions()[0]?.state === "ended", "it holds on, and gets no more");
  batch.dispose();
  expect(subscriptions[0].statistics()).toMatchObject({ leases: 0, bytes: 0 });
  await until(() => publisher.subscriptions().length === 0, "it is gone");
});

test("who is waited for is known, and for how long", async () => {
  const { publisher, subscriptions, pending } = await pairOf({ queue: { batches: 1 } }, {}, {});
  await until(() => publisher.subscribers === 2, "both take part");
  await publisher.send(numbers(1));
  for (const batch of await Promise.all(pending)) batch.dispose();
  await until(() => publisher.subscriptions().every(({ inFlight }) => inFlight === 0), "both have room");
  await publisher.send(numbers(2));
  const waiting = publisher.send(numbers(3));
  expect(publisher.subscriptions().map(({ waited }) => waited)).toEqual([1, 1]);
  (await take(subscriptions[0])).dispose();
  await settle();
  (await take(subscriptions[1])).dispose();
  expect(await waiting).toBe(2);
  const [a, b] = publisher.subscriptions();
  expect([a.waited, b.waited, a.waitedFor <= b.waitedFor, b.dropped]).toEqual([1, 1, true, 0]);
});

test("last: a late subscriber begins with the latest batch, and goes on with those that follow", async () => {
  const publisher = await stage.publish(freshTopic(), { last: true, minSubscribers: 0 });
  for (let b = 0; b < 3; b++) await publisher.send(numbers(b));
  const late = stage.subscribe(publisher.topic, { last: true });
  const plain = take(stage.subscribe(publisher.topic));
  const latest = await take(late);
  expect(first(latest)).toBe(2000);
  await until(() => publisher.subscribers === 2, "both take part");
  expect(await publisher.send(numbers(3))).toBe(2);
  expect(first(await take(late))).toBe(3000);
  expect(first(await plain)).toBe(3000);
  expect(late.statistics().policy?.last).toBe(true);
});

test("a stream of a subscriber's own is served by that subscriber's policy", async () => {
  const publisher = await stage.publish(freshTopic(), {
    queue: { batches: 4 },
    onSubscriber: async (stream) => {
      for (let b = 0; b < 20; b++) await stream.send(numbers(b));
    },
  });
  const lossy = stage.subscribe(publisher.topic, { overflow: "drop-oldest" });
  const seen: number[] = [];
  for await (const batch of lossy) {
    seen.push(first(batch) / 1000);
    batch.dispose();
  }
  expect(seen).toEqual([...seen].sort((a, b) => a - b));
  expect(seen.at(-1)).toBe(19);
  expect(lossy.statistics().dropped).toBe(20 - seen.length);
});
