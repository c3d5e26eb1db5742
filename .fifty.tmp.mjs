
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import * as arrow from "apache-arrow";
const { publish, subscribe, Batch } = await import(process.env.ARROWLANE_DIST + "/index.js");
const topic = process.env.TOPIC;
const say = (...words) => process.stdout.write(words.join(" ") + "\n");
const numbers = (b, rows = 10) => {
  const i = Int32Array.from({ length: rows }, (_, n) => b * 1000 + n);
  return new arrow.Table({ i: arrow.vectorFromArray(i, new arrow.Int32()), x: arrow.vectorFromArray(Float64Array.from(i, (n) => n / 2)) }).batches[0];
};
const until = async (condition) => { while (!condition()) await sleep(2); };

import { Worker } from "node:worker_threads";
const worker = (code, data = {}) => {
  const it = new Worker(`(async () => {
    const { parentPort, workerData } = require("node:worker_threads");
    const arrow = require("apache-arrow");
    const { publish, subscribe, Batch } = await import(process.env.ARROWLANE_DIST + "/index.js");
    const topic = process.env.TOPIC;
    const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
    const numbers = (b, rows = 10) => new arrow.Table({ i: arrow.vectorFromArray(Int32Array.from({ length: rows }, (_, n) => b * 1000 + n)) }).batches[0];
    const tell = (what) => parentPort.postMessage(what);
    ${code}
  })().catch((error) => { console.error(error); process.exit(1); })`, { eval: true, workerData: data, execArgv: [] });
  it.heard = [];
  it.on("message", (what) => it.heard.push(what));
  it.on("error", (error) => { console.error(error); process.exitCode = 1; });
  it.said = (what) => until(() => it.heard.includes(what));
  return it;
};
const descriptors = () => readdirSync("/proc/self/fd").length;
const mappings = () => readFileSync("/proc/self/maps", "utf8").split("\n").filter((l) => l.includes("/memfd:")).length;
import { readdirSync, readFileSync } from "node:fs";
const { lane } = await import(process.env.ARROWLANE_DIST + "/native/lane.js");
const counters = () => lane().native.counters();const round = async (n) => {
         const out = await publish(topic + n);
         const one = worker(`
           const s = subscribe(topic + workerData.n);
           const b = (await s.next()).value;
           b.column("i");
           const own = await publish(topic + "-" + workerData.n, { minSubscribers: 0 });
           await own.send(numbers(1));
           tell("ready");
           if (workerData.n % 2) { b.dispose(); s.close(); await own.close(); } else setInterval(() => {}, 1000);`, { n });
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
       for (let n = 0; n < 20; n += 2) await Promise.all([round(n), round(n + 1)]);
       say('rounds'); setInterval(()=>console.error(descriptors(), mappings(), counters(), before),2000).unref();
import('node:fs').then(fs=>fs.readdirSync('/proc/self/fd').forEach(f=>{try{console.error(f, fs.readlinkSync('/proc/self/fd/'+f))}catch{}}));await until(() => descriptors() <= before[0] && mappings() <= before[1]);
       const after = counters();
       for (const name of ["segments", "mappings", "blocks", "exports", "batches"]) {
         if (after[name] > before[2][name]) say(name, before[2][name], after[name]);
       }
       say("clean");