/**
 * Leases across processes and threads: warnings as users see them, consumers that keep everything or end meanwhile, and what
 * native code holds.
 */
import { afterEach, expect, test } from "@jest/globals";
import { Child, freshTopic, numbers, runChild, Stage, until } from "../support.js";

const stage = new Stage();
const children: Child[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill();
  await stage.clear();
});

function child(...args: ConstructorParameters<typeof Child>): Child {
  const one = new Child(...args);
  children.push(one);
  return one;
}

test("a consumer that keeps everything is told on standard error; its publisher lists it, and its death ends that", async () => {
  const topic = freshTopic();
  const publisher = await stage.publish(topic);
  const keeper = child(
    `const held = [];
     for await (const batch of subscribe(topic, { leaseWarning: 20 })) held.push(batch), say("held", held.length);`,
    { env: { TOPIC: topic } },
  );
  for (let n = 0; n < 3; n++) await publisher.send(numbers(n));
  await keeper.said("held 3");
  await until(() => (keeper.stderr.match(/LeaseWarning/g) ?? []).length === 3, "three warnings");
  expect(keeper.stderr).toContain(`[ARROWLANE_LEASE_WARNING] LeaseWarning: batch 1 of topic "${topic}"`);
  expect(publisher.leases().map(({ pid, sequence }) => [pid, sequence])).toEqual(
    [1, 2, 3].map((n) => [keeper.process.pid, n]),
  );
  keeper.kill();
  await until(() => publisher.leases().length === 0, "its leases end");
});

test("with ARROWLANE_LEASE_STACKS=1 the warning says where the batch was asked for", async () => {
  const topic = freshTopic();
  const publisher = await stage.publish(topic);
  const keeper = child(
    `const s = subscribe(topic, { leaseWarning: 20 });
     globalThis.held = await (async function whoKeeps() { return (await s.next()).value; })();
     process.stdin.resume();`,
    { env: { TOPIC: topic, ARROWLANE_LEASE_STACKS: "1" } },
  );
  await publisher.send(numbers(1));
  await until(() => keeper.stderr.includes("whoKeeps"), "the stack");
});

test("where no garbage collection ever runs, revocation gives the memory back", async () => {
  const topic = freshTopic();
  const publisher = await stage.publish(topic, { memory: 1 << 18 });
  const keeper = child(
    `let seen = 0;
     for await (const batch of subscribe(topic, { leaseWarning: 0, leaseTimeout: 20, onLeaseTimeout: "revoke" })) {
       batch.column("i").get(0);
       if (++seen === 200) say("all");
     }`,
    {
      env: { TOPIC: topic },
      flags: ["--disable-warning=ARROWLANE_LEASE_TIMEOUT", "--max-semi-space-size=512"],
    },
  );
  for (let n = 0; n < 200; n++) await publisher.send(numbers(n));
  await keeper.said("all");
  await until(() => publisher.leases().length === 0, "all leases end");
});

test("neither what is held nor what is waited for keeps the process alive", async () => {
  const topic = freshTopic();
  const publisher = await stage.publish(topic);
  const ended = runChild(
    `globalThis.held = (await subscribe(topic, { leaseWarning: 1e8, leaseTimeout: 2e8, onLeaseTimeout: "revoke" }).next()).value;
     await sleep(5);
     say("held");`,
    { env: { TOPIC: topic } },
  );
  await publisher.send(numbers(1));
  expect(await ended).toMatchObject({ code: 0, signal: null, stdout: "held\n", stderr: "" });
});

test("a worker is told of its own, and may be terminated in the middle of it", async () => {
  const topic = freshTopic();
  const publisher = await stage.publish(topic, { minSubscribers: 0 });
  const script = `
    import { Worker } from "node:worker_threads";
    const code = \`(async () => {
      const { subscribe } = await import(process.env.ARROWLANE_DIST + "/index.js");
      const { parentPort } = require("node:worker_threads");
      process.on("warning", (w) => parentPort.postMessage(w.code));
      globalThis.held = [];
      for await (const b of subscribe(process.env.TOPIC, { leaseWarning: 5, leaseTimeout: 10, onLeaseTimeout: "revoke" })) held.push(b);
    })()\`;
    for (let round = 0; round < 5; round++) {
      const worker = new Worker(code, { eval: true, execArgv: [] });
      let told;
      const warned = new Promise((resolve) => worker.on("message", (code) => { told = code; resolve(); }));
      say("round", round);
      await warned;
      await worker.terminate();
      say(told);
    }
    process.exit(0);`;
  const one = child(script, { env: { TOPIC: topic } });
  const sending = (async () => {
    while (one.process.exitCode === null && one.process.signalCode === null) {
      await publisher.send(numbers(1));
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  const ended = await one.ended;
  await sending;
  const told = ended.stdout.match(/ARROWLANE_LEASE_(WARNING|TIMEOUT)/g)?.length;
  expect({ code: ended.code, signal: ended.signal, told }).toEqual({ code: 0, signal: null, told: 5 });
  await until(() => publisher.leases().length === 0, "all leases end");
});

test("the publisher's channel tells who joined, left and was given up, and of its end", async () => {
  const topic = freshTopic();
  const keeper = child(
    `process.stdin.once("data", () => process.exit(0));
     const s = subscribe(topic, { leaseWarning: 0 });
     globalThis.held = (await s.next()).value;
     say("held");
     await s.next().catch((error) => say(error.code));`,
    { env: { TOPIC: topic } },
  );
  const ended = await runChild(
    `import { subscribe as listen } from "node:diagnostics_channel";
     listen("arrowlane:publisher", ({ event, topic: of, subscriber }) => say(event, of === topic, subscriber));
     const out = await publish(topic, { evictAfter: 80 });
     await out.send(numbers(1));
     await until(() => out.subscribers === 0);
     const s = subscribe(topic, { leaseWarning: 0 });
     const next = s.next();
     await until(() => out.subscribers === 1);
     await out.send(numbers(2));
     (await next).value.dispose();
     s.close();
     await until(() => out.subscribers === 0);
     await out.close();
     process.exit(0);`,
    { env: { TOPIC: topic } },
  );
  expect(ended.stderr).toBe("");
  expect(ended.stdout.split("\n").slice(0, -1)).toEqual([
    "joined true 1",
    "evicted true 1",
    "joined true 2",
    "left true 2",
    "closed true ",
  ]);
  await keeper.said("ERR_EVICTED");
});
