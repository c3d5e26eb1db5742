/** Coming and going leaves nothing behind: no descriptor, no mapping, no byte. */
import { expect, test } from "@jest/globals";
import { freshTopic, runChild } from "../support.js";

const MEASURE = `
import { readdirSync, readFileSync } from "node:fs";
const { lane } = await import(process.env.ARROWLANE_DIST + "/native/lane.js");
const figures = () => {
  const descriptors = readdirSync("/proc/self/fd").length;
  const mappings = readFileSync("/proc/self/maps", "utf8").split("\\n").filter((line) => line.includes("/memfd:")).length;
  return { descriptors, mappings, ...lane().native.counters() };
};
/** What the process has beside JavaScript's own heap, which grows and shrinks as it likes. */
const native = () => process.memoryUsage().rss - process.memoryUsage().heapTotal;
`;

test("a thousand subscriptions that come and go leave no descriptor, mapping or block, and no memory", async () => {
  const { code, stdout, stderr } = await runChild(
    `${MEASURE}
     const out = await publish(topic, { last: true });
     const asking = [{}, { last: true }, { overflow: "drop-oldest", queue: { batches: 3 } }, { overflow: "drop-newest" }];
     const cycles = async (count) => {
       for (let n = 0; n < count; n++) {
         const all = subscribe(topic, asking[n % asking.length]);
         const next = all.next();
         await until(() => out.subscribers === 1);
         await out.send(numbers(n));
         await out.send(numbers(n));
         const { value } = await next;
         // One in its hand, one not taken, in turns closed before and after.
         if (n % 2) all.close();
         value.dispose();
         all.close();
         await until(() => out.subscriptions().length === 0);
       }
       gc();
       await sleep(20);
       gc();
     };
     await cycles(100);
     const before = figures();
     // What leaks grows each time; what the system keeps for itself does not.
     let grown = Infinity;
     for (let part = 0; part < 4; part++) {
       const was = native();
       await cycles(250);
       grown = Math.min(grown, native() - was);
     }
     const after = figures();
     console.log(JSON.stringify({ before, after, grown }));
     await out.close();`,
    { env: { TOPIC: freshTopic() } },
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const { before, after, grown } = JSON.parse(stdout);
  expect(after).toEqual(before);
  // Less than half a page for each, so that nothing of a subscription's own can have stayed.
  expect(grown).toBeLessThan(250 * 2048);
}, 120_000);

test("24 topics with 8 subscribers each in one process: everybody gets everything, and nothing is left", async () => {
  const { code, stdout, stderr } = await runChild(
    `${MEASURE}
     figures(); // makes what an environment has once
     const before = figures();
     const topics = Array.from({ length: 24 }, (_, t) => topic + "-" + t);
     const asking = [{}, {}, {}, {}, {}, {}, { overflow: "drop-oldest" }, { overflow: "drop-newest" }];
     const publishers = await Promise.all(topics.map((name) => publish(name, { minSubscribers: 8, memory: 1 << 22 })));
     const readers = topics.flatMap((name) => asking.map(async (options) => {
       let count = 0;
       const all = subscribe(name, options);
       for await (const batch of all) {
         if (batch.column("i").get(0) !== 1000 * (count + all.statistics().dropped)) throw new Error("out of order");
         count++;
         batch.dispose();
       }
       return count + all.statistics().dropped;
     }));
     await Promise.all(publishers.map(async (out) => {
       for (let b = 0; b < 50; b++) await out.send(numbers(b));
       const waiting = out.subscriptions().filter(({ policy }) => policy.overflow === "wait");
       if (waiting.length !== 6 || waiting.some(({ sent }) => sent !== 50)) throw new Error("not all were sent");
       await out.close();
     }));
     const counts = await Promise.all(readers);
     await until(() => figures().descriptors <= before.descriptors + 2);
     const { blocks, mappings, batches, segments } = figures();
     console.log(JSON.stringify({ counts: [...new Set(counts)], blocks, mappings, batches }));`,
    { env: { TOPIC: freshTopic() } },
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(JSON.parse(stdout)).toMatchObject({ counts: [50], blocks: 0, batches: 0 });
}, 120_000);
