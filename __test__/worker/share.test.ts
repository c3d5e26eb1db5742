/**
 * Batches between threads of one process: the same bytes at the same address, one lease, which ends when the last thread
 * has let go of it, however that thread ends.
 */
import { describe, test } from "@jest/globals";
import { ends as endsWith, wakeups } from "./worker-support.js";

const SHARING = `
const unopened = () => lane().native.unopenedShares();
const out = await publish(topic);
const from = subscribe(topic);
const sent = async (b, rows) => {
  const next = from.next();
  await out.send(numbers(b, rows));
  return (await next).value;
};
/** No lease, token, handle or block is left. */
const clean = async () => {
  await until(() => out.statistics().leases === 0 && out.statistics().bytesInUse === 0);
  await until(() => unopened() === 0 && counters().batches === 0);
};
const over = async () => { await clean(); from.close(); await out.close(); };
`;

describe.each(wakeups)("woken by %s", (_, wakeup) => {
  const ends = (script: string, said: string[]) => endsWith(SHARING + script, said, wakeup);

  test("a worker opens what was posted to it: same address, schema, metadata, rows and columns", () =>
    ends(
      `const words = arrow.vectorFromArray(["u", "v", null, "u"], new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32()));
       const next = from.next();
       await out.send(new arrow.Table({ words, n: arrow.vectorFromArray([1, 2, 3, 4], new arrow.Int32()) }), { metadata: { a: "b" } });
       const batch = (await next).value;
       const one = worker(\`
         const { whole, part } = await hear();
         const batch = Batch.open(whole);
         const slice = Batch.open(part);
         tell([batch.address, JSON.stringify([...batch.metadata]), batch.schema.fields.map(String).join(), [...batch.column("words")].join(), batch.zeroCopy, batch.via,
               slice.length, slice.columnNames.join(), [...slice.column("n")].join()].join(" | "));
         batch.dispose();
         slice.dispose();\`);
       const slice = batch.slice(1, 3);
       const part = slice.select(["n"]);
       one.postMessage({ whole: batch.share(), part: part.share() });
       slice.dispose();
       part.dispose();
       await once(one, "exit");
       say(one.heard[0] === [batch.address, '[["a","b"]]', batch.schema.fields.map(String).join(), "u,v,,u", "true", "shm", 2, "n", "2,3"].join(" | ") || one.heard[0]);
       batch.dispose();
       // The subscription keeps the stream's current dictionary.
       await until(() => out.statistics().leases === 1 && unopened() === 0 && counters().batches === 0);
       from.close();
       await out.close();`,
      ["true"],
    ));

  test("posted before the sender disposes, opened after: the token kept it", () =>
    ends(
      `const one = worker(\`
         const token = await hear();
         tell("has it");
         await hear();
         const batch = Batch.open(token);
         tell(batch.column("i").get(3));
         batch.dispose();\`);
       const batch = await sent(7);
       one.postMessage(batch.share());
       batch.dispose();
       await one.said("has it");
       say(out.statistics().leases, unopened());
       one.postMessage("go on");
       await once(one, "exit");
       say(one.heard.at(-1));
       await over();`,
      ["1 1", "7003"],
    ));

  test("a token that was cloned twice opens in two workers while one handle lives, and then no more", () =>
    ends(
      `const opener = \`
         const token = await hear();
         let batch;
         for (;;) {
           const what = await hear();
           if (what === "open") try { batch = Batch.open(token); tell(what + batch.column("i").get(1)); } catch (error) { tell(error.code); }
           else if (what === "close") { batch.dispose(); tell("closed"); }
           else break;
         }\`;
       const [a, b] = [worker(opener), worker(opener)];
       const batch = await sent(1);
       const token = batch.share();
       a.postMessage(token);
       b.postMessage(token);
       batch.dispose();
       a.postMessage("open");
       await a.said("open1001");
       b.postMessage("open");
       await b.said("open1001");
       a.postMessage("close");
       await a.said("closed");
       say(out.statistics().leases);
       b.postMessage("close");
       await b.said("closed");
       await clean();
       for (const one of [a, b]) { one.postMessage("open"); await one.said("ERR_LEASE_ENDED"); one.postMessage("end"); await once(one, "exit"); }
       await over();`,
      ["1"],
    ));

  test("two workers race for one token, over and over: both read it or one is told, and nothing is left", () =>
    ends(
      `const opener = \`
         for (;;) {
           const token = await hear();
           if (token === null) break;
           try { const batch = Batch.open(token); tell(batch.column("i").get(0)); batch.dispose(); } catch (error) { tell(error.code); }
         }\`;
       const pair = [worker(opener), worker(opener)];
       let wrong = 0;
       let read = 0;
       for (let n = 1; n <= 200; n++) {
         const batch = await sent(n);
         const token = batch.share();
         for (const one of pair) one.postMessage(token);
         if (n % 2) batch.dispose();
         await until(() => pair.every((one) => one.heard.length === n));
         const heard = pair.map((one) => one.heard[n - 1]);
         const good = heard.filter((what) => what === n * 1000).length;
         read += good;
         if (good === 0 || heard.some((what) => what !== n * 1000 && what !== "ERR_LEASE_ENDED") || (n % 2 === 0 && good !== 2)) wrong++;
         batch.dispose();
       }
       for (const one of pair) { one.postMessage(null); await once(one, "exit"); }
       say(wrong, read >= 300);
       await over();`,
      ["0 true"],
    ));

  test("a worker shares what it received; its end, however it comes, takes back what nobody opened", () =>
    ends(
      `for (const end of ["terminate", "exit", "return"]) {
         const own = topic + end;
         const upstream = await publish(own);
         const one = worker(\`
           const s = subscribe(topic + workerData.end);
           const [a, b] = [(await s.next()).value, (await s.next()).value];
           tell([a.share({ timeout: 1e8 }), b.share({ timeout: Infinity })]);
           a.dispose();
           b.column("i");
           await hear();
           if (workerData.end === "exit") process.exit(0);
           if (workerData.end === "terminate") for (;;);
           s.close();\`, { end });
         const exit = once(one, "exit");
         await upstream.send(numbers(1));
         await upstream.send(numbers(2));
         await until(() => one.heard.length === 1);
         const [[opened, unopenedYet]] = one.heard;
         const batch = Batch.open(opened);
         one.postMessage("end");
         if (end === "terminate") await one.terminate();
         await exit;
         await until(() => upstream.statistics().leases === 1 && unopened() === 0);
         try { Batch.open(unopenedYet); } catch (error) { say(end, error.code, batch.column("i").get(2)); }
         batch.dispose();
         await until(() => upstream.statistics().leases === 0 && upstream.statistics().bytesInUse === 0);
         await upstream.close();
       }
       await over();`,
      ["terminate", "exit", "return"].map((end) => `${end} ERR_LEASE_ENDED 1002`),
    ));

  const states: [string, string][] = [
    ["before it opens", `tell("ready"); setInterval(() => {}, 1000);`],
    ["while it opens and disposes, over and over", `tell("ready"); for (;;) Batch.open(token).dispose();`],
    [
      "while it opens more and more",
      `tell("ready"); globalThis.all = []; for (;;) { all.push(Batch.open(token)); all.at(-1).column("i"); if (all.length > 2000) all = []; }`,
    ],
    [
      "after it opened, holding a handle",
      `globalThis.b = Batch.open(token); tell("ready"); setInterval(() => {}, 1000);`,
    ],
    [
      "holding vectors",
      `globalThis.v = Batch.open(token).column("i"); tell("ready"); setInterval(() => {}, 1000);`,
    ],
    [
      "writing into it",
      `const v = Batch.open(token).column("i").data[0].values; tell("ready"); for (;;) v.fill(7);`,
    ],
    ["after it disposed", `Batch.open(token).dispose(); tell("ready"); setInterval(() => {}, 1000);`],
    [
      "with tokens of its own",
      `const b = Batch.open(token); globalThis.t = [b.share(), b.slice(1).share({ timeout: Infinity })]; b.dispose(); tell("ready"); setInterval(() => {}, 1000);`,
    ],
    [
      "while it shares and revokes",
      `const b = Batch.open(token); tell("ready"); for (let n = 0; ; n++) { const t = b.share(); if (n % 3) t.revoke(); else if (n % 1000 === 0) Batch.open(t); }`,
    ],
    [
      "at an exit of its own",
      `globalThis.b = Batch.open(token); b.column("i"); tell("ready"); process.exit(0);`,
    ],
  ];
  test.each(states)("terminate() of a worker %s leaves no lease, token or byte behind", (_name, code) =>
    ends(
      `for (let round = 0; round < 3; round++) {
         const batch = await sent(round);
         const token = batch.share();
         if (round === 1) batch.dispose();
         const one = worker("const { token } = workerData;" + ${JSON.stringify(code)}, { token });
         const exit = once(one, "exit");
         await one.said("ready");
         if (round === 2) await sleep(20);
         await one.terminate();
         await exit;
         token.revoke();
         if (round !== 1 && batch.column("i").length !== 10) say("gone");
         batch.dispose();
         await clean();
       }
       const last = await sent(5);
       say(last.column("i").get(0));
       last.dispose();
       await over();`,
      ["5000"],
    ),
  );

  test("what one thread writes, another sees, and the next batch in that memory does not", () =>
    ends(
      `const one = worker(\`
         for (;;) {
           const token = await hear();
           if (token === null) break;
           const batch = Batch.open(token);
           batch.column("i").data[0].values.fill(-1);
           tell("wrote");
           if (workerData.hold) await hear();
           batch.dispose();
           tell("disposed");
         }\`, { hold: true });
       const seen = new Set();
       for (let n = 1; n <= 20; n++) {
         one.heard.length = 0;
         const batch = await sent(n, 5000);
         const values = batch.column("i");
         if (values.get(4999) !== n * 1000 + 4999) seen.add("stale " + n);
         one.postMessage(batch.share());
         await one.said("wrote");
         seen.add(values.get(4999));
         if (n % 2) { batch.dispose(); one.postMessage("on"); } else { one.postMessage("on"); await one.said("disposed"); seen.add(values.get(0)); batch.dispose(); }
         await one.said("disposed");
         await clean();
       }
       one.postMessage(null);
       await once(one, "exit");
       say([...seen].join());
       await over();`,
      ["-1"],
    ));

  test("a thousand batches through a worker leave no descriptor, mapping, token or block more", () =>
    ends(
      `const one = worker(\`
         for (;;) {
           const token = await hear();
           if (token === null) break;
           const batch = Batch.open(token);
           tell(batch.column("i").get(1));
           batch.dispose();
         }\`);
       const flow = async (count) => {
         for (let n = 0; n < count; n++) {
           one.heard.length = 0;
           const batch = await sent(n);
           one.postMessage(batch.share());
           batch.dispose();
           await one.said(n * 1000 + 1);
         }
         await clean();
       };
       await flow(100);
       const before = { descriptors: descriptors(), mappings: mappings(), ...counters() };
       await flow(1000);
       const after = { descriptors: descriptors(), mappings: mappings(), ...counters() };
       say(Object.keys(after).filter((name) => after[name] > before[name]).join() || "nothing more");
       one.postMessage(null);
       await once(one, "exit");
       await over();`,
      ["nothing more"],
    ));
});
