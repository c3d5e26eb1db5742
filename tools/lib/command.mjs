/** Runs a child process with its whole output in a log file. Node built-ins only. */
import { spawn } from "node:child_process";
import { createWriteStream, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { logsDir, root } from "./paths.mjs";

/** A step's command ended with an error; `output` is all it wrote. */
export class CommandError extends Error {
  constructor(message, output, log) {
    super(message);
    this.output = output;
    this.log = log;
  }
}

const running = new Set();

/** Each command has a process group of its own where there are any, so that nothing it started outlives it. */
const grouped = process.platform !== "win32";

function kill(child, signal) {
  try {
    if (grouped && child.pid) process.kill(-child.pid, signal);
    else child.kill(signal);
  } catch {
    // It ended in the meantime.
  }
}

/** Ends every child process that is still running (called when the tool itself is interrupted). */
export function killAll(signal = "SIGTERM") {
  for (const child of running) kill(child, signal);
}

/**
 * Runs `command` and resolves with its output; rejects with a `CommandError` when it fails.
 * @param {{name: string, status?: (line: string) => void}} step names the log and hears each last line
 * @param {string} command
 * @param {string[]} args
 * @param {{env?: Record<string, string>, cwd?: string, allowFailure?: boolean, minutes?: number}} [options]
 *   `minutes` is the most it may take: a test that hangs is a failure, not a wait without end
 * @returns {Promise<{code: number, output: string, log: string}>}
 */
export async function command(step, command, args, options = {}) {
  mkdirSync(logsDir, { recursive: true });
  const { minutes = 60 } = options;
  const log = join(logsDir, `${step.name.replace(/[^\w.-]+/g, "-")}.log`);
  const sink = createWriteStream(log, { flags: step.logged ? "a" : "w" });
  step.logged = true;
  sink.write(`$ ${command} ${args.join(" ")}\n`);
  const child = spawn(command, args, {
    cwd: options.cwd ?? root,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: grouped,
  });
  running.add(child);
  let late = false;
  let leftBehind;
  const limit = setTimeout(() => {
    late = true;
    kill(child, "SIGKILL");
  }, minutes * 60_000);
  const hear = (chunk) => {
    sink.write(chunk);
    const line = String(chunk)
      .trimEnd()
      .split(/[\r\n]/)
      .at(-1);
    if (line) step.status?.(line.trim());
  };
  child.stdout.on("data", hear);
  child.stderr.on("data", hear);
  let code;
  try {
    code = await new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (status, signal) => resolve(status ?? signal ?? 1));
      // What it started and left behind may hold its pipes open: then "close" would never come.
      child.on("exit", () => {
        leftBehind = setTimeout(() => {
          sink.write("\nprocesses were left behind; they are ended now\n");
          kill(child, "SIGKILL");
        }, 3000);
      });
    });
  } catch (error) {
    const hint = error.code === "ENOENT" ? `${command} was not found on the PATH` : error.message;
    throw new CommandError(hint, hint, log);
  } finally {
    clearTimeout(limit);
    clearTimeout(leftBehind);
    running.delete(child);
    if (late) sink.write(`\nstopped: not done after ${minutes} minutes\n`);
    sink.end();
    await finished(sink).catch(() => {});
  }
  const output = readFileSync(log, "utf8");
  if (code !== 0 && !options.allowFailure) {
    throw new CommandError(`${command} ${args[0] ?? ""} ended with ${code}`, output, log);
  }
  return { code, output, log };
}

/** Runs an npm command with the npm that started us, its cache outside the clone. */
export function npm(step, args, options = {}) {
  const env = { npm_config_cache: options.cache, npm_config_loglevel: "warn", ...options.env };
  const cli = process.env.npm_execpath;
  return cli?.endsWith(".js")
    ? command(step, process.execPath, [cli, ...args], { ...options, env })
    : command(step, process.platform === "win32" ? "npm.cmd" : "npm", args, { ...options, env });
}
