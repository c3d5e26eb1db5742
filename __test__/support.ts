/** What the tests of several folders share. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { type Batch, type Publisher, publish, type Subscription, subscribe } from "../ts/index.js";
import { lane } from "../ts/native/lane.js";

/** The folder of JavaScript that child processes and workers run: what users run, with the debug binding. */
export const DIST = process.env.ARROWLANE_DIST as string;
/** The repository. */
export const ROOT = join(import.meta.dirname, "..");

/** Whether publishers lend their memory here; otherwise batches come through the socket, and nothing of them is held. */
export const LENDS = process.env.ARROWLANE_MEMORY !== "heap" && process.platform === "linux";

/** A test of what is only true of lent memory. */
export const lent: typeof test.skip = LENDS ? test : test.skip;

/** A topic that nobody else has. */
export function freshTopic(): string {
  return `test-${randomUUID()}`;
}

/** Waits until `condition` holds; no test depends on how long that takes, within reason. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await sleep(2);
  }
}

/** As {@link until}, with a garbage collection before every look. Finalizers run when the loop turns. */
export function untilCollected(condition: () => boolean, what: string): Promise<void> {
  return until(() => {
    (globalThis as { gc?: () => void }).gc?.();
    return condition();
  }, what);
}

/** Lets everything happen that is about to. */
export async function settle(turns = 20): Promise<void> {
  for (let n = 0; n < turns; n++) await turn();
  await sleep(5);
}

/** Whether a promise is settled by now. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  await settle();
  const pending = Symbol("pending");
  return (await Promise.race([promise.catch(() => {}), Promise.resolve(pending)])) === pending;
}

/** The `code` that a promise is rejected with. */
export async function codeOf(promise: Promise<unknown> | (() => unknown)): Promise<unknown> {
  try {
    await (typeof promise === "function" ? promise() : promise);
  } catch (error) {
    return (error as { code?: unknown }).code ?? error;
  }
  return "nothing was thrown";
}

/** Int32 and Float64 columns `i` and `x`: row n of batch b is b·1000+n, and half of it. */
export function numbers(b: number, rows = 10): arrow.RecordBatch {
  const i = Int32Array.from({ length: rows }, (_, n) => b * 1000 + n);
  const table = new arrow.Table({
    i: arrow.vectorFromArray(i),
    x: arrow.vectorFromArray(Float64Array.from(i, (n) => n / 2)),
  });
  return table.batches[0] ?? new arrow.RecordBatch(table.schema);
}

export const numbersSchema = new arrow.Schema([
  new arrow.Field("i", new arrow.Int32(), false),
  new arrow.Field("x", new arrow.Float64(), false),
]);

/** The first value of column `i`. */
export function first(batch: Batch): number {
  return batch.column("i").get(0) as number;
}

type Closable = { close(): unknown };

/** Publishers, subscriptions and child processes of one test, which end when it ends, however it ends. */
export class Stage {
  readonly #open: Closable[] = [];
  readonly #children: Child[] = [];

  async publish(...args: Parameters<typeof publish>): Promise<Publisher> {
    const publisher = await publish(...args);
    this.#open.unshift({
      close: async () => {
        // A send that was left waiting keeps the publisher from closing, and the process from ending.
        let closed = false;
        const done = publisher.close().then(() => {
          closed = true;
        });
        await Promise.race([done, sleep(5000, undefined, { ref: false })]);
        if (!closed) throw new Error("the test leaves a send waiting");
      },
    });
    return publisher;
  }

  subscribe(...args: Parameters<typeof subscribe>): Subscription {
    const subscription = subscribe(...args);
    this.#open.unshift(subscription);
    return subscription;
  }

  /** A child process to which `topic` is this one. */
  child(topic: string, script: string, env: Record<string, string> = {}): Child {
    const child = new Child(script, { env: { TOPIC: topic, ...env } });
    this.#children.push(child);
    return child;
  }

  async clear(): Promise<void> {
    for (const child of this.#children.splice(0)) {
      child.kill();
      await child.ended;
    }
    for (const one of this.#open.splice(0)) await one.close();
    await settle();
  }
}

