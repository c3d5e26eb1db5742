/** Subscribers that stop or die, under every policy: what that means for them, and for everybody else. */
import { afterEach, describe, expect, test } from "@jest/globals";
import { Dictionary, Int32, Table, Utf8, vectorFromArray } from "apache-arrow";
import type { Batch, PublishOptions, Subscription } from "../../ts/index.js";
import { type Child, codeOf, first, freshTopic, isPending, numbers, Stage, take, until } from "../support.js";

const stage = new Stage();

afterEach(() => stage.clear());

/** A child that subscribes, says "now", and says each batch that it takes; at a stream's end, how that was. */
const READING = `
const options = JSON.parse(process.env.OPTIONS ?? "{}");
const all = subscribe(topic, options);
const held = [];
try {
  const next = all.next();
  say("now");
  for (let { done, value } = await next; !done; { done, value } = await all.next()) {
    say("got", value.column("i").get(0) / 1000);
    if (process.env.HOLD) held.push(value); else value.dispose();
  }
  say("ended", all.statistics().dropped);
} catch (error) { say("failed", error.code); }
if (process.env.HOLD) {
  process.stdin.once("data", () => { say("sum", held.reduce((sum, b) => sum + b.column("i").get(0) / 1000, 0)); for (const b of held) b.dispose(); say("freed"); });
  await new Promise(() => setInterval(() => {}, 1e6));
}`;

async function stopped(topic: string, options: object, env: Record<string, string> = {}): Promise<Child> {
  const one = stage.child(topic, READING, { OPTIONS: JSON.stringify(options), ...env });
  await one.said("now");
  return one;
}

function got(one: Child): number[] {
  return [...one.stdout.matchAll(/^got (\d+)$/gm)].map(([, n]) => Number(n));
}

/** Reads everything, for as long as the stream lasts. */
function reader(subscription: Subscription): { seen: number[]; ended: Promise<unknown> } {
  const seen: number[] = [];
  const ended = codeOf(async () => {
    for await (const batch of subscription) {
      seen.push(first(batch) / 1000);
      batch.dispose();
    }
  });
  return { seen, ended };
}

async function scene(options: PublishOptions, ...asking: object[]) {
  const publisher = await stage.publish(freshTopic(), { queue: { batches: 4 }, ...options });
  const honest = reader(stage.subscribe(publisher.topic));
  const others: Child[] = [];
  for (const each of asking) others.push(await stopped(publisher.topic, each));
  await until(() => publisher.subscribers === 1 + asking.length, "all take part");
  return { publisher, honest, others };
}

const numbersTo = (count: number) => Array.from({ length: count }, (_, b) => b);

describe.each(["drop-oldest", "drop-newest"] as const)("a stopped subscriber under %s", (overflow) => {
  test("stops nobody, loses what it has no room for, in order, and knows how many", async () => {
    const { publisher, honest, others } = await scene({}, { overflow });
    others[0].kill("SIGSTOP");
    for (let b = 0; b < 50; b++) await publisher.send(numbers(b));
    await until(() => honest.seen.length === 50, "the other has all of it");
    expect(honest.seen).toEqual(numbersTo(50));
    const [, told] = publisher.subscriptions();
    expect([told.dropped + told.sent + told.queued, told.waited]).toEqual([50, 0]);
    expect(told.inFlight + told.queued).toBeLessThanOrEqual(4);
    others[0].kill("SIGCONT");
    await publisher.close();
    expect((await others[0].ended).code).toBe(0);
    const expected = overflow === "drop-oldest" ? [0, 1, 48, 49] : [0, 1, 2, 3];
    expect(got(others[0])).toEqual(expected);
    await others[0].said("ended 46");
    await honest.ended;
  });

  test("killed then, gives everything back", async () => {
    const { publisher, others } = await scene({}, { overflow });
    others[0].kill("SIGSTOP");
    for (let b = 0; b < 20; b++) await publisher.send(numbers(b));
    others[0].kill();
    await until(() => publisher.subscribers === 1, "it is gone");
    await until(() => publisher.statistics().bytesInUse === 0, "every block is back");
    expect(publisher.subscriptions()).toHaveLength(1);
  });
});

