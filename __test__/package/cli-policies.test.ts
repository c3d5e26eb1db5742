/** Policies on the command line: the names are those of the API, and both sides get what was asked for. */
import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { Table, tableFromArrays, tableToIPC } from "apache-arrow";
import { type Running, Workplace } from "./cli-support.js";

const place = new Workplace();
afterAll(() => place.leave());

const BATCHES = 40;

const table = new Table(
  Array.from({ length: BATCHES }, (_, n) => tableFromArrays({ id: Int32Array.of(n) }).batches).flat(),
);
const stream = tableToIPC(table, "stream");
/** The schema, without the eight bytes of the end behind it. */
const SCHEMA = tableToIPC(new Table(table.schema), "stream").length - 8;

beforeAll(() => writeFileSync(place.path("in.arrows"), stream));

// biome-ignore lint/suspicious/noExplicitAny: every test knows what it expects
async function figures(topic: string): Promise<{ batches: number | undefined; subscribers: any[] }> {
  const { events } = await place.run("topics", "--json");
  const of = events.filter((event) => event.topic === topic);
  const { batches } = of.find(({ event }) => event === "topic") ?? {};
  return { batches, subscribers: of.filter(({ event }) => event === "subscriber") };
}

/** What `topics` says of a topic's subscribers, as soon as there are so many. */
async function subscribers(topic: string, count = 1) {
  for (;;) {
    const { subscribers: found } = await figures(topic);
    if (found.length >= count) return found;
  }
}

async function stops(one: Running): Promise<void> {
  one.child.kill();
  await one.ended;
}

/** Publishes a stream of which the batches come when {@link ends} sends them. */
function begins(topic: string, ...args: string[]): Running {
  const publisher = place.start("publish", topic, "-", ...args);
  publisher.child.stdin?.write(stream.subarray(0, SCHEMA));
  return publisher;
}

function ends(publisher: Running): void {
  publisher.child.stdin?.end(stream.subarray(SCHEMA));
}

describe("wrong usage is refused before anything happens", () => {
  test.each([
    [["subscribe", "t", "--overflow", "explode"], "wait, drop-oldest, drop-newest"],
    [["subscribe", "t", "--queue", "0"], "whole number from 1"],
    [["subscribe", "t", "--queue-bytes", "much"], "number of bytes"],
    [["publish", "t", "in.arrows", "--evict-after", "soon"], "whole number from 1"],
    [["publish", "t", "in.arrows", "--overflow", "block"], "wait, drop-oldest, drop-newest"],
    [["publish", "t", "in.arrows", "--hold", "--last"], "--hold"],
  ])("%j", async (args, text) => {
    const { status, stderr } = await place.run(...args);
    expect(stderr).toContain(text);
    expect(status).toBe(2);
  });
});

test("a subscriber gets what it asks for, and a publisher's default where it asks for nothing", async () => {
  const defaults = ["--queue", "7", "--queue-bytes", "1MiB", "--overflow", "drop-newest", "--last"];
  const publisher = begins("asked", ...defaults);
  const first = place.start("subscribe", "asked");
  const [served] = await subscribers("asked");
  expect(served).toMatchObject({ queue: { batches: 7, bytes: 2 ** 20 }, overflow: "drop-newest" });
  const asking = ["--queue", "3", "--queue-bytes", "4KiB", "--overflow", "drop-oldest", "--last"];
  const second = place.start("subscribe", "asked", ...asking);
  const [, other] = await subscribers("asked", 2);
  expect(other).toMatchObject({ queue: { batches: 3, bytes: 4096 }, overflow: "drop-oldest" });
  await stops(first);
  await stops(second);
  await stops(publisher);
});

test("a latest batch that the publisher does not keep is not begun with, and an error says so", async () => {
  const publisher = begins("no-last");
  const { status, stderr } = await place.run("subscribe", "no-last", "--last");
  expect([status, stderr]).toEqual([1, expect.stringContaining("ERR_NOT_PERMITTED")]);
  await stops(publisher);
});

test("a stopped subscriber that may lose batches loses some, and says at the end how many", async () => {
  const publisher = begins("lossy");
  const asking = ["--json", "--overflow", "drop-oldest", "--queue", "2"];
  const subscriber = place.start("subscribe", "lossy", ...asking);
  await subscribers("lossy");
  subscriber.child.kill("SIGSTOP");
  ends(publisher);
  // Nobody is waited for, but at the end: whoever asks then is not answered any more.
  for (let sent: number | undefined = 0; sent !== undefined && sent < BATCHES; )
    sent = (await figures("lossy")).batches;
  subscriber.child.kill("SIGCONT");
  const { events, status } = await subscriber.ended;
  const { batches, dropped } = events.at(-1);
  expect([status, batches + dropped, dropped > 0]).toEqual([0, BATCHES, true]);
  expect((await publisher.ended).status).toBe(0);
});

test("with --reconnect a subscriber goes over to the next publisher, and says so", async () => {
  const first = begins("again");
  const subscriber = place.start("subscribe", "again", "--json", "--reconnect");
  await subscribers("again");
  first.child.kill("SIGKILL");
  await first.ended;
  const second = await place.run("publish", "again", "in.arrows");
  expect([second.status, second.stderr]).toEqual([0, ""]);
  const { events, status } = await subscriber.ended;
  expect(status).toBe(0);
  expect(events[0]).toEqual({ event: "reconnected", reconnects: 1 });
  expect(events.at(-1)).toMatchObject({ event: "end", batches: BATCHES, dropped: 0 });
});

test("with --evict-after a stopped subscriber is given up, and the others get everything", async () => {
  const publisher = begins("evicting", "--evict-after", "200");
  const stopped = place.start("subscribe", "evicting", "--queue", "1");
  await subscribers("evicting");
  stopped.child.kill("SIGSTOP");
  const other = place.start("subscribe", "evicting", "--json");
  await subscribers("evicting", 2);
  ends(publisher);
  expect((await publisher.ended).status).toBe(0);
  expect((await other.ended).events.at(-1)).toMatchObject({ event: "end", batches: BATCHES });
  stopped.child.kill("SIGCONT");
  const { status, stderr } = await stopped.ended;
  expect([status, stderr]).toEqual([1, expect.stringContaining("ERR_EVICTED")]);
});
