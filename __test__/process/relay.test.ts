/** Three processes: a batch goes on from the second to the third where the first wrote it, whoever of them is killed. */
import { afterEach, expect, test } from "@jest/globals";
import type { Batch } from "../../ts/index.js";
import {
  type Child,
  codeOf,
  counters,
  descriptors,
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

const stage = new Stage();

afterEach(() => stage.clear());

/** Sends on whatever comes, and refuses to copy. Its own handle of a batch is disposed before the batch is even sent. */
const RELAY = `
const { lane } = await import(process.env.ARROWLANE_DIST + "/native/lane.js");
const out = await publish(process.env.DOWN, { strictZeroCopy: true, memory: 65536, queue: { batches: Number(process.env.BATCHES ?? 64) } });
process.stdin.on("data", async () => {
  await until(() => out.statistics().leases === 0);
  say("returned", out.statistics().bytesInUse, lane().native.copiedBytes());
});
process.stdin.unref?.();
try {
  for await (const batch of subscribe(topic)) {
    say("at", batch.location.memory, batch.location.offset);
    const sent = out.send(batch);
    batch.dispose();
    say("sent to", await sent);
  }
  await out.close();
} catch (error) {
  say("failed", error.code);
  await out.close({ error });
}
say("copied", lane().native.copiedBytes());
process.stdin.destroy();`;

function relay(up: string, env: Record<string, string> = {}): { down: string; process: Child } {
  const down = freshTopic();
  return { down, process: stage.child(up, RELAY, { DOWN: down, ...env }) };
}

const lines = (one: Child, word: string) =>
  one.stdout
    .split("\n")
    .filter((line) => line.startsWith(`${word} `))
    .map((line) => line.slice(word.length + 1));

const place = (batch: Batch) => `${batch.location?.memory} ${batch.location?.offset}`;

/** Writes batches in place and says where. */
const WRITES = `
const schema = new arrow.Schema([new arrow.Field("x", new arrow.Float64(), false)]);
const out = await publish(topic);
for (let b = 0; b < 6; b++) {
  const writer = await out.allocate(schema, b === 3 ? 13_107_200 : 1000);
  writer.column("x").fill(b);
  say("at", writer.location.memory, writer.location.offset);
  await out.send(writer, { metadata: { b: String(b) } });
}
await out.close();
say("closed");`;

async function lieWhereTheyWereWritten(relays: number): Promise<void> {
  const up = freshTopic();
  const middle: Child[] = [];
  let topic = up;
  for (let n = 0; n < relays; n++) {
    const { down, process } = relay(topic);
    middle.push(process);
    topic = down;
  }
  const subscription = stage.subscribe(topic, { strictZeroCopy: true });
  const pending = take(subscription);
  const producer = stage.child(up, WRITES);
  const places: string[] = [];
  for (let b = 0; b < 6; b++) {
    const batch = b === 0 ? await pending : await take(subscription);
    places.push(place(batch));
    expect([batch.zeroCopy, batch.via, [...batch.metadata]]).toEqual([true, "shm", [["b", String(b)]]]);
    const x = batch.column("x").toArray() as Float64Array;
    expect([x.length, x[0], x[x.length - 1]]).toEqual([b === 3 ? 13_107_200 : 1000, b, b]);
    batch.dispose();
  }
  expect(await subscription.next()).toEqual({ done: true, value: undefined });
  for (const one of [producer, ...middle]) {
    expect(await one.ended).toMatchObject({ code: 0, stderr: "" });
    expect(lines(one, "at")).toEqual(places);
  }
  for (const one of middle) expect(lines(one, "copied")).toEqual(["0"]);
}

test("a batch, of 100 MB too, lies in all three where the first wrote it, and nothing is copied", () =>
  lieWhereTheyWereWritten(1));

test("and in all four, with two in the middle", () => lieWhereTheyWereWritten(2));

test("dictionaries go on as well, and are replaced where they were replaced", async () => {
  const up = freshTopic();
  const { down, process } = relay(up);
  const subscription = stage.subscribe(down);
  const pending = take(subscription);
  const producer = stage.child(
    up,
    `const type = new arrow.Dictionary(new arrow.Utf8(), new arrow.Int8(), 1);
    const of = (values) => new arrow.Table({ colour: arrow.vectorFromArray(values, type) });
    const out = await publish(topic);
    const warm = of(["red", "orange", "red"]), cold = of(["blue", "violet", null]);
    for (const table of [warm, warm, cold, cold, warm]) await out.send(table);
    await out.close();`,
  );
  const held = [await pending];
  while (held.length < 5) held.push(await take(subscription));
  const warm = ["red", "orange", "red"];
  const cold = ["blue", "violet", null];
  const seen = held.map((batch) => [...batch.column("colour")]);
  expect(seen).toEqual([warm, warm, cold, cold, warm]);
  for (const batch of held) batch.dispose();
  expect((await subscription.next()).done).toBe(true);
  expect(await process.ended).toMatchObject({ code: 0, stderr: "" });
  expect(lines(process, "copied")).toEqual(["0"]);
  expect(await producer.ended).toMatchObject({ code: 0, stderr: "" });
});

test("with many under way and two readers, one of them slow, everybody gets all of it and all of it comes back", async () => {
  const up = freshTopic();
  const publisher = await stage.publish(up);
  const { down, process } = relay(up, { BATCHES: "8" });
  const [quick, slow] = [stage.subscribe(down), stage.subscribe(down)];
  const firsts = [take(quick), take(slow)];
  await until(() => publisher.subscribers === 1, "the relay is there");
  const sending = (async () => {
    for (let b = 0; b < 40; b++) await publisher.send(numbers(b));
  })();
  const read = async (batch: Batch, into: number[]) => {
    into.push(first(batch));
    batch.dispose();
  };
  const seen: number[][] = [[], []];
  await read(await firsts[0], seen[0]);
  const slowest = await firsts[1];
  for (let n = 1; n < 8; n++) await read(await take(quick), seen[0]);
  const next = take(quick);
  expect(await isPending(next)).toBe(true);
  expect(publisher.statistics().leases).toBeGreaterThanOrEqual(8);
  await read(slowest, seen[1]);
  const rest = async (from: Promise<Batch> | undefined, of: typeof quick, into: number[]) => {
    if (from !== undefined) await read(await from, into);
    while (into.length < 40) await read(await take(of), into);
  };
  await Promise.all([rest(next, quick, seen[0]), rest(undefined, slow, seen[1]), sending]);
  const all = Array.from({ length: 40 }, (_, b) => b * 1000);
  expect(seen).toEqual([all, all]);
  await until(() => publisher.statistics().leases === 0, "every lease ended");
  expect(publisher.statistics().bytesInUse).toBe(0);
  await publisher.close();
  expect(await process.ended).toMatchObject({ code: 0, stderr: "" });
});

test("the first one killed: what is held stays valid, the stream ends as the relay decides, and nothing is left", async () => {
  const before = { mappings: sharedMappings(), counted: counters().mappings };
  const up = freshTopic();
  const { down, process } = relay(up);
  const subscription = stage.subscribe(down);
  const pending = take(subscription);
  const victim = stage.child(
    up,
    `const out = await publish(topic);
    for (let b = 0; b < 3; b++) await out.send(numbers(b));
    say("sent"); await sleep(1e6);`,
  );
  const held = [await pending, await take(subscription), await take(subscription)];
  await victim.said("sent");
  await kill(victim);
  await process.said("failed ERR_PUBLISHER_LOST");
  const ended = await codeOf(take(subscription));
  expect(ended).toBe("ERR_REMOTE");
  expect(process.process.exitCode).toBe(null);
  expect(held.map((batch) => [...batch.column("i").toArray()])).toEqual(
    [0, 1, 2].map((b) => Array.from({ length: 10 }, (_, n) => b * 1000 + n)),
  );
  for (const batch of held) batch.dispose();
  expect(await process.ended).toMatchObject({ code: 0, stderr: "" });
  await until(() => sharedMappings() <= before.mappings, "no mapping is left");
  expect(counters().mappings).toBe(before.counted);
});

test("the third one killed, again and again: the second and the first get everything back", async () => {
  const up = freshTopic();
  const publisher = await stage.publish(up);
  const { down, process } = relay(up);
  const counts: number[][] = [];
  let b = 0;
  for (let round = 0; round < 3; round++) {
    const victim = stage.child(
      down,
      `const held = [];
      for await (const batch of subscribe(topic)) {
        if (batch.column("i").get(0) === -1) continue;
        batch.column("i").toArray().fill(-1);
        if (held.push(batch) === 3) { say("holds"); await sleep(1e6); }
      }`,
    );
    await until(() => publisher.subscribers === 1, "the relay is there");
    for (let n = 0; n < 5; n++) await publisher.send(numbers(++b));
    await victim.said("holds");
    expect(publisher.statistics().leases).toBeGreaterThanOrEqual(3);
    await kill(victim);
    await until(() => publisher.statistics().leases === 0, "every lease ended");
    expect(publisher.statistics().bytesInUse).toBe(0);
    process.tell("how is it?");
    await until(() => lines(process, "returned").length === round + 1, "the relay has its own back");
    const pid = process.process.pid as number;
    counts.push([descriptors(pid), sharedMappings(pid)]);
  }
  expect(lines(process, "returned")).toEqual(["0 0", "0 0", "0 0"]);
  expect(counts[2]).toEqual(counts[1]);
  await publisher.close();
  expect(await process.ended).toMatchObject({ code: 0, stderr: "" });
});