test("batches that survive drops have the dictionaries that they were sent with", async () => {
  const publisher = await stage.publish(freshTopic(), { queue: { batches: 6 } });
  const one = stage.child(
    publisher.topic,
    `const all = subscribe(topic, { overflow: "drop-oldest" });
     const next = all.next();
     say("now");
     for (let { done, value } = await next; !done; { done, value } = await all.next()) {
       say("got", [...value.column("word")].join());
       value.dispose();
     }`,
  );
  await one.said("now");
  await until(() => publisher.subscribers === 1, "it takes part");
  one.kill("SIGSTOP");
  const words = (b: number) => [`dictionary-${Math.floor(b / 3)}`, "same"];
  for (let b = 0; b < 40; b++) {
    // Another dictionary with every third batch, and most of those that bring one are dropped.
    const word = vectorFromArray(words(b), new Dictionary(new Utf8(), new Int32(), 1));
    await publisher.send(new Table({ word }));
  }
  one.kill("SIGCONT");
  await publisher.close();
  expect((await one.ended).code).toBe(0);
  const lines = [...one.stdout.matchAll(/^got (.*)$/gm)].map(([, text]) => text);
  expect(lines).toEqual([0, 1, 2, 37, 38, 39].map((b) => words(b).join()));
});

test("under wait a stopped subscriber stops the others, and they get all of it when it dies", async () => {
  const { publisher, honest, others } = await scene({}, {});
  others[0].kill("SIGSTOP");
  const sends = numbersTo(12).map((b) => publisher.send(numbers(b)));
  expect(await isPending(sends[11])).toBe(true);
  others[0].kill();
  expect(await sends[11]).toBe(1);
  await until(() => honest.seen.length === 12, "all arrive");
  expect(honest.seen).toEqual(numbersTo(12));
  expect(publisher.subscriptions()[0].dropped).toBe(0);
});

test("under wait a stopped subscriber stops the others until evictAfter; it is told so when it goes on", async () => {
  const { publisher, honest, others } = await scene({ evictAfter: 250 }, {});
  others[0].kill("SIGSTOP");
  const sends = numbersTo(12).map((b) => publisher.send(numbers(b)));
  expect((await Promise.all(sends)).slice(-1)).toEqual([1]);
  expect(publisher.subscribers).toBe(1);
  await until(() => honest.seen.length === 12, "all arrive");
  expect(honest.seen).toEqual(numbersTo(12));
  const evicted = publisher.subscriptions().find(({ state }) => state === "evicted");
  expect(evicted).toMatchObject({ pid: others[0].process.pid, sent: 4, waited: 1 });
  expect(publisher.statistics().bytesInUse).toBeGreaterThan(0);
  others[0].kill("SIGCONT");
  await others[0].said("failed ERR_EVICTED");
  expect(got(others[0])).toEqual([0, 1, 2, 3]);
  await until(() => publisher.statistics().bytesInUse === 0, "its blocks return as it frees them");
});

test("the blocks of an evicted subscriber are not used again before it frees them", async () => {
  const publisher = await stage.publish(freshTopic(), { memory: 1 << 20, evictAfter: 200 });
  const holder = await stopped(publisher.topic, {}, { HOLD: "1" });
  await until(() => publisher.subscribers === 1, "it takes part");
  for (const b of [1, 2]) await publisher.send(numbers(b, 1000));
  await holder.said("failed ERR_EVICTED");
  const held = publisher.statistics().bytesInUse;
  expect(held).toBeGreaterThan(0);
  // All of the other memory, over and over.
  const honest = reader(stage.subscribe(publisher.topic));
  for (let b = 10; b < 60; b++) await publisher.send(numbers(b, 5000));
  holder.tell("go on");
  await holder.said("sum 3");
  await holder.said("freed");
  await until(() => publisher.statistics().bytesInUse === 0, "now they are free");
  expect(honest.seen.length).toBeGreaterThan(0);
});

test("the blocks of an evicted subscriber return when it dies", async () => {
  const { publisher, others } = await scene({ evictAfter: 200 }, {});
  others[0].kill("SIGSTOP");
  await publisher.send(numbers(1));
  await until(() => publisher.subscriptions().some(({ state }) => state === "evicted"), "it is evicted");
  expect(publisher.statistics().bytesInUse).toBeGreaterThan(0);
  others[0].kill();
  await until(() => publisher.statistics().bytesInUse === 0, "every block is back");
});

test("evictAfter spares those who read, and a publisher that was busy itself", async () => {
  const { publisher, honest, others } = await scene({ evictAfter: 100 }, { overflow: "drop-oldest" });
  for (let b = 0; b < 10; b++) await publisher.send(numbers(b));
  // The event loop stands still for many times that: what came meanwhile is read before anybody is judged.
  const until_ = performance.now() + 600;
  while (performance.now() < until_);
  await publisher.send(numbers(10));
  await until(() => honest.seen.length === 11, "nobody was evicted");
  expect(publisher.subscribers).toBe(2);
  await publisher.close();
  await others[0].ended;
});

