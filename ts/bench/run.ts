import type { Outcome, Task } from "./child.js";
import { Pair, type Placement, socketFolder } from "./pair.js";
import type { BenchOptions } from "./rows.js";

/** What is measured, without where. */
export type Case = Pick<Task, "kind" | "payload" | "warm" | "rounds"> & { mode?: string; columns?: number };

/** Which of the two processes' figures counts. */
export type Side = "first" | "second";

/**
 * Runs groups of cases in turn, `repeat` times over; each group in a fresh pair of processes. Returns what was found,
 * by the key of a case and placement, one outcome a round.
 */
export async function measure(
  groups: readonly { placement: Placement; side: Side; cases: readonly Case[] }[],
  { repeat = 5 }: BenchOptions,
): Promise<
  (placement: string, kind: Case["kind"], payload: number, mode?: string, columns?: number) => Outcome[]
> {
  const found = new Map<string, Outcome[]>();
  const folder = socketFolder();
  const progress = process.stderr.isTTY
    ? (text: string) => process.stderr.write(`\r\x1b[K${text}`)
    : () => {};
  let serial = 0;
  try {
    for (let round = 0; round < repeat; round++) {
      // Another group goes first in each round, so that none always follows the same one.
      const turn = round % groups.length;
      for (const { placement, side, cases } of [...groups.slice(turn), ...groups.slice(0, turn)]) {
        const pair = new Pair(placement, folder.path);
        try {
          for (const each of cases) {
            const { mode = "", columns = 1, payload, kind } = each;
            progress(`round ${round + 1} of ${repeat}: ${placement.name} ${kind} ${mode} ${payload}`);
            const task: Task = {
              ...each,
              mode,
              columns,
              folder: folder.path,
              name: `bench-${process.pid}-${serial++}`,
            };
            const outcome = (await pair.run(task))[side];
            warnOfDebug(outcome);
            const key = keyOf(placement.name, kind, payload, mode, columns);
            found.set(key, [...(found.get(key) ?? []), outcome]);
          }
        } finally {
          pair.stop();
        }
      }
    }
  } finally {
    progress("");
    folder.remove();
  }
  return (...key) => found.get(keyOf(...key)) ?? [];
}

function keyOf(placement: string, kind: string, payload: number, mode = "", columns = 1): string {
  return [placement, kind, payload, mode, columns].join();
}

let warned = false;

/** Says once that figures of a debug build mean little. */
export function warnOfDebug(outcome: Outcome): void {
  if (outcome.debug !== true || warned) return;
  warned = true;
  process.stderr.write(
    "bench: this is a debug build of the native part, several times slower: run `npm run build`\n",
  );
}

/** Scales a number of rounds. */
export function scaled(rounds: number, { scale = 1 }: BenchOptions): number {
  return Math.max(1, Math.round(rounds * scale));
}

/** One figure of every round, where there is any. */
export function figures(outcomes: readonly Outcome[], name: "p50" | "p99" | "perSecond"): number[] {
  return outcomes.flatMap((outcome) => outcome[name] ?? []);
}
