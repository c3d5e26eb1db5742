/** What the tests of workers share: scripts of child processes that start workers. */
import { expect } from "@jest/globals";
import { freshTopic, runChild } from "../support.js";

/** For scripts: `worker(code)` runs code in a worker that says things by `tell` and takes them by `hear`. */
export const WORKERS = `
import { Worker } from "node:worker_threads";
const worker = (code, data = {}) => {
  const it = new Worker(\`(async () => {
    const { parentPort, workerData } = require("node:worker_threads");
    const arrow = require("apache-arrow");
    const { publish, subscribe, Batch } = await import(process.env.ARROWLANE_DIST + "/index.js");
    const topic = process.env.TOPIC;
    const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
    const numbers = (b, rows = 10) => new arrow.Table({ i: arrow.vectorFromArray(Int32Array.from({ length: rows }, (_, n) => b * 1000 + n)) }).batches[0];
    const tell = (what) => parentPort.postMessage(what);
    let inbox;
    const hear = async () => {
      if (inbox === undefined) {
        inbox = [];
        parentPort.on("message", (what) => inbox.push(what)).unref();
      }
      while (inbox.length === 0) await sleep(1);
      return inbox.shift();
    };
    \${code}
  })().catch((error) => { console.error(error); process.exit(1); })\`, { eval: true, workerData: data, execArgv: [] });
  it.heard = [];
  it.on("message", (what) => it.heard.push(what));
  it.on("error", (error) => { console.error(error); process.exitCode = 1; });
  it.said = (what) => until(() => it.heard.includes(what));
  return it;
};
const descriptors = () => readdirSync("/proc/self/fd").length;
const mappings = () => readFileSync("/proc/self/maps", "utf8").split("\\n").filter((l) => l.includes("/memfd:")).length;
import { readdirSync, readFileSync } from "node:fs";
const { lane } = await import(process.env.ARROWLANE_DIST + "/native/lane.js");
const counters = () => lane().native.counters();
`;

/** How an environment may be woken. */
export const wakeups = [
  ["the loop's own poll handle", {}],
  ["a threadsafe function", { ARROWLANE_WAKEUP: "threadsafe-function" }],
] as const;

/** Runs a script of a child process, which has to say these lines and nothing else, and end well. */
export async function ends(script: string, said: string[], env: Record<string, string> = {}): Promise<void> {
  const { code, signal, stdout, stderr } = await runChild(WORKERS + script, {
    env: { TOPIC: freshTopic(), ...env },
  });
  expect({ code, signal, stderr, said: stdout.split("\n").slice(0, -1) }).toEqual({
    code: 0,
    signal: null,
    stderr: "",
    said,
  });
}
