import { type ChildProcess, fork, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Outcome, Task } from "./child.js";

/** Where the two processes run. */
export interface Placement {
  /** `one`: both on the same processor; `split`: each on its own; `free`: where the system puts them. */
  name: "one" | "split" | "free";
  /** The processors of the two; `undefined` where they are not fixed. */
  processors: [number | undefined, number | undefined];
}

const program = fileURLToPath(new URL("./child.js", import.meta.url));

/** What can be fixed on this machine: both on one processor, and on two. Says on stderr what cannot. */
export function placements(): Placement[] {
  const allowed = allowedProcessors();
  if (allowed.length === 0 || spawnSync("taskset", ["--version"]).status !== 0) {
    process.stderr.write("bench: taskset is missing, so the processes run wherever the system puts them\n");
    return [{ name: "free", processors: [undefined, undefined] }];
  }
  const [first, second] = allowed;
  const one: Placement = { name: "one", processors: [first, first] };
  if (second !== undefined) return [one, { name: "split", processors: [first, second] }];
  process.stderr.write("bench: there is one processor only, so nothing is measured across two\n");
  return [one];
}

/** The processors that this process may run on. */
export function allowedProcessors(): number[] {
  const [, list] = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return (list ?? "").split(",").flatMap((range) => {
    const [from, to = from] = range.split("-").map(Number);
    return range === "" ? [] : Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
}

/** A folder for the sockets of a benchmark, which goes with it. */
export function socketFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), "arrowlane-bench-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Two processes of the same program that do the two halves of a task. */
export class Pair {
  readonly #first: Helper;
  readonly #second: Helper;

  constructor(placement: Placement, folder: string) {
    const [a, b] = placement.processors;
    this.#first = new Helper(a, folder);
    this.#second = new Helper(b, folder);
  }

  /** Runs both halves; what the first, the measuring one, and the second found. */
  async run(task: Task): Promise<{ first: Outcome; second: Outcome }> {
    const first = this.#first.run({ ...task, half: "first" });
    const failed = first.then(
      () => undefined,
      (error) => ({ error }),
    );
    // The second one connects to what the first one opens.
    const early = await Promise.race([this.#first.ready(), failed]);
    if (early !== undefined) throw early.error;
    const [a, b] = await Promise.all([first, this.#second.run({ ...task, half: "second" })]);
    return { first: a, second: b };
  }

  stop(): void {
    this.#first.stop();
    this.#second.stop();
  }
}

/** One process that does a half. */
export class Helper {
  readonly #child: ChildProcess;
  #settle: { resolve(outcome: Outcome): void; reject(error: Error): void } | undefined;
  #ready: (() => void) | undefined;
  #isReady = false;

  constructor(processor: number | undefined, folder: string) {
    const env = { ...process.env, ARROWLANE_RUNTIME_DIR: folder };
    const stdio = ["ignore", "inherit", "inherit", "ipc"] as const;
    const start =
      processor === undefined
        ? { execPath: process.execPath, execArgv: [] }
        : { execPath: "taskset", execArgv: ["-c", String(processor), process.execPath] };
    this.#child = fork(program, [], { ...start, env, stdio: [...stdio], serialization: "advanced" });
    this.#child.on("message", (message: { ready: true } | { outcome: Outcome } | { failed: string }) => {
      if ("ready" in message) {
        this.#isReady = true;
        this.#ready?.();
      } else if ("outcome" in message) this.#settle?.resolve(message.outcome);
      else this.#settle?.reject(new Error(message.failed));
    });
    const gone = (why: string) => this.#settle?.reject(new Error(`a process of the benchmark ended: ${why}`));
    this.#child.on("error", (error) => gone(error.message));
    this.#child.on("exit", (code, signal) => gone(signal ?? `exit status ${code}`));
  }

  run(task: Task): Promise<Outcome> {
    this.#isReady = false;
    return new Promise<Outcome>((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#child.send(task);
    });
  }

  ready(): Promise<undefined> {
    if (this.#isReady) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#ready = () => resolve(undefined);
    });
  }

  stop(): void {
    if (this.#child.connected) this.#child.disconnect();
  }
}
