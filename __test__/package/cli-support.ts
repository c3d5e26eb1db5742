/** The real command line as child processes, each test with a folder of sockets and files of its own. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const root = process.cwd();
const dist = process.env.ARROWLANE_DIST as string;

/** A command that has ended. */
export interface Ended {
  /** Exit status, or the name of the signal. */
  status: number | string;
  stdout: Buffer;
  stderr: string;
  /** Standard output as one JSON object per line. */
  // biome-ignore lint/suspicious/noExplicitAny: every test knows what it expects
  events: any[];
}

export class Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  #stdout: Buffer[] = [];
  #stderr = "";

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.on("data", (data: Buffer) => this.#stdout.push(data));
    child.stderr?.on("data", (data: Buffer) => {
      this.#stderr += data;
    });
    this.ended = new Promise((resolve) => {
      child.on("close", (code, signal) => {
        const stdout = Buffer.concat(this.#stdout);
        const events = () => this.#lines().map((line) => JSON.parse(line));
        const ended = { status: code ?? (signal as string), stdout, stderr: this.#stderr };
        resolve(Object.defineProperty(ended, "events", { get: events }) as Ended);
      });
    });
  }

  #lines(): string[] {
    return Buffer.concat(this.#stdout).toString().split("\n").filter(Boolean);
  }

  /** The first line of standard output that was said as JSON; it has come. */
  firstLine<T>(): T {
    return JSON.parse(this.#lines()[0]) as T;
  }

  /** Resolves when standard output contains the text; rejects when the command ends without it. */
  says(text: string): Promise<void> {
    const there = () => Buffer.concat(this.#stdout).includes(text);
    return new Promise((resolve, reject) => {
      const look = () => there() && resolve();
      this.child.stdout?.on("data", look);
      look();
      this.ended.then(({ stderr }) => (there() ? resolve() : reject(new Error(`it ended: ${stderr}`))));
    });
  }
}

/** A folder for one test file, and commands that run in it. */
export class Workplace {
  readonly folder = mkdtempSync(join(tmpdir(), "arrowlane-cli-"));
  readonly #running = new Set<Running>();
  #main = join(dist, "cli", "main.js");

  constructor() {
    mkdirSync(join(this.folder, "sockets"), { mode: 0o700 });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Runs the commands from a copy that has no apache-arrow anywhere above it. */
  withoutApacheArrow(): void {
    const copy = this.path("installed");
    const binary = (name: string) => name.endsWith(".node");
    cpSync(dist, join(copy, "dist"), { recursive: true, filter: (source) => !binary(source) });
    for (const name of readdirSync(join(dist, "native")).filter(binary)) {
      symlinkSync(join(dist, "native", name), join(copy, "dist", "native", name));
    }
    mkdirSync(join(copy, "node_modules"));
    for (const name of ["commander"])
      symlinkSync(join(root, "node_modules", name), join(copy, "node_modules", name));
    cpSync(join(root, "package.json"), join(copy, "package.json"));
    this.#main = join(copy, "dist", "cli", "main.js");
  }

  start(...args: string[]): Running {
    return this.spawn(this.#main, args);
  }

  run(...args: string[]): Promise<Ended> {
    return this.start(...args).ended;
  }

  /** Any script of ours, with this folder of sockets. */
  spawn(script: string, args: string[], program = process.execPath): Running {
    const python = { PYTHONPATH: join(root, "interop", "python"), PYTHONDONTWRITEBYTECODE: "1" };
    const env = { ...process.env, ...python, ARROWLANE_RUNTIME_DIR: this.path("sockets"), NODE_OPTIONS: "" };
    const child = spawn(program, [script, ...args], { cwd: this.folder, env });
    const running = new Running(child);
    this.#running.add(running);
    running.ended.then(() => this.#running.delete(running));
    return running;
  }

  /** Publishes a file and subscribes to it with these arguments. */
  async send(file: string, ...args: string[]): Promise<{ publisher: Ended; subscriber: Ended }> {
    const publisher = this.start("publish", "topic", file, "--json");
    const subscriber = this.start("subscribe", "topic", ...args);
    const [p, s] = await Promise.all([publisher.ended, subscriber.ended]);
    return { publisher: p, subscriber: s };
  }

  /** Ends what still runs and removes the folder. */
  async leave(): Promise<void> {
    const left = [...this.#running];
    for (const { child } of left) child.kill("SIGKILL");
    await Promise.all(left.map(({ ended }) => ended));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export const python = process.env.ARROWLANE_PYTHON;

/** Runs a piece of Python in a folder and returns what it printed. */
export function runPython(folder: string, code: string): string {
  const text = `import pyarrow as pa, pyarrow.ipc as ipc, pyarrow.parquet as pq\n${code}`;
  return execFileSync(python as string, ["-c", text], { cwd: folder, encoding: "utf8" });
}
