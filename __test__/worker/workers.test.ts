/**
 * Workers are environments of their own: each has its own handles, and its end, whenever and however it comes, gives
 * back everything that it held and takes nobody else with it.
 */
import { describe, test } from "@jest/globals";
import { ends as endsWith, wakeups } from "./worker-support.js";

describe.each(wakeups)("woken by %s", (_, wakeup) => {
  const ends = (script: string, said: string[]) => endsWith(script, said, wakeup);

  test("one publishes, others and the main thread subscribe", () =>
    ends(
      `const readers = Array.from({ length: 3 }, () => worker(\`
         let sum = 0;
         for await (const batch of subscribe(topic)) { for (const v of batch.column("i")) sum += v; batch.dispose(); }
         tell(sum);\`));
       const read = (async () => {
         let sum = 0;
         for await (const batch of subscribe(topic)) { for (const v of batch.column("i")) sum += v; batch.dispose(); }
         return sum;
       })();
       const writer = worker(\`
         const out = await publish(topic, { minSubscribers: 4 });
         for (let b = 0; b < 50; b++) await out.send(numbers(b));
         await out.close();\`);
       const exits = [...readers, writer].map((one) => once(one, "exit"));
       say(await read);
       await Promise.all(exits);
       say(readers.map((one) => one.heard[0]).join());`,
      ["12252250", "12252250,12252250,12252250"],
    ));

  const states: [string, string][] = [
    [
      "an idle subscription",
      `globalThis.s = subscribe(topic); const b = (await s.next()).value; b.dispose(); tell("ready"); setInterval(() => {}, 1000);`,
    ],
    [
      "a pending next()",
      `const s = subscribe(topic); (await s.next()).value.dispose(); s.next(); tell("ready");`,
    ],
    ["a subscription that waits for a publisher", `subscribe(topic + "-nobody").next(); tell("ready");`],
    ["a pending send", `const out = await publish(topic + "-own"); out.send(numbers(1)); tell("ready");`],
    [
      "an open writer",
      `globalThis.out = await publish(topic + "-own"); globalThis.w = await out.allocate(numbers(1).schema, 100); w.column("i").fill(1); tell("ready"); setInterval(() => {}, 1000);`,
    ],
    [
      "held batches",
      `globalThis.held = []; const s = subscribe(topic); for await (const b of s) { b.column("i"); held.push(b, b.slice(1), b.copy()); tell("ready"); }`,
    ],
    [
      "a busy callback",
      `await subscribe(topic).forEach((b) => { b.column("i"); tell("ready"); for (;;); });`,
    ],
    [
      "a publish under way",
      `tell("ready"); for (;;) { const out = await publish(topic + "-own"); await out.close(); }`,
    ],
    [
      "a closing publisher",
      `const out = await publish(topic + "-own"); out.send(numbers(1)).catch(() => {}); out.close(); tell("ready");`,
    ],
    [
      "an exit of its own",
      `const b = (await subscribe(topic).next()).value; b.column("i"); tell("ready"); process.exit(0);`,
    ],
  ];
  test.each(states)("terminate() with %s ends it cleanly and every lease returns", (_name, code) =>
    ends(
      `const out = await publish(topic, { minSubscribers: 0 });
       for (let round = 0; round < 3; round++) {
         const one = worker(${JSON.stringify(code)});
         const exit = once(one, "exit");
         while (!one.heard.includes("ready")) { await out.send(numbers(1)); await sleep(2); }
         await one.terminate();
         await exit;
         await until(() => out.subscribers === 0 && out.statistics().leases === 0);
         await until(() => out.statistics().bytesInUse === 0);
       }
       const next = subscribe(topic).next();
       await until(() => out.subscribers === 1);
       await out.send(numbers(7));
       say("alive", (await next).value.column("i").get(0));
       process.exit(0);`,
      ["alive 7000"],
    ),
  );

  test(
    "fifty workers leave no descriptor, no mapping and no allocation behind",
    () =>
      ends(
        `const round = async (n) => {
         const out = await publish(topic + n, { memory: 1 << 20 });
         const one = worker(\`
           const s = subscribe(topic + workerData.n);
           const b = (await s.next()).value;
           b.column("i");
           const own = await publish(topic + "-" + workerData.n, { minSubscribers: 0, memory: 1 << 20 });
           await own.send(numbers(1));
           tell("ready");
           if (workerData.n % 2) { b.dispose(); s.close(); await own.close(); } else setInterval(() => {}, 1000);\`, { n });
         const exit = once(one, "exit");
         await out.send(numbers(n));
         await one.said("ready");
         if (n % 2 === 0) await one.terminate();
         await exit;
         await until(() => out.statistics().leases === 0 && out.statistics().bytesInUse === 0);
         await out.close();
       };
       for (let n = 0; n < 6; n++) await round(n);
       await sleep(1500);
       const before = [descriptors(), mappings(), counters()];
       for (let n = 0; n < 50; n += 2) await Promise.all([round(n), round(n + 1)]);
       await until(() => descriptors() <= before[0] && mappings() <= before[1]);
       const after = counters();
       for (const name of ["segments", "mappings", "blocks", "exports", "batches"]) {
         if (after[name] > before[2][name]) say(name, before[2][name], after[name]);
       }
       say("clean");`,
        ["clean"],
      ),
    120_000,
  );
});
