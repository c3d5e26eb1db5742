/** A Python subscriber behind a relay: what it reads lies where the first wrote it, and stays so when the relay is killed. */
import { afterEach, expect, test } from "@jest/globals";
import { freshTopic, kill, numbers, Stage, take, until } from "../support.js";
import { describePython, endPython, OBEY, Python } from "./python-support.js";

const stage = new Stage();
afterEach(async () => {
  await endPython();
  await stage.clear();
});

const ROWS = 1000;

const RELAY = `
const out = await publish(process.env.DOWN, { strictZeroCopy: true, memory: 65536 });
for await (const batch of subscribe(topic)) {
  const sent = out.send(batch);
  batch.dispose();
  await sent;
}`;

const READS = `
stream = arrowlane.subscribe(topic)
held = [next(stream), next(stream)]
say("at", json.dumps([place(batch) for batch in held]))
def read():
    right = all(batch.column("i").to_pylist() == list(range(n * 1000, n * 1000 + 1000)) for n, batch in enumerate(held, 1))
    say("read", json.dumps(right))
def lost():
    try:
        next(stream)
    except arrowlane.PublisherLost:
        say("lost")
${OBEY}`;

describePython("a Python subscriber behind a relay", () => {
  test.each(["lets go", "is killed"])("reads on when the relay is killed, until it %s", async (how) => {
    const up = freshTopic();
    const down = freshTopic();
    const publisher = await stage.publish(up, { memory: 512 * 1024 });
    const relay = stage.child(up, RELAY, { DOWN: down });
    const reader = new Python(down, READS);
    await until(() => publisher.subscribers === 1, "the relay is there");
    const places: string[][] = [];
    const own = stage.subscribe(up);
    const pending = take(own);
    await until(() => publisher.subscribers === 2, "somebody else is there");
    for (const b of [1, 2]) {
      await publisher.send(numbers(b, ROWS));
      const batch = await (b === 1 ? pending : take(own));
      places.push([batch.location?.memory as string, String(batch.location?.offset)]);
      batch.dispose();
    }
    expect(await reader.told("at")).toEqual(places);
    await kill(relay);
    await reader.does("lost()");
    const states = () => publisher.subscriptions().map(({ state }) => state);
    await until(() => states().includes("orphaned"), "the first knows that somebody reads");
    for (let b = 100; b < 160; b++) {
      await publisher.send(numbers(b, ROWS));
      (await take(own)).dispose();
    }
    reader.tell("read()");
    expect(await reader.told("read")).toBe(true);
    if (how === "is killed") reader.kill();
    else await reader.does("held.clear()");
    await until(() => publisher.statistics().bytesInUse === 0, "all memory came back");
    expect(states()).toEqual(["active"]);
  });
});
