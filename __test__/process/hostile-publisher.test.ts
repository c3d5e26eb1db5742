import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import type { Batch } from "../../ts/index.js";
import {
  codeOf,
  connected,
  counters,
  first,
  freshTopic,
  numbers,
  Stage,
  settle,
  sharedMappings,
  take,
  until,
} from "../support.js";
import { casesOf, hostile, keepCapture, PYTHON, type Raw, socketBeside, socketOf } from "./raw.js";

if (PYTHON === undefined) console.warn("no Python 3 found: hostile publishers are not tested");

/** The code that ends the stream, where it is not ERR_PROTOCOL. */
const CODES: Record<string, string> = {
  "reports-an-error": "ERR_REMOTE",
  "half-a-message": "ERR_PUBLISHER_LOST",
};
/** These have a test of their own. */
const OTHERS = [
  "any:mutations",
  "one-byte-at-a-time",
  "retires-a-segment-that-is-held",
  "side-by-side",
  "flood-of-batches",
];
const MEMORY = /^segment-(is|may|of)-/;

const stage = new Stage();
const peers: Raw[] = [];
let captured: string;
let folder: (topic: string) => string;

function attack(args: string[], env?: Record<string, string>): Raw {
  const peer = hostile(args, env);
  peers.push(peer);
  return peer;
}

async function begin(name: string, env?: Record<string, string>) {
  const topic = freshTopic();
  const peer = attack(["publish", folder(topic), topic, name, captured], env);
  await peer.said("ready");
  return { topic, peer };
}

/** Waits until a process does nothing any more. */
async function stalled(pid: number): Promise<void> {
  const used = () => readFileSync(`/proc/${pid}/stat`, "utf8").split(" ").slice(13, 15).join();
  for (let before = ""; before !== used(); await sleep(1000)) before = used();
}

beforeAll(async () => {
  if (PYTHON === undefined) return;
  // What an honest stream looks like, as the raw peer sees it.
  const publisher = await stage.publish(freshTopic());
  const witness = attack(["capture", socketOf(publisher), publisher.topic]);
  await publisher.send(numbers(7));
  captured = keepCapture(await witness.said("{"));
  const path = socketOf(publisher);
  folder = (topic) => path.replace(publisher.topic, topic);
  expect(folder("x")).toBe(socketBeside(publisher, "x"));
  await stage.clear();
});

afterEach(async () => {
  for (const peer of peers.splice(0)) peer.kill();
  await stage.clear();
});

(PYTHON === undefined ? describe.skip : describe)("a hostile publisher", () => {
  const cases = casesOf("publish").filter((name) => !OTHERS.includes(name));

  test.each(cases)("ends its own stream with an error and harms nobody: %s", async (name) => {
    const { publisher, pending, subscriptions } = await connected(stage);
    await publisher.send(numbers(1));
    const held = await pending[0];
    const before = { mappings: sharedMappings(), counters: counters() };
    const { topic, peer } = await begin(name);
    const subscription = stage.subscribe(topic);
    const got: Batch[] = [];
    const code = await codeOf(async () => {
      for (;;) got.push(await take(subscription));
    });
    const expected = CODES[name] ?? (MEMORY.test(name) ? /^ERR_(MEMORY|PROTOCOL)$/ : /^ERR_PROTOCOL$/);
    expect(code).toEqual(typeof expected === "string" ? expected : expect.stringMatching(expected));
    // What was complete before the error was delivered, and stays readable.
    for (const batch of got) {
      expect(first(batch)).toBe(7000);
      batch.dispose();
    }
    expect(await peer.fate()).not.toBe("open");
    // The other stream goes on, and what is held of it is as it was.
    const next = take(subscriptions[0]);
    await publisher.send(numbers(2));
    const batch = await next;
    expect([first(held), first(batch)]).toEqual([1000, 2000]);
    held.dispose();
    batch.dispose();
    await until(() => sharedMappings() <= before.mappings, "no mapping is left");
    expect(counters().mappings).toBeLessThanOrEqual(before.counters.mappings);
  });

  test("is bounded when it sends for ever and nobody takes", async () => {
    const { topic, peer } = await begin("flood-of-batches");
    const subscription = stage.subscribe(topic);
    const batch = await take(subscription);
    // We do not read on, and the connection stays for the batches that are held: it can send no more.
    await stalled(peer.process.pid as number);
    let delivered = 1;
    const code = await codeOf(async () => {
      for (;;) {
        const more = await take(subscription);
        delivered++;
        more.dispose();
      }
    });
    expect(code).toBe("ERR_PROTOCOL");
    expect(delivered).toBeLessThanOrEqual(65_537);
    expect(first(batch)).toBe(7000);
    batch.dispose();
  }, 120_000);

  test("may be as slow as it likes", async () => {
    const { topic } = await begin("one-byte-at-a-time");
    const batches = [];
    for await (const batch of stage.subscribe(topic)) batches.push(batch);
    expect(batches.map(first)).toEqual([7000]);
    for (const batch of batches) batch.dispose();
  });

  test("cannot take back memory that is held by retiring its segment and lending another under the same number", async () => {
    const { topic, peer } = await begin("retires-a-segment-that-is-held");
    const subscription = stage.subscribe(topic);
    const batch = await take(subscription);
    await peer.said("retired");
    await settle();
    const ended = codeOf(take(subscription));
    expect([...batch.column("i").toArray()]).toEqual(Array.from({ length: 10 }, (_, n) => 7000 + n));
    peer.kill();
    expect(await ended).toBe("ERR_PUBLISHER_LOST");
    expect(batch.column("x").get(9)).toBe(7009 / 2);
    batch.dispose();
  });

  test("a batch across two segments that happen to lie side by side returns as any other", async () => {
    const { topic, peer } = await begin("side-by-side");
    const before = counters().mappings;
    for await (const batch of stage.subscribe(topic)) {
      const column = batch.column("x").toArray() as Float64Array;
      column.fill(-1);
      batch.dispose();
    }
    peer.kill();
    await until(() => counters().mappings <= before, "no mapping is left");
  });

  test("real messages with bits flipped, cut short or overwritten are read or refused, and nothing breaks", async () => {
    const count = 150;
    const { topic, peer } = await begin("any:mutations", { COUNT: String(count) });
    const before = counters();
    const outcomes = new Map<string, number>();
    const note = (what: unknown) => outcomes.set(String(what), (outcomes.get(String(what)) ?? 0) + 1);
    for (let n = 0; n < count; n++) {
      const subscription = stage.subscribe(topic);
      const code = await codeOf(async () => {
        for await (const batch of subscription) {
          try {
            for (const name of batch.columnNames) [...batch.column(name)];
            batch.toArrow();
            batch.copy().dispose();
            const part = batch.slice(0, 1);
            part.copy().dispose();
            part.dispose();
          } finally {
            batch.dispose();
          }
        }
      });
      note(code);
      subscription.close();
    }
    await peer.said("done");
    expect(outcomes.get("ERR_PROTOCOL")).toBeGreaterThan(10);
    // Errors have codes, all of them: anything else would be an accident.
    for (const outcome of outcomes.keys()) expect(outcome).toMatch(/^(ERR_[A-Z_]+|nothing was thrown)$/);
    await until(() => counters().mappings <= before.mappings, "no mapping is left");
  }, 120_000);
});
