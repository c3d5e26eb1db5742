import { readdirSync, readlinkSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { connected, first, numbers, Stage, settle, take, until } from "../support.js";
import { casesOf, hostile, PYTHON, type Raw, socketOf } from "./raw.js";

// Said aloud, so that a machine without Python does not look as if all was tested.
if (PYTHON === undefined) console.warn("no Python 3 found: hostile subscribers are not tested");

const cases = casesOf("subscribe");
const stage = new Stage();
const peers: Raw[] = [];

beforeEach(() => settle());
afterEach(async () => {
  for (const peer of peers.splice(0)) peer.kill();
  await stage.clear();
});

/** Descriptors of this process that connections and lent memory account for. */
function sockets(): number {
  const behind = (fd: string) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ""; // closed meanwhile
    }
  };
  return readdirSync("/proc/self/fd")
    .map(behind)
    .filter((name) => /^socket:|memfd:/.test(name)).length;
}

function attack(...args: string[]): Raw {
  const peer = hostile(args);
  peers.push(peer);
  return peer;
}

(PYTHON === undefined ? describe.skip : describe)("a hostile subscriber", () => {
  test.each(cases)("harms nobody but itself: %s", async (name) => {
    const { publisher, subscriptions, pending } = await connected(stage);
    const [honest] = subscriptions;
    await publisher.send(numbers(1));
    const kept = [await pending[0]];
    const before = sockets();
    const peer = attack("subscribe", socketOf(publisher), publisher.topic, name);
    await peer.said("ready");
    // Those that want to be served first are: everybody gets this batch.
    let sent = 2;
    const send = publisher.send(numbers(sent));
    kept.push(await take(honest));
    await send;
    const fate = await (async () => {
      for (;;) {
        const ended = await Promise.race([peer.fate(), settle().then(() => undefined)]);
        if (ended !== undefined) return ended;
        // A peer that joined late waits for the next batch.
        if (publisher.subscribers > 1 && sent < 4) {
          const more = publisher.send(numbers(++sent));
          kept.push(await take(honest));
          await more;
        }
      }
    })();
    expect(fate).toBe(name.startsWith("open:") ? "open" : "closed");
    await until(() => publisher.subscribers === 1, "it is gone");
    // The honest one reads what it holds, and gets what follows.
    expect(kept.map(first)).toEqual(kept.map((_, b) => (b + 1) * 1000));
    const after = publisher.send(numbers(++sent));
    kept.push(await take(honest));
    expect(await after).toBe(1);
    expect(first(kept.at(-1) as (typeof kept)[0])).toBe(sent * 1000);
    expect(kept).toHaveLength(sent);
    for (const batch of kept) batch.dispose();
    await until(() => publisher.statistics().leases === 0, "every lease ended");
    expect(publisher.statistics().bytesInUse).toBe(0);
    await until(() => sockets() <= before, "no descriptor is left");
  });

  test("a crowd that says nothing cannot keep an honest subscriber out", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    const crowd = attack("crowd", socketOf(publisher), "1500");
    // Its connections are taken while it makes them: the publisher's queue of connections is shorter than that.
    await crowd.said("ready");
    const newcomer = stage.subscribe(publisher.topic);
    const its = take(newcomer);
    await until(() => publisher.subscribers === 2, "the newcomer takes part");
    expect(await publisher.send(numbers(1))).toBe(2);
    for (const batch of [await pending[0], await its]) {
      expect(first(batch)).toBe(1000);
      batch.dispose();
    }
    const before = sockets();
    crowd.process.stdin?.end();
    await crowd.ended;
    await until(() => sockets() < before - 900, "their connections are closed");
    const more = take(subscriptions[0]);
    await publisher.send(numbers(2));
    expect(first(await more)).toBe(2000);
  });
});
