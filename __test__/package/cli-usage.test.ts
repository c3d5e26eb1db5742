import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { Table, tableFromArrays, tableToIPC } from "apache-arrow";
import { Workplace } from "./cli-support.js";

const place = new Workplace();
afterAll(() => place.leave());

beforeAll(() => {
  const id = Int32Array.from({ length: 5000 }, (_, i) => i);
  const table = new Table([1, 2, 3].flatMap(() => tableFromArrays({ id }).batches));
  const bytes = tableToIPC(table, "stream");
  writeFileSync(place.path("good.arrows"), bytes);
  // In the third batch: the first is sent, which waits for a subscriber.
  writeFileSync(place.path("cut.arrows"), bytes.subarray(0, bytes.length - 5000));
  writeFileSync(place.path("text.arrow"), "not Arrow at all");
});

describe("wrong usage ends with status 2 and says what is wrong", () => {
  test.each([
    [["nonsense"], "unknown command"],
    [["publish", "topic"], "missing required argument"],
    [["subscribe", "topic", "--count", "0"], "whole number from 1"],
    [["subscribe", "topic", "--out", "x.csv"], ".arrows"],
    [["subscribe", "topic", "--out", "-", "--json"], "standard output"],
    [["publish", "topic", "good.arrows", "--memory", "much"], "number of bytes"],
    [["publish", "topic", "-", "--hold"], "pipe or standard input"],
    [["bench", "nonsense"], "there is no benchmark"],
  ])("%j", async (args, text) => {
    const { status, stderr, stdout } = await place.run(...args);
    expect(stderr).toContain(text);
    expect([status, stdout.length]).toEqual([2, 0]);
  });
});

describe("an error ends with status 1 and its code", () => {
  test.each([
    [["publish", "topic", "missing.arrow"], "ERR_IO"],
    [["publish", "topic", "text.arrow"], "ERR_UNKNOWN_FORMAT"],
    [["publish", "topic", "."], "ERR_IO"],
    [["subscribe", "nobody", "--no-wait"], "ERR_TOPIC_NOT_FOUND"],
    [["bench", "python", "--python", "no-such-python"], "ERR_UNSUPPORTED_PLATFORM"],
  ])("%j", async (args, code) => {
    const { status, stderr } = await place.run(...args);
    expect(stderr).toMatch(new RegExp(`^arrowlane: ${code}: `));
    expect(status).toBe(1);
  });

  test("a topic that is taken", async () => {
    const first = place.start("publish", "taken", "good.arrows", "--hold");
    await first.says("on topic");
    const { status, stderr } = await place.run("publish", "taken", "good.arrows");
    expect([status, stderr]).toEqual([1, expect.stringContaining("ERR_TOPIC_TAKEN")]);
    first.child.kill();
    await first.ended;
  });
});

test("a file that breaks in the middle ends no stream as if it were complete, and leaves no output", async () => {
  const { publisher, subscriber } = await place.send("cut.arrows", "--out", "cut.arrow");
  expect([publisher.status, publisher.stderr]).toEqual([1, expect.stringContaining("ERR_DAMAGED_DATA")]);
  expect([subscriber.status, subscriber.stderr]).toEqual([
    1,
    expect.stringContaining("ERR_REMOTE: the publisher reported ERR_DAMAGED_DATA"),
  ]);
  expect(readdirSync(place.folder)).not.toContain("cut.arrow");
});

describe("SIGTERM and SIGINT close cleanly", () => {
  test.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("a publisher that waits for a subscriber, %s", async (signal, status) => {
    const publisher = place.start("publish", "topic", "good.arrows", "--json");
    await publisher.says('"open"');
    publisher.child.kill(signal);
    const ended = await publisher.ended;
    expect([ended.status, ended.events.at(-1)]).toEqual([status, { event: "stopped", signal }]);
    expect(readdirSync(place.path("sockets"))).not.toContain("topic");
  });

  test("a publisher whose standard input never says more", async () => {
    const publisher = place.start("publish", "topic", "-", "--json");
    publisher.child.stdin?.write(readFileSync(place.path("cut.arrows")));
    await publisher.says('"open"');
    publisher.child.kill("SIGTERM");
    const { status, events } = await publisher.ended;
    // An ordinary exit would wait for standard input, so it ends by the signal itself.
    expect([status, events.at(-1)]).toEqual(["SIGTERM", { event: "stopped", signal: "SIGTERM" }]);
  });

  test("a subscriber that records: what came is a complete file", async () => {
    const script = place.path("endless.mjs");
    const entry = JSON.stringify(`${process.env.ARROWLANE_DIST}/index.js`);
    writeFileSync(
      script,
      `import { publish } from ${entry};
       const out = await publish("endless");
       for (let i = 0; i < 3; i++) await out.send(new Uint8Array(10));
       setInterval(() => {}, 1000);`,
    );
    const publisher = place.spawn(script, []);
    const subscriber = place.start("subscribe", "endless", "--out", "recorded.arrows", "--json");
    await subscriber.says('"batch":3');
    subscriber.child.kill("SIGINT");
    const { status, events } = await subscriber.ended;
    expect([status, events.at(-1)]).toEqual([
      130,
      expect.objectContaining({ event: "end", batches: 3, signal: "SIGINT" }),
    ]);
    publisher.child.kill();
    const again = await place.send("recorded.arrows", "--json");
    expect(again.subscriber.events.at(-1)).toMatchObject({ event: "end", batches: 3, rows: 3 });
  });
});

test("doctor says what there is, one object per line, and that batches can be handed over", async () => {
  const { status, events, stderr } = await place.run("doctor", "--json");
  expect([status, stderr]).toEqual([0, ""]);
  const names = events.map(({ name }) => name);
  for (const name of [
    "versions",
    "apache-arrow",
    "transport inproc",
    "transport shm",
    "transport tcp",
    "transport ucx",
    "wake-up",
    "descriptors",
  ]) {
    expect(names).toContain(name);
  }
  expect(events.every(({ ok, problem }) => ok !== false || problem)).toBe(true);
  expect(events.at(-1)).toEqual({ event: "end", usable: true });
});

test("doctor says why the folder of sockets cannot be used", async () => {
  chmodSync(place.path("sockets"), 0o777);
  try {
    const { status, events } = await place.run("doctor", "--json");
    const folder = events.find(({ name }) => name === "folder of sockets");
    expect(folder).toMatchObject({ ok: false, problem: expect.stringContaining("others may enter it") });
    expect([status, events.at(-1)]).toEqual([1, { event: "end", usable: false }]);
  } finally {
    chmodSync(place.path("sockets"), 0o700);
  }
});
