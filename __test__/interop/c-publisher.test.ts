/** A publisher in some hundred lines of C, written from docs/wire.md: Node.js and Python read it, and its page comes back. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { Raw, socketOf } from "../process/raw.js";
import { freshTopic, ROOT, Stage, sharedMappings, take, until } from "../support.js";
import { describePython, endPython, Python } from "./python-support.js";

const stage = new Stage();
let folder: string;
let sockets: string;
const running: Raw[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "arrowlane-c-"));
  const source = join(ROOT, "interop", "c", "publish.c");
  execFileSync(process.env.CC ?? "cc", [
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    source,
    "-o",
    join(folder, "publish"),
  ]);
  sockets = dirname(socketOf(await stage.publish(freshTopic())));
});
afterEach(async () => {
  for (const one of running.splice(0)) {
    one.kill();
    await one.ended;
  }
  await endPython();
  await stage.clear();
});
afterAll(() => rmSync(folder, { recursive: true }));

async function listening(topic: string, count: number): Promise<Raw> {
  const peer = new Raw(join(folder, "publish"), [sockets, topic, String(count)]);
  running.push(peer);
  await peer.said("listening");
  return peer;
}

test("Node.js reads what C wrote, in place, and the page comes back each time", async () => {
  const before = sharedMappings();
  const topic = freshTopic();
  const peer = await listening(topic, 100);
  const subscription = stage.subscribe(topic);
  const places = new Set<string>();
  for (let n = 1; n <= 100; n++) {
    const batch = await take(subscription);
    expect([...batch.column("n").toArray()]).toEqual([0, 1, 2, 3].map((row) => n * 10 + row));
    places.add(`${batch.location?.memory} ${batch.location?.offset}`);
    expect(batch.zeroCopy).toBe(true);
    batch.dispose();
  }
  expect((await subscription.next()).done).toBe(true);
  expect(await peer.fate()).toBe("100 came back");
  expect(places.size).toBe(1);
  expect(existsSync(join(sockets, topic))).toBe(false);
  await until(() => sharedMappings() <= before, "nothing is mapped any more");
});

test("a Node.js publisher takes the name of one that was killed", async () => {
  const topic = freshTopic();
  const peer = await listening(topic, 1);
  peer.kill();
  await peer.ended;
  expect((await stage.publish(topic)).topic).toBe(topic);
});

describePython("Python", () => {
  test("reads what C wrote", async () => {
    const topic = freshTopic();
    const peer = await listening(topic, 50);
    const reader = new Python(
      topic,
      `
seen = []
for batch in arrowlane.subscribe(topic):
    seen.append(batch.column("n").to_pylist())
    batch = None
assert seen == [[n * 10 + row for row in range(4)] for n in range(1, 51)]
say("good")`,
    );
    expect(await reader.fate()).toBe("good");
    expect(await peer.fate()).toBe("50 came back");
  });
});
