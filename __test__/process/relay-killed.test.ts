/** Those in between are killed: what is read behind them is not overwritten, and comes back when nobody reads it. */
import { afterEach, expect, test } from "@jest/globals";
import type { Batch, Publisher } from "../../ts/index.js";
import {
  type Child,
  codeOf,
  counters,
  descriptors,
  freshTopic,
  kill,
  numbers,
  Stage,
  sharedMappings,
  take,
  until,
} from "../support.js";

const stage = new Stage();

afterEach(() => stage.clear());

const ROWS = 1000;
const MEMORY = 512 * 1024;

/** Sends on whatever comes, and refuses to copy. */
const RELAY = `
const out = await publish(process.env.DOWN, { strictZeroCopy: true, memory: 65536 });
for await (const batch of subscribe(topic)) {
  const sent = out.send(batch);
  batch.dispose();
  await sent;
}`;

/** Holds two batches, says so, says when it is told to whether they are as they were, and lets go. */
const HOLDS = `
const held = [];
process.stdin.once("data", async () => {
  say("read", held.map((batch) => [...batch.column("i").toArray()].every((v, n) => v === batch.sequence_ * 1000 + n)).join());
  process.stdin.once("data", async () => {
    for (const batch of held) batch.dispose();
    say("let go");
    process.stdin.destroy();
  });
});
try {
  for await (const batch of subscribe(topic)) {
    batch.sequence_ = held.length + 1;
    if (held.push(batch) === 2) say("holds");
  }
} catch (error) {
  say("told", error.code);
}`;

interface World {
  publisher: Publisher;
  relays: Child[];
  /** The topic at the end. */
  topic: string;
}

async function world(relays: number): Promise<World> {
  const up = freshTopic();
  const publisher = await stage.publish(up, { memory: MEMORY });
  const middle: Child[] = [];
  let topic = up;
  for (let n = 0; n < relays; n++) {
    const down = freshTopic();
    middle.push(stage.child(topic, RELAY, { DOWN: down }));
    topic = down;
  }
  return { publisher, relays: middle, topic };
}

async function holder({ publisher, topic }: World): Promise<Child> {
  const child = stage.child(topic, HOLDS);
  await until(() => publisher.subscribers === 1, "the first in between is there");
  for (const b of [1, 2]) await publisher.send(numbers(b, ROWS));
  await child.said("holds");
  expect(publisher.statistics().leases).toBe(2);
  return child;
}

const states = (publisher: Publisher) => publisher.subscriptions().map(({ state }) => state);

/** Sends so much that all memory that can be used again was. */
async function overwrites(publisher: Publisher, topic: string): Promise<void> {
  const subscription = stage.subscribe(topic);
  const before = publisher.subscribers;
  let pending = take(subscription);
  await until(() => publisher.subscribers === before + 1, "somebody reads");
  const places = new Set<unknown>();
  for (let b = 100; b < 160; b++) {
    await publisher.send(numbers(b, ROWS));
    const batch: Batch = await pending;
    places.add(batch.location?.offset);
    batch.dispose();
    pending = take(subscription);
  }
  pending.catch(() => {});
  subscription.close();
  // Memory was used again and again, or this proves nothing.
  expect(places.size).toBeLessThan(40);
  await until(() => publisher.subscribers === before, "it left");
}

test("the second one killed: the third reads on what the first wrote, and then all of it comes back", async () => {
  const here = await world(1);
  const { publisher, relays } = here;
  const third = await holder(here);
  await kill(relays[0]);
  await third.said("told ERR_PUBLISHER_LOST");
  await until(() => states(publisher).join() === "orphaned", "the first knows that somebody reads");
  expect(publisher.statistics().leases).toBe(2);
  expect(publisher.leases().map(({ pid }) => pid)).toEqual([relays[0].process.pid, relays[0].process.pid]);
  await overwrites(publisher, publisher.topic);
  third.tell("read");
  await third.said("read true,true");
  third.tell("let go");
  await third.said("let go");
  await until(() => publisher.statistics().bytesInUse === 0, "all memory came back");
  expect([states(publisher), publisher.statistics().leases]).toEqual([[], 0]);
  expect((await third.ended).stderr).toBe("");
});

test("the second one killed and then the third: all of it comes back", async () => {
  const here = await world(1);
  const { publisher, relays } = here;
  const third = await holder(here);
  await kill(relays[0]);
  await until(() => states(publisher).join() === "orphaned", "the first knows that somebody reads");
  await kill(third);
  await until(() => publisher.statistics().bytesInUse === 0, "all memory came back");
  expect(states(publisher)).toEqual([]);
});

test.each([[[0]], [[1]], [[0, 1]], [[1, 0]]])(
  "of four, the ones in between killed in the order %j",
  async (order) => {
    const here = await world(2);
    const { publisher, relays } = here;
    const last = await holder(here);
    for (const n of order) await kill(relays[n]);
    if (order.includes(0)) await until(() => states(publisher).join() === "orphaned", "the first knows");
    if (order.includes(1)) await last.said("told ERR_PUBLISHER_LOST");
    // While the first one in between lives, it would be sent what is written now as well, and nobody takes that at its other end.
    if (order.includes(0)) await overwrites(publisher, publisher.topic);
    last.tell("read");
    await last.said("read true,true");
    expect(publisher.statistics().leases).toBe(2);
    last.tell("let go");
    await last.said("let go");
    await until(() => publisher.statistics().bytesInUse === 0, "all memory came back");
  },
);

test("a relay that ends in good order while somebody reads, too", async () => {
  const up = freshTopic();
  const publisher = await stage.publish(up, { memory: MEMORY });
  const down = freshTopic();
  const relay = stage.child(up, `process.stdin.once("data", () => process.exit(0));${RELAY}`, { DOWN: down });
  const third = await holder({ publisher, relays: [relay], topic: down });
  relay.tell("end");
  expect(await relay.ended).toMatchObject({ code: 0, stderr: "" });
  await until(() => states(publisher).join() === "orphaned", "the first knows that somebody reads");
  await overwrites(publisher, up);
  third.tell("read");
  await third.said("read true,true");
  third.tell("let go");
  await until(() => publisher.statistics().bytesInUse === 0, "all memory came back");
});

test("who reads itself keeps no mapping and no descriptor when it lets go of a relay's that is gone", async () => {
  const before = { mappings: sharedMappings(), counted: counters().mappings, descriptors: descriptors() };
  const up = freshTopic();
  const producer = stage.child(
    up,
    `const out = await publish(topic);
    for (let b = 0; b < 3; b++) await out.send(numbers(b));
    say("leases", out.statistics().leases);
    await until(() => out.subscribers === 0 && out.statistics().leases === 0);
    say("back", out.statistics().bytesInUse); await out.close();`,
  );
  const down = freshTopic();
  const victim = stage.child(up, RELAY, { DOWN: down });
  const subscription = stage.subscribe(down);
  const held = [await take(subscription), await take(subscription), await take(subscription)];
  await producer.said("leases 3");
  await kill(victim);
  expect(await codeOf(take(subscription))).toBe("ERR_PUBLISHER_LOST");
  expect(held.map((batch) => batch.column("i").get(0))).toEqual([0, 1000, 2000]);
  for (const batch of held) batch.dispose();
  await producer.said("back 0");
  expect(await producer.ended).toMatchObject({ code: 0, stderr: "" });
  await until(() => sharedMappings() <= before.mappings, "no mapping is left");
  expect(counters().mappings).toBe(before.counted);
  subscription.close();
  await until(() => descriptors() <= before.descriptors, "no descriptor is left");
});
