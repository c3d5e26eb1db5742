/**
 * Peers that break the rules for bodies inside messages: an error on their connection, no memory for what never came, and
 * nobody else notices.
 *
 * @jest-environment-options {"memory": "heap"}
 */
import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { PYTHON, Raw, socketOf } from "../process/raw.js";
import { codeOf, counters, freshTopic, isPending, numbers, Stage, take, until } from "../support.js";

const SCRIPT = join(import.meta.dirname, "raw_bodies.py");
if (PYTHON === undefined) console.warn("no Python 3 found: hostile bodies are not tested");

const stage = new Stage();
const peers: Raw[] = [];
let folder: string;

beforeAll(async () => {
  const publisher = await stage.publish(freshTopic());
  folder = dirname(socketOf(publisher));
});

afterEach(async () => {
  for (const peer of peers.splice(0)) {
    peer.kill();
    await peer.ended;
  }
  await stage.clear();
});

function raw(...args: string[]): Raw {
  const peer = new Raw(PYTHON as string, [SCRIPT, ...args]);
  peers.push(peer);
  return peer;
}

async function hostilePublisher(name: string) {
  const topic = freshTopic();
  const peer = raw("publish", join(folder, topic), name);
  await peer.said("ready");
  return { peer, pending: take(stage.subscribe(topic)) };
}

const all = PYTHON === undefined ? "none" : execFileSync(PYTHON, [SCRIPT, "cases"], { encoding: "utf8" });
const cases = String(all).trim().split(" ").filter(Boolean);
const describeHostile = PYTHON === undefined ? describe.skip : describe;
/** These are not wrong yet. */
const HARMLESS = ["half-of-it", "nothing-of-1-TiB"];

describeHostile("a publisher", () => {
  test.each(cases.filter((name) => !HARMLESS.includes(name)))(
    "that breaks a rule ends its own stream: %s",
    async (name) => {
      const { pending } = await hostilePublisher(name);
      expect(await codeOf(pending)).toBe("ERR_PROTOCOL");
      expect(counters().arrivals).toBe(0);
    },
  );

  (PYTHON ? test : test.skip)(
    "killed in the middle of a body is lost, and the half of it is let go of",
    async () => {
      const { peer, pending } = await hostilePublisher("half-of-it");
      pending.catch(() => {});
      await peer.said("sent");
      await until(() => counters().arrivals === 1, "some of it arrives");
      expect(await isPending(pending)).toBe(true);
      peer.kill();
      expect(await codeOf(pending)).toBe("ERR_PUBLISHER_LOST");
      expect(counters().arrivals).toBe(0);
    },
  );

  (PYTHON ? test : test.skip)("that announces 1 TiB and sends nothing gets no memory for it", async () => {
    const { peer, pending } = await hostilePublisher("nothing-of-1-TiB");
    pending.catch(() => {});
    await peer.said("sent");
    await sleep(50);
    expect(await isPending(pending)).toBe(true);
    expect(counters().arrivals).toBe(0);
    peer.kill();
    expect(await codeOf(pending)).toBe("ERR_PUBLISHER_LOST");
  });
});

describeHostile("a subscriber", () => {
  (PYTHON ? test : test.skip)("that sends a body is hung up on, and nobody else notices", async () => {
    const publisher = await stage.publish(freshTopic());
    const pending = take(stage.subscribe(publisher.topic));
    await until(() => publisher.subscribers === 1, "it takes part");
    expect(await raw("subscribe", socketOf(publisher), "sends-a-body").fate()).toBe("closed");
    await publisher.send(numbers(1));
    (await pending).dispose();
  });

  (PYTHON ? test : test.skip)(
    "that knows the plain protocol only, and reads a little at a time, gets every byte",
    async () => {
      const publisher = await stage.publish(freshTopic());
      const reader = raw("subscribe", socketOf(publisher), "reads-one-byte-at-a-time");
      await reader.said("asked");
      await until(() => publisher.subscribers === 1, "it takes part");
      const bytes = new Uint8Array(640_000).fill(1);
      bytes[0] = 9;
      const column = arrow.makeVector(bytes);
      await publisher.send(new arrow.Table({ column }).batches[0] as arrow.RecordBatch);
      // The column is not nullable, so its values are all of the body.
      expect(await reader.fate()).toBe("640000 88 639920");
      await until(() => publisher.statistics().bytesInUse === 0, "nothing is held");
    },
  );
});
