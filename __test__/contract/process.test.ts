/**
 * How arrowlane lives in a process: it keeps it alive for what is awaited and for nothing else, it leaves nothing
 * behind at its end, and callbacks run as any callback of Node's does. With both ways of waking the event loop.
 */
import { describe, expect, test } from "@jest/globals";
import { freshTopic, runChild } from "../support.js";

const wakeups = [
  ["the loop's own poll handle", {}],
  ["a threadsafe function", { ARROWLANE_WAKEUP: "threadsafe-function" }],
] as const;

describe.each(wakeups)("woken by %s", (_, wakeup) => {
  const run = (script: string) => runChild(script, { env: { TOPIC: freshTopic(), ...wakeup } as never });
  const ends = async (script: string, said: string[]) => {
    const { code, signal, stdout, stderr } = await run(script);
    expect({ code, signal, stderr, said: stdout.split("\n").slice(0, -1) }).toEqual({
      code: 0,
      signal: null,
      stderr: "",
      said,
    });
  };

  test("an idle publisher, an idle subscription and held batches let the process end", () =>
    ends(
      `const out = await publish(topic);
       const subscription = subscribe(topic);
       const next = subscription.next();
       await out.send(numbers(1));
       globalThis.held = (await next).value;
       globalThis.column = held.column("i");
       say("held", column.get(0));`,
      ["held 1000"],
    ));

  test("a pending next() keeps it alive until the batch comes from another process", () =>
    ends(
      `import { spawn } from "node:child_process";
       if (process.env.CHILD) {
         const out = await publish(topic);
         await sleep(200);
         await out.send(numbers(5));
         await out.close();
       } else {
         const args = process.execArgv.concat(process.argv.slice(1));
         const source = process.env.SOURCE;
         spawn(process.execPath, ["--input-type=module", "-e", \`
           import * as arrow from "apache-arrow";
           const { publish } = await import(process.env.ARROWLANE_DIST + "/index.js");
           const out = await publish(process.env.TOPIC);
           await out.send(new arrow.Table({ i: arrow.vectorFromArray(Int32Array.of(5)) }));
           await out.close();
         \`], { stdio: "inherit" }).unref();
         for await (const batch of subscribe(topic)) { say("got", batch.column("i").get(0)); batch.dispose(); }
         say("end");
       }`,
      ["got 5", "end"],
    ));

  test("a pending send keeps it alive until it is given up", () =>
    ends(
      `const out = await publish(topic);
       const abort = new AbortController();
       const timer = setTimeout(() => abort.abort(new Error("enough")), 300);
       await out.send(numbers(1), { signal: abort.signal }).catch((error) => say(error.message));
       const writer = await out.allocate(numbers(1).schema, 5);
       writer.column("i").fill(1);
       say("done");`,
      ["enough", "done"],
    ));

  test("process.exit with live handles is clean", () =>
    ends(
      `const out = await publish(topic);
       const subscription = subscribe(topic);
       const next = subscription.next();
       await out.send(numbers(1));
       const { value } = await next;
       const column = value.column("x");
       for (let n = 0; n < 20; n++) out.send(numbers(n)).catch(() => {});
       subscription.next();
       globalThis.kept = [value, column, out, subscription];
       say("bye");
       process.exit(0);`,
      ["bye"],
    ));

  test("an exception that nobody catches surfaces, and the stream goes on where it is caught", () =>
    ends(
      `process.on("uncaughtException", (error) => say("uncaught", error.message));
       const out = await publish(topic);
       const subscription = subscribe(topic);
       const failing = subscription.forEach(() => { throw new Error("of the callback"); });
       failing.catch((error) => { throw new Error("again " + error.message); });
       await out.send(numbers(1));
       await until(() => out.subscribers === 0);
       const next = subscribe(topic).next();
       await until(() => out.subscribers === 1);
       await out.send(numbers(2));
       say("got", (await next).value.column("i").get(0));`,
      ["uncaught again of the callback", "got 2000"],
    ));

  test("an uncaught exception ends the process as any does", async () => {
    const { code, stderr } = await run(
      `const out = await publish(topic, { onSubscriber: async () => { throw new Error("of onSubscriber"); } });
       await subscribe(topic).next();
       await sleep(5000);`,
    );
    expect(code).toBe(1);
    expect(stderr).toContain("of onSubscriber");
  });

  test("AsyncLocalStorage survives, in loops, callbacks and onSubscriber", () =>
    ends(
      `import { AsyncLocalStorage } from "node:async_hooks";
       const storage = new AsyncLocalStorage();
       const out = await storage.run("publisher", () => publish(topic, {
         onSubscriber: async (stream) => {
           say("serve", storage.getStore());
           for (let n = 0; n < 2; n++) await stream.send(numbers(n));
           say("served", storage.getStore());
         },
       }));
       await storage.run("loop", async () => {
         for await (const batch of subscribe(topic)) { say("loop", storage.getStore()); batch.dispose(); }
       });
       await storage.run("callback", () => subscribe(topic).forEach((batch) => { say("callback", storage.getStore()); batch.dispose(); }));
       say(String(storage.getStore()));`,
      [
        "serve publisher",
        "served publisher",
        "loop loop",
        "loop loop",
        "serve publisher",
        "served publisher",
        "callback callback",
        "callback callback",
        "undefined",
      ],
    ));

  test("microtasks and ticks of one batch run before the next turn's", () =>
    ends(
      `const out = await publish(topic);
       const subscription = subscribe(topic);
       const order = [];
       const done = subscription.next().then(() => {
         order.push("then");
         process.nextTick(() => order.push("tick"));
         queueMicrotask(() => order.push("microtask"));
         setImmediate(() => order.push("immediate"));
       });
       await out.send(numbers(1));
       await done;
       await sleep(20);
       say(order.join());`,
      ["then,microtask,tick,immediate"],
    ));

  test("thousands of batches, in both directions at once, all arrive in order", () =>
    ends(
      `const [a, b] = [await publish(topic + "a"), await publish(topic + "b")];
       const read = async (name) => {
         let n = 0;
         for await (const batch of subscribe(topic + name)) {
           if (batch.column("i").get(0) !== n++ * 1000) throw new Error("out of order");
           batch.dispose();
         }
         return n;
       };
       const reads = [read("a"), read("b")];
       for (let n = 0; n < 2000; n++) await Promise.all([a.send(numbers(n, 1)), b.send(numbers(n, 1))]);
       await Promise.all([a.close(), b.close()]);
       say(...(await Promise.all(reads)));`,
      ["2000 2000"],
    ));
});
