/**
 * Memory stays flat however much flows: what is counted natively (segments, mappings, blocks, handles), descriptors, and
 * the process's size. Nothing of this depends on the garbage collector.
 */
import { expect, test } from "@jest/globals";
import { freshTopic, runChild } from "../support.js";

const MEASURE = `
import { readFileSync, readdirSync } from "node:fs";
const { lane } = await import(process.env.ARROWLANE_DIST + "/native/lane.js");
const counters = () => lane().native.counters();
const resident = () => Number(/VmRSS:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1024;
const descriptors = () => readdirSync("/proc/self/fd").length;
`;

const NOTHING_MORE = {
  descriptors: 0,
  segments: 0,
  mappings: 0,
  blocks: 0,
  exports: 0,
  batches: 0,
  arrivals: 0,
};

async function figures(script: string): Promise<Record<string, number>> {
  const { code, stdout, stderr } = await runChild(MEASURE + script, { env: { TOPIC: freshTopic() } });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout);
}

test("hundreds of thousands of small batches leave memory as it was", async () => {
  const at = await figures(
    `const out = await publish(topic);
     const schema = numbers(1).schema;
     let taken = 0;
     let sum = 0;
     const done = subscribe(topic).forEach((batch) => {
       sum += batch.column("i").get(0);
       taken++;
       batch.dispose();
     });
     const flow = async (count) => {
       for (let n = 0; n < count; n++) {
         const writer = await out.allocate(schema, 16);
         writer.column("i")[0] = n % 7;
         await out.send(writer);
       }
       await until(() => taken % count === 0 && out.statistics().leases === 0);
       gc();
       await sleep(50);
     };
     await flow(20_000);
     taken = 0;
     const before = { rss: resident(), ...counters() };
     let rounds = 0;
     const began = performance.now();
     do {
       await flow(20_000);
       rounds++;
     } while (rounds < 15 && performance.now() - began < 25_000);
     const after = { rss: resident(), ...counters() };
     const grown = Object.fromEntries(Object.keys(after).map((name) => [name, after[name] - before[name]]));
     say(JSON.stringify({ ...grown, batches: taken, live: counters().batches, used: out.statistics().bytesInUse, right: Number(sum > 0) }));
     await out.close();
     await done;`,
  );
  expect(at.batches).toBeGreaterThanOrEqual(20_000);
  expect([at.segments, at.mappings, at.blocks, at.exports, at.live, at.used, at.right]).toEqual([
    0, 0, 0, 0, 0, 0, 1,
  ]);
  expect(at.rss).toBeLessThan(48 * 2 ** 20);
}, 60_000);

test("a thousand subscriptions come and go without a descriptor, a mapping or an allocation more", async () => {
  const at = await figures(
    `const out = await publish(topic);
     const cycle = async (n) => {
       const subscription = subscribe(topic);
       const next = subscription.next();
       await out.send(numbers(n));
       const { value } = await next;
       value.column("i").get(0);
       if (n % 3 === 0) subscription.close();
       value.dispose();
       if (n % 3 !== 0) subscription.close();
       await until(() => out.subscribers === 0);
     };
     for (let n = 0; n < 20; n++) await cycle(n);
     const all = () => ({ descriptors: descriptors(), ...counters() });
     const before = all();
     for (let n = 0; n < 1000; n++) await cycle(n);
     await until(() => out.statistics().leases === 0);
     const after = all();
     say(JSON.stringify(Object.fromEntries(Object.keys(after).map((name) => [name, after[name] - before[name]]))));`,
  );
  expect(at).toEqual(NOTHING_MORE);
}, 60_000);

test("a thousand publishers come and go the same way", async () => {
  const at = await figures(
    `const cycle = async (n) => {
       const out = await publish(topic + (n % 2), { memory: 1 << 20 });
       const subscription = subscribe(topic + (n % 2));
       const next = subscription.next();
       const words = arrow.vectorFromArray(["u", "v"], new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32()));
       await out.send(new arrow.Table({ words }));
       const { value } = await next;
       value.column("words").get(0);
       value.dispose();
       const closed = out.close();
       if (!(await subscription.next()).done) throw new Error("more came");
       await closed;
     };
     for (let n = 0; n < 20; n++) await cycle(n);
     const all = () => ({ descriptors: descriptors(), ...counters() });
     const before = all();
     for (let n = 0; n < 1000; n++) await cycle(n);
     await sleep(100);
     const after = all();
     say(JSON.stringify(Object.fromEntries(Object.keys(after).map((name) => [name, after[name] - before[name]]))));`,
  );
  expect(at).toEqual(NOTHING_MORE);
}, 60_000);
