/** Processes that die without a word: the other side goes on or ends cleanly, and nothing is left behind. */
import { existsSync, mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "@jest/globals";
import type { Batch } from "../../ts/index.js";
import {
  codeOf,
  connected,
  counters,
  first,
  freshTopic,
  isPending,
  kill,
  numbers,
  Stage,
  sharedMappings,
  take,
  until,
} from "../support.js";
import { socketOf } from "./raw.js";

const stage = new Stage();

afterEach(() => stage.clear());

/** What a subscriber does until it is killed: it says "now" when it has come to that. */
const SUBSCRIBERS = {
  "before it asks for anything": `say("now"); await sleep(1e6);`,
  "waiting for its first batch": `subscribe(topic).next(); say("now"); await sleep(1e6);`,
  "holding three batches": `
    const held = [], all = subscribe(topic);
    for await (const batch of all) { held.push(batch); if (held.length === 3) break; }
    say("now"); await sleep(1e6);`,
  "holding batches that it wrote into": `
    const held = [];
    for await (const batch of subscribe(topic)) {
      batch.column("i").toArray().fill(-1);
      held.push(batch);
      if (held.length === 3) { say("now"); await sleep(1e6); }
    }`,
  "with batches that it never took": `
    const all = subscribe(topic); await all.next(); say("now"); await sleep(1e6);`,
  "taking and disposing all the time": `
    let n = 0;
    for await (const batch of subscribe(topic)) { batch.dispose(); if (++n === 3) say("now"); }`,
  "after closing, with a batch in its hand": `
    const all = subscribe(topic); const { value } = await all.next(); all.close(); say("now"); await sleep(1e6);`,
};

describe("a subscriber killed", () => {
  test.each(Object.entries(SUBSCRIBERS))(
    "%s: the others go on, and every block returns",
    async (_, script) => {
      const { publisher, subscriptions, pending } = await connected(stage);
      const victim = stage.child(publisher.topic, script);
      let stop = false;
      const received: number[] = [];
      const reading = (async () => {
        let batch = await pending[0];
        for (;;) {
          received.push(first(batch));
          batch.dispose();
          batch = await take(subscriptions[0]);
        }
      })();
      const ended = codeOf(reading);
      let b = 0;
      const sending = (async () => {
        while (!stop) {
          await publisher.send(numbers(++b));
          await sleep(1);
        }
      })();
      await victim.said("now");
      await sleep(20);
      await kill(victim);
      const atDeath = b;
      await until(() => b > atDeath + 20, "the publisher goes on");
      stop = true;
      await sending;
      await until(() => publisher.subscribers === 1, "it is gone");
      await until(() => received.length === b, "the other one has all");
      expect(received).toEqual(Array.from({ length: b }, (_, n) => (n + 1) * 1000));
      await until(() => publisher.statistics().leases === 0, "every lease ended");
      expect(publisher.statistics().bytesInUse).toBe(0);
      await publisher.close();
      await ended;
    },
  );

  test("with a full queue: a send that waited for it resolves, and nothing was dropped for the other", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 4 } });
    const victim = stage.child(publisher.topic, `subscribe(topic).next(); say("now"); await sleep(1e6);`);
    await victim.said("now");
    await until(() => publisher.subscribers === 2, "it takes part");
    const got: Promise<Batch>[] = [pending[0]];
    const sends = Array.from({ length: 12 }, (_, b) => publisher.send(numbers(b)));
    while (got.length < 12) got.push(take(subscriptions[0]));
    expect(await isPending(sends[11])).toBe(true);
    expect(publisher.statistics().leases).toBeGreaterThan(0);
    await kill(victim);
    await Promise.all(sends);
    const batches = await Promise.all(got);
    expect(batches.map(first)).toEqual(Array.from({ length: 12 }, (_, b) => b * 1000));
    for (const batch of batches) batch.dispose();
    await until(() => publisher.statistics().bytesInUse === 0, "every block is back");
  });

  test("holding all of the publisher's memory: who waits for memory gets it", async () => {
    const topic = freshTopic();
    const publisher = await stage.publish(topic, { memory: 1 << 20 });
    const victim = stage.child(
      topic,
      `const held = []; for await (const batch of subscribe(topic)) { held.push(batch); say("held", held.length); }`,
    );
    await until(() => publisher.subscribers === 1, "it takes part");
    for (let b = 1; b <= 4; b++) {
      await publisher.send(new Uint8Array((1 << 18) - 4096));
      await victim.said(`held ${b}`);
    }
    const waiting = publisher.send(new Uint8Array(1 << 19));
    expect(await isPending(waiting)).toBe(true);
    const survivor = take(stage.subscribe(topic));
    await until(() => publisher.subscribers === 2, "another one came");
    await kill(victim);
    expect(await waiting).toBe(1);
    (await survivor).dispose();
    await until(() => publisher.statistics().bytesInUse === 0, "every block is back");
  });
});

test("a stopped subscriber holds up the lossless stream, and gets all of it when it goes on", async () => {
  const topic = freshTopic();
  const publisher = await stage.publish(topic, { queue: { batches: 4 } });
  const other = stage.child(
    topic,
    `say("now"); const seen = []; for await (const batch of subscribe(topic)) { seen.push(batch.column("i").get(0) / 1000); batch.dispose(); }
     say("seen", seen.join());`,
  );
  await until(() => publisher.subscribers === 1, "it takes part");
  other.kill("SIGSTOP");
  const sends = Array.from({ length: 20 }, (_, b) => publisher.send(numbers(b)));
  expect(await isPending(sends[19])).toBe(true);
  other.kill("SIGCONT");
  await Promise.all(sends);
  await publisher.close();
  await other.said(`seen ${Array.from({ length: 20 }, (_, b) => b).join()}`);
  expect((await other.ended).code).toBe(0);
});

