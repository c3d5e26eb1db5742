import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import type { Placement } from "./pair.js";

/** What `ucx_perftest` found. */
export interface Found {
  /** Bytes a second. */
  perSecond: number;
  /** Seconds of processor time of both processes together, their start included. */
  cpu: number;
}

/** Whether the command is there: Debian has it in `ucx-utils`. */
export function hasPerftest(): boolean {
  return spawnSync("ucx_perftest", ["-h"]).error === undefined;
}

/**
 * Tagged messages one way, over TCP on the loopback interface, with peer error handling, sleeping instead of spinning: what arrowlane asks of UCX
 * too.
 */
export async function perftest(
  { processors: [first, second] }: Placement,
  size: number,
  rounds: number,
  warm: number,
): Promise<Found> {
  const port = await freePort();
  const common = ["-t", "tag_bw", "-E", "sleep", "-e", "-p", String(port)];
  const receiver = start(first, common);
  try {
    await Promise.race([listening(port), receiver.ended]);
    const sizes = ["-s", String(size), "-n", String(rounds), "-w", String(warm), "-f"];
    const sender = start(second, ["127.0.0.1", ...common, ...sizes]);
    const [theirs, ours] = await Promise.all([receiver.ended, sender.ended]);
    // iterations, typical, average and overall microseconds of a message, …
    const line = ours.said.split("\n").findLast((each) => /^\s*\d+(\s+[\d.]+){7}\s*$/.test(each));
    const overall = Number(line?.trim().split(/\s+/)[3]);
    if (!(overall > 0)) throw new Error(`ucx_perftest said: ${ours.said}`);
    return { perSecond: (size * 1e6) / overall, cpu: theirs.cpu + ours.cpu };
  } finally {
    receiver.stop();
  }
}

function start(processor: number | undefined, args: string[]) {
  // `times` says what the shell's children took; of a child that is gone, nobody else can be asked.
  // It runs in the same session as everything else: systems that share out processors by session give each session as much.
  const script = "ucx_perftest \"$@\" & trap 'kill $!' TERM; wait $!; status=$?; times; exit $status";
  const command = ["sh", "-c", script, "ucx_perftest", ...args];
  if (processor !== undefined) command.unshift("taskset", "-c", String(processor));
  const env = { ...process.env, UCX_TLS: process.env.UCX_TLS ?? "^sm", UCX_NET_DEVICES: "lo" };
  const child = spawn(command[0], command.slice(1), { env, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
  }
  const ended = new Promise<{ said: string; cpu: number }>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      if (code !== 0) reject(new Error(`ucx_perftest failed: ${said}`));
      else resolve({ said, cpu: timesOf(said) });
    });
  });
  ended.catch(() => {}); // whoever waits for it hears of it
  // The shell ends its child.
  const stop = () => child.exitCode === null && child.signalCode === null && child.kill("SIGTERM");
  return { ended, stop };
}

/** The last line of `times`: user and system time of the children. */
function timesOf(said: string): number {
  const last = said.trim().split("\n").at(-1) ?? "";
  return [...last.matchAll(/(\d+)m([\d.]+)s/g)].reduce(
    (sum, [, m, s]) => sum + Number(m) * 60 + Number(s),
    0,
  );
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject).listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" ? (address?.port ?? 0) : 0));
    });
  });
}

/** Until somebody listens: connecting to see would be taken for the peer. */
async function listening(port: number): Promise<void> {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const until = performance.now() + 30_000;
  while (performance.now() < until) {
    for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
      const lines = readFileSync(table, "utf8")
        .split("\n")
        .map((line) => line.trim().split(/\s+/));
      if (lines.some(([, local, , state]) => state === "0A" && local.endsWith(wanted))) return;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error("ucx_perftest does not listen");
}