/** The next batch; fails at the end of the stream. */
export async function take(subscription: Subscription): Promise<Batch> {
  const { done, value } = await subscription.next();
  if (done) throw new Error("the stream ended");
  return value;
}

/** A publisher with `count` subscriptions that take part. */
export async function connected(
  stage: Stage,
  options: Parameters<typeof publish>[1] = {},
  count = 1,
): Promise<{ publisher: Publisher; subscriptions: Subscription[]; pending: Promise<Batch>[] }> {
  const topic = freshTopic();
  const publisher = await stage.publish(topic, options);
  const subscriptions = Array.from({ length: count }, () => stage.subscribe(topic));
  const pending = subscriptions.map(take);
  for (const one of pending) one.catch(() => {});
  await until(() => publisher.subscribers === count, `${count} subscribers take part`);
  return { publisher, subscriptions, pending };
}

/** Native allocations of this process. */
export function counters() {
  return lane().native.counters();
}

/** Open descriptors of a process; those that this look needs itself are not counted. */
export function descriptors(pid: number | "self" = "self"): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Mapped memfds of a process. */
export function sharedMappings(pid: number | "self" = "self"): number {
  return readFileSync(`/proc/${pid}/maps`, "utf8")
    .split("\n")
    .filter((line) => line.includes("/memfd:")).length;
}

/** How a child process ended, and what it said. */
export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Imports for scripts of child processes. */
const PRELUDE = `
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import * as arrow from "apache-arrow";
const { publish, subscribe, Batch } = await import(process.env.ARROWLANE_DIST + "/index.js");
const topic = process.env.TOPIC;
const say = (...words) => process.stdout.write(words.join(" ") + "\\n");
const numbers = (b, rows = 10) => {
  const i = Int32Array.from({ length: rows }, (_, n) => b * 1000 + n);
  return new arrow.Table({ i: arrow.vectorFromArray(i, new arrow.Int32()), x: arrow.vectorFromArray(Float64Array.from(i, (n) => n / 2)) }).batches[0];
};
const until = async (condition) => { while (!condition()) await sleep(2); };
`;

/** A child process that runs JavaScript (an ES module) with arrowlane at hand. */
export class Child {
  readonly process: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = "";
  stderr = "";

  constructor(
    script: string,
    { env = {}, flags = [] }: { env?: Record<string, string>; flags?: string[] } = {},
  ) {
    const args = ["--expose-gc", ...flags, "--input-type=module", "-e", PRELUDE + script];
    this.process = spawn(process.execPath, args, {
      cwd: ROOT,
      env: { ...process.env, NODE_OPTIONS: "", ARROWLANE_DIST: DIST, ...env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.process.stdout?.on("data", (text) => {
      this.stdout += text;
    });
    this.process.stderr?.on("data", (text) => {
      this.stderr += text;
    });
    this.process.stdin?.on("error", () => {});
    this.ended = new Promise((resolve) => {
      this.process.on("close", (code, signal) =>
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr }),
      );
    });
  }

  /** Waits until it has printed a line. */
  async said(line: string): Promise<void> {
    await until(
      () => this.stdout.split("\n").includes(line) || this.process.exitCode !== null,
      `the child says ${line}; it said ${this.stdout} ${this.stderr}`,
    );
    if (!this.stdout.split("\n").includes(line)) {
      throw new Error(`the child ended before it said ${line}: ${this.stdout}${this.stderr}`);
    }
  }

  tell(line: string): void {
    this.process.stdin?.write(`${line}\n`);
  }

  kill(signal: NodeJS.Signals = "SIGKILL"): void {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill(signal);
  }
}

/** Kills a child that still runs. */
export async function kill(child: Child): Promise<void> {
  child.kill();
  expect((await child.ended).signal).toBe("SIGKILL");
}

/** Runs a child to its end, which must come by itself. */
export async function runChild(
  script: string,
  options?: ConstructorParameters<typeof Child>[1],
): Promise<Ended> {
  const child = new Child(script, options);
  const deadline = setTimeout(() => child.kill(), 110_000);
  try {
    return await child.ended;
  } finally {
    clearTimeout(deadline);
  }
}