/** Sends for ever. */
const SENDING = `
const publisher = await publish(topic, { queue: { batches: Number(process.env.BATCHES ?? 64) } });
say("listening");
for (let b = 1; ; b++) { await publisher.send(numbers(b)); say("sent", b); }`;

describe("a publisher killed", () => {
  test("while nobody has asked for anything: its name is free, and no file is in anybody's way", async () => {
    const topic = freshTopic();
    const folder = mkdtempSync(join(tmpdir(), "arrowlane-killed-"));
    const env = { ARROWLANE_RUNTIME_DIR: folder };
    const victim = stage.child(topic, SENDING, env);
    await victim.said("listening");
    await kill(victim);
    expect(readdirSync(folder)).toEqual([topic]);
    const asks = stage.child(
      topic,
      `subscribe(topic, { wait: false }).next().catch((e) => say(e.code));`,
      env,
    );
    expect((await asks.ended).stdout).toBe("ERR_TOPIC_NOT_FOUND\n");
    expect(readdirSync(folder)).toEqual([]);
    const next = stage.child(
      topic,
      `const p = await publish(topic, { minSubscribers: 0 }); await p.close(); say("closed");`,
      env,
    );
    expect((await next.ended).stdout).toBe("closed\n");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("before its first batch: its subscriber is told", async () => {
    const topic = freshTopic();
    const victim = stage.child(
      topic,
      `const p = await publish(topic); say("listening"); await until(() => p.subscribers > 0); say("met"); await sleep(1e6);`,
    );
    const subscription = stage.subscribe(topic);
    const next = take(subscription);
    next.catch(() => {});
    await victim.said("met");
    await kill(victim);
    expect(await codeOf(next)).toBe("ERR_PUBLISHER_LOST");
    expect(await subscription.next()).toEqual({ done: true, value: undefined });
  });

  test("in the middle of its stream: what was complete is delivered, and what is held stays valid", async () => {
    const topic = freshTopic();
    const before = { mappings: sharedMappings(), counted: counters().mappings };
    const victim = stage.child(topic, SENDING, { BATCHES: "8" });
    const subscription = stage.subscribe(topic);
    const held = await take(subscription);
    // It has filled the queue: that many were sent, and none of them may be lost.
    await victim.said("sent 9");
    await kill(victim);
    const got: Batch[] = [];
    const code = await codeOf(async () => {
      for (;;) got.push(await take(subscription));
    });
    expect(code).toBe("ERR_PUBLISHER_LOST");
    expect(got.map(first)).toEqual(Array.from({ length: 8 }, (_, n) => (n + 2) * 1000));
    expect([...held.column("i").toArray()]).toEqual(Array.from({ length: 10 }, (_, n) => 1000 + n));
    for (const batch of [held, ...got]) batch.dispose();
    await until(() => sharedMappings() <= before.mappings, "no mapping is left");
    expect(counters().mappings).toBe(before.counted);
  });

  test("again and again: the next one takes its name over, and a subscriber that comes back goes on", async () => {
    const topic = freshTopic();
    for (let round = 0; round < 4; round++) {
      const victim = stage.child(topic, SENDING);
      const subscription = stage.subscribe(topic);
      for (let b = 0; b < 3; b++) (await take(subscription)).dispose();
      await kill(victim);
      expect(
        await codeOf(async () => {
          for (;;) (await take(subscription)).dispose();
        }),
      ).toBe("ERR_PUBLISHER_LOST");
    }
  });

  test("with subscribers that come to its dead socket and wait: they meet the next one", async () => {
    const topic = freshTopic();
    const victim = stage.child(topic, SENDING);
    await victim.said("listening");
    await kill(victim);
    const waiting = take(stage.subscribe(topic));
    expect(await isPending(waiting)).toBe(true);
    const publisher = await stage.publish(topic);
    const path = socketOf(publisher);
    expect(existsSync(path)).toBe(true);
    await publisher.send(numbers(5));
    const batch = await waiting;
    expect(first(batch)).toBe(5000);
    batch.dispose();
    await publisher.close();
    expect(existsSync(path)).toBe(false);
  });

  test("before it accepted a subscriber that is connected already: that one meets the next publisher", async () => {
    const topic = freshTopic();
    const victim = stage.child(topic, `await publish(topic); say("listening"); await sleep(1e6);`);
    await victim.said("listening");
    victim.kill("SIGSTOP");
    const waiting = take(stage.subscribe(topic));
    expect(await isPending(waiting)).toBe(true);
    await kill(victim);
    const publisher = await stage.publish(topic);
    await publisher.send(numbers(6));
    const batch = await waiting;
    expect(first(batch)).toBe(6000);
    batch.dispose();
  });

  test("at any moment while it opens and closes topics: nothing stays that the next one would stumble over", async () => {
    const folder = mkdtempSync(join(tmpdir(), "arrowlane-killed-"));
    const env = { ARROWLANE_RUNTIME_DIR: folder };
    const busy = `say("now"); for (;;) { const p = await publish(topic, { memory: 65536 }); await p.close(); }`;
    for (let round = 0; round < 5; round++) {
      const victim = stage.child("busy", busy, env);
      await victim.said("now");
      await sleep(50 + 7 * round);
      await kill(victim);
    }
    const after = stage.child("busy", `const p = await publish(topic); await p.close(); say("done");`, env);
    expect((await after.ended).stdout).toBe("done\n");
    expect(readdirSync(folder)).toEqual([]);
  });
});
