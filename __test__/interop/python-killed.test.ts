/** Python and Node.js peers that are killed: the other side goes on, blocks return, and nothing is left behind. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "@jest/globals";
import type { Batch } from "../../ts/index.js";
import {
  codeOf,
  connected,
  first,
  freshTopic,
  numbers,
  Stage,
  sharedMappings,
  take,
  until,
} from "../support.js";
import { describePython, endPython, Python } from "./python-support.js";

const stage = new Stage();
afterEach(async () => {
  await endPython();
  await stage.clear();
});

/** What a Python subscriber does until it is killed: it says "now" when it has come to that. */
const SUBSCRIBERS = {
  "before it asks for anything": `
import socket
s = socket.socket(socket.AF_UNIX); s.connect(os.environ["SOCKET"]); say("now"); told()`,
  "waiting for its first batch": `
stream = arrowlane.subscribe(topic).connect(); say("now"); next(stream); told()`,
  "holding three batches": `
stream = arrowlane.subscribe(topic); held = [next(stream) for _ in range(3)]; say("now"); told()`,
  "with batches that it never took": `
stream = arrowlane.subscribe(topic); next(stream); say("now"); told()`,
  "taking and dropping all the time": `
for n, batch in enumerate(arrowlane.subscribe(topic)):
    batch = None
    if n == 3: say("now")`,
  "after closing, with a batch in its hand": `
stream = arrowlane.subscribe(topic); held = next(stream); stream.close(); say("now"); told()`,
};

describePython("a Python subscriber killed", () => {
  test.each(Object.entries(SUBSCRIBERS))(
    "%s: the others go on, and every block returns",
    async (_, script) => {
      const { publisher, subscriptions, pending } = await connected(stage);
      const path = decodeURIComponent(new URL(publisher.uri.replace(/^shm:/, "file:")).pathname);
      const victim = new Python(publisher.topic, script, { SOCKET: path });
      let stop = false;
      const received: number[] = [];
      const reading = (async () => {
        for (let batch = await pending[0]; ; batch = await take(subscriptions[0])) {
          received.push(first(batch));
          batch.dispose();
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
      victim.kill();
      await victim.ended;
      const atDeath = b;
      await until(() => b > atDeath + 20, "the publisher goes on");
      stop = true;
      await sending;
      await until(() => publisher.subscribers === 1 && received.length === b, "the other one has all");
      expect(received).toEqual(Array.from({ length: b }, (_, n) => (n + 1) * 1000));
      await until(() => publisher.statistics().leases === 0, "every lease ended");
      expect(publisher.statistics().bytesInUse).toBe(0);
      await publisher.close();
      await ended;
    },
  );
});

describePython("a Python publisher killed", () => {
  test.each([
    ["before it sent anything", `p = arrowlane.publish(topic); say("now"); told()`, 0],
    [
      "when its batches are held",
      `p = arrowlane.publish(topic); [p.send(numbers(n)) for n in range(3)]; say("now"); told()`,
      3,
    ],
    [
      "while it sends",
      `p = arrowlane.publish(topic)\nfor n in range(10**9): p.send(numbers(n)); n == 50 and say("now")`,
      30,
    ],
  ])("%s: its subscriber is told, and keeps what it holds", async (_, script, count) => {
    const before = sharedMappings();
    const topic = freshTopic();
    const subscription = stage.subscribe(topic);
    const held: Batch[] = [];
    const reading = codeOf(async () => {
      for (;;) {
        const batch = await take(subscription);
        if (held.length < 5) held.push(batch);
        else batch.dispose();
      }
    });
    const victim = new Python(topic, script);
    await victim.said("now");
    await until(() => held.length >= Math.min(count, 5), "batches arrived");
    await sleep(20);
    victim.kill();
    await victim.ended;
    if (count > 0) expect(await reading).toBe("ERR_PUBLISHER_LOST");
    expect(held.map(first)).toEqual(held.map((_, n) => n * 1000));
    for (const batch of held) batch.dispose();
    subscription.close();
    await until(() => sharedMappings() <= before, "no mapping is left");
    // The name can be had again.
    const next = new Python(topic, `p = arrowlane.publish(topic); say("taken over"); told()`);
    await next.said("taken over");
  });

  test("leaves a Python subscriber with what it holds, and nothing else", async () => {
    const topic = freshTopic();
    const reader = new Python(
      topic,
      `
held = []
try:
    for batch in arrowlane.subscribe(topic): held.append(batch); len(held) == 3 and say("three")
except arrowlane.PublisherLost: say("lost")
batch = None
assert [b.column("i")[0].as_py() for b in held] == [0, 1000, 2000] and mappings() > 0
held.clear()
until(lambda: mappings() == 0)
say("good")`,
    );
    const victim = new Python(
      topic,
      `p = arrowlane.publish(topic); [p.send(numbers(n)) for n in range(3)]; told()`,
    );
    await reader.said("three");
    victim.kill();
    await reader.said("lost");
    await reader.fate();
    expect(reader.lines).toContain("good");
  });
});

describePython("a Node.js subscriber of Python's killed", () => {
  test.each([
    ["waiting", `subscribe(topic).next(); say("now"); await sleep(1e6);`],
    [
      "holding",
      `const held = []; for await (const b of subscribe(topic)) { held.push(b); if (held.length === 3) { say("now"); await sleep(1e6); } }`,
    ],
    [
      "streaming",
      `let n = 0; for await (const b of subscribe(topic)) { b.dispose(); if (++n === 3) say("now"); }`,
    ],
  ])("%s: the publisher goes on, and every block returns", async (_, script) => {
    const topic = freshTopic();
    const python = new Python(
      topic,
      `
p = arrowlane.publish(topic, min_subscribers=0, queue_batches=8)
stop = threading.Event()
def go():
    n = 0
    while not stop.is_set():
        n += 1
        p.send(numbers(n))
        time.sleep(0.001)
sender = threading.Thread(target=go); sender.start()
say("ready"); told()
stop.set(); sender.join()
until(lambda: p.statistics()[:3] == (1, 0, 0))
say("clean"); told()
p.close()`,
    );
    await python.said("ready");
    const honest = stage.subscribe(topic);
    let last = 0;
    const reading = codeOf(async () => {
      for (;;) {
        const batch = await take(honest);
        const now = first(batch);
        if (last > 0 && now !== last + 1000) throw new Error(`${now} came after ${last}`);
        last = now;
        batch.dispose();
      }
    });
    const victim = stage.child(topic, script);
    await victim.said("now");
    victim.kill();
    await victim.ended;
    const then = last;
    await until(() => last > then + 20_000, "the other one goes on");
    python.tell();
    await python.said("clean");
    python.tell();
    await python.fate();
    expect(String(await reading)).toContain("the stream ended");
  });
});
