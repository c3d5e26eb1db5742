/** Raw peers: programs that speak to the socket themselves, in Python or C. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Publisher } from "../../ts/index.js";
import { ROOT, until } from "../support.js";

const SCRIPT = join(ROOT, "__test__", "process", "hostile.py");

/** A Python 3 interpreter; nothing beyond its standard library is needed. */
export const PYTHON = [process.env.ARROWLANE_PYTHON, "python3"].find(
  (python) => python && spawnSync(python, ["-c", "import os; os.memfd_create"]).status === 0,
);

/** The path of a publisher's socket. */
export function socketOf(publisher: Publisher): string {
  return decodeURIComponent(new URL(publisher.uri.replace(/^(shm|unix):/, "file:")).pathname);
}

/** The socket that another topic of the same folder would have. */
export function socketBeside(publisher: Publisher, topic: string): string {
  return join(dirname(socketOf(publisher)), topic);
}

/** A program that runs beside a test, and what it has said, line by line. */
export class Raw {
  readonly process: ChildProcess;
  readonly ended: Promise<number | null>;
  lines: string[] = [];
  #stderr = "";

  constructor(command: string, args: string[], env: Record<string, string> = {}) {
    this.process = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...env } });
    let rest = "";
    this.process.stdout?.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() as string;
      this.lines.push(...lines);
    });
    this.process.stderr?.on("data", (text) => {
      this.#stderr += text;
    });
    this.process.stdin?.on("error", () => {});
    this.ended = new Promise((resolve) => {
      this.process.on("close", (code) => resolve(code));
    });
  }

  /** Waits until it has said a line that begins so. */
  async said(start: string): Promise<string> {
    const found = () => this.lines.find((line) => line.startsWith(start));
    await until(
      () => found() !== undefined || this.process.exitCode !== null,
      `the raw peer says ${start}: ${this.lines.join("|")} ${this.#stderr}`,
    );
    const line = found();
    if (line === undefined) throw new Error(`the raw peer ended: ${this.lines.join("|")}\n${this.#stderr}`);
    return line;
  }

  /** Its last line, when it has ended by itself. */
  async fate(): Promise<string> {
    const code = await this.ended;
    if (code !== 0)
      throw new Error(`the raw peer failed (${code}): ${this.lines.join("|")}\n${this.#stderr}`);
    return this.lines.at(-1) ?? "";
  }

  kill(signal: NodeJS.Signals = "SIGKILL"): void {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill(signal);
  }
}

/** The hostile peer. */
export function hostile(args: string[], env?: Record<string, string>): Raw {
  return new Raw(PYTHON as string, [SCRIPT, ...args], env);
}

/** The rules that the hostile peer knows to break in a role. */
export function casesOf(role: "subscribe" | "publish"): string[] {
  if (PYTHON === undefined) return [];
  return JSON.parse(execFileSync(PYTHON, [SCRIPT, "cases", role], { encoding: "utf8" }));
}

/** A file with what `hostile.py capture` saw. */
export function keepCapture(json: string): string {
  const file = join(mkdtempSync(join(tmpdir(), "arrowlane-capture-")), "capture.json");
  writeFileSync(file, json);
  return file;
}