test("two stopped subscribers of different policies: each loses what its own says, the third nothing", async () => {
  const { publisher, honest, others } = await scene(
    {},
    { overflow: "drop-oldest" },
    { overflow: "drop-newest" },
  );
  for (const one of others) one.kill("SIGSTOP");
  for (let b = 0; b < 30; b++) await publisher.send(numbers(b));
  for (const one of others) one.kill("SIGCONT");
  await publisher.close();
  for (const one of others) expect((await one.ended).code).toBe(0);
  expect(others.map(got)).toEqual([
    [0, 1, 28, 29],
    [0, 1, 2, 3],
  ]);
  await honest.ended;
  expect(honest.seen).toEqual(numbersTo(30));
});

test("a subscriber that keeps everything and may lose some leaves the others their memory", async () => {
  const publisher = await stage.publish(freshTopic(), { memory: 8 << 20 });
  const hoarder = await stopped(publisher.topic, { overflow: "drop-newest" }, { HOLD: "1" });
  const honest = reader(stage.subscribe(publisher.topic));
  await until(() => publisher.subscribers === 2, "both take part");
  for (let b = 0; b < 100; b++) await publisher.send(numbers(b, 20_000));
  await until(() => honest.seen.length === 100, "it has all");
  const [told] = publisher.subscriptions();
  expect(told.dropped).toBeGreaterThan(0);
  expect(told.bytes).toBeLessThanOrEqual(2 << 20);
  await publisher.close();
  const kept = got(hoarder).length;
  await hoarder.said(`ended ${100 - kept}`);
});

const SENDING = `
const out = await publish(topic, { queue: { batches: 8 } });
say("listening");
for (let b = Number(process.env.FROM); ; b++) { await out.send(numbers(b)); await sleep(1); }`;

describe("reconnect", () => {
  function publishing(topic: string, from: number): Child {
    return stage.child(topic, SENDING, { FROM: String(from) });
  }

  test("a subscription goes over to the publisher that takes the place of a killed one, and says so", async () => {
    const topic = freshTopic();
    const told: number[] = [];
    const subscription = stage.subscribe(topic, { reconnect: true, onReconnect: (n) => told.push(n) });
    const held: Batch[] = [];
    for (const round of [1, 2, 3]) {
      const one = publishing(topic, round * 100_000);
      for (;;) {
        const batch = await take(subscription);
        held.push(batch);
        if (first(batch) >= round * 100_000_000) break;
      }
      one.kill();
      await one.ended;
    }
    expect(told).toEqual([1, 2]);
    expect(subscription.statistics().reconnects).toBe(2);
    // What is held from before is as it was.
    const values = held.map((batch) => first(batch) / 1000);
    expect(values).toEqual([...values].sort((a, b) => a - b));
    expect(subscription.statistics().leases).toBeGreaterThanOrEqual(held.length);
    const pending = take(subscription);
    expect(await isPending(drained(subscription, pending))).toBe(true);
    const last = await stage.publish(topic);
    await last.send(numbers(999));
    await until(() => told.length === 3, "it says so again");
    await last.close();
    for (const batch of held) batch.dispose();
  });

  /** Takes what is left until nothing comes. */
  async function drained(subscription: Subscription, pending: Promise<Batch>): Promise<void> {
    for (let batch = await pending; ; batch = await take(subscription)) batch.dispose();
  }

  test("a stream that ends well ends the subscription, and without reconnect a lost publisher is an error", async () => {
    const topic = freshTopic();
    const faithful = reader(stage.subscribe(topic, { reconnect: true }));
    const plain = reader(stage.subscribe(topic));
    const publisher = await stage.publish(topic, { minSubscribers: 2 });
    await publisher.send(numbers(1));
    await publisher.close();
    expect([await faithful.ended, await plain.ended]).toEqual(Array(2).fill("nothing was thrown"));
    const one = publishing(topic, 1);
    const again = reader(stage.subscribe(topic));
    await until(() => again.seen.length > 0, "it reads");
    one.kill();
    expect(await again.ended).toBe("ERR_PUBLISHER_LOST");
  });

  test("a subscription that lost its publisher can be closed, and leaves nothing", async () => {
    const topic = freshTopic();
    const one = publishing(topic, 1);
    const subscription = stage.subscribe(topic, { reconnect: true });
    (await take(subscription)).dispose();
    one.kill();
    await one.ended;
    const controller = new AbortController();
    const ending = stage.subscribe(topic, { reconnect: true, signal: controller.signal });
    const waiting = codeOf(take(ending));
    subscription.close();
    controller.abort(Object.assign(new Error("enough"), { code: "ENOUGH" }));
    expect(await waiting).toBe("ENOUGH");
    for await (const batch of subscription) batch.dispose();
    expect(subscription.statistics().leases).toBe(0);
  });
});
