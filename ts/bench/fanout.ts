import type { Outcome, Task } from "./child.js";
import { allowedProcessors, Helper, socketFolder } from "./pair.js";
import { type BenchOptions, bytes, print, quantile, type Row, row, spread } from "./rows.js";
import { scaled, warnOfDebug } from "./run.js";

const PAYLOAD = 4 * 2 ** 20;
const SUBSCRIBERS = [1, 2, 4, 8] as const;

/** What one round of all subscribers found. */
interface Fan {
  /** Microseconds until the last of them had read a batch, at half and at 99 % of the batches. */
  p50: number;
  p99: number;
  copied: number;
}

/**
 * `bench fanout`: one batch of 4 MiB to 1, 2, 4 and 8 subscribers, each a process of its own: microseconds until the last
 * of them has read it, divided by their number, against the time of one (`one`); and how many bytes of it were copied.
 */
export async function fanout(options: BenchOptions = {}): Promise<void> {
  const { repeat = 5 } = options;
  const found = new Map<number, Fan[]>(SUBSCRIBERS.map((count) => [count, []]));
  const folder = socketFolder();
  try {
    for (let round = 0; round < repeat; round++) {
      // Another number goes first in each round.
      const turn = round % SUBSCRIBERS.length;
      for (const count of [...SUBSCRIBERS.slice(turn), ...SUBSCRIBERS.slice(0, turn)]) {
        if (process.stderr.isTTY)
          process.stderr.write(`\r\x1b[Kround ${round + 1} of ${repeat}: 1 to ${count}`);
        const name = `bench-${process.pid}-${round}-${count}`;
        found.get(count)?.push(await measure(count, folder.path, name, scaled(400, options)));
      }
    }
  } finally {
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
    folder.remove();
  }
  const processors = allowedProcessors().length;
  process.stderr.write(`bench: ${processors} processors for a publisher and its subscribers\n`);
  print(rowsOf(found, `free, ${processors} processors`), options.json === true);
}

function rowsOf(found: ReadonlyMap<number, readonly Fan[]>, placement: string): Row[] {
  const common = { bench: "fanout", better: "lower", payload: PAYLOAD, placement } as const;
  const one = (found.get(1) ?? []).map(({ p50 }) => p50);
  const rows = [...found].flatMap(([count, fans]): Row[] => {
    const p50 = fans.map((fan) => fan.p50);
    const p99 = spread(fans.map((fan) => fan.p99));
    const what = `${bytes(PAYLOAD)} to ${count}`;
    const whole = row({ ...common, case: what, mode: "last", unit: "us", p99 }, p50, { one });
    if (count === 1) return [{ ...whole, peers: {}, ratio: {} }];
    const each = p50.map((time) => time / count);
    return [whole, row({ ...common, case: what, mode: "last ÷ subscribers", unit: "us" }, each, { one })];
  });
  const copied = [...found.values()].flat().map((fan) => fan.copied);
  return [...rows, row({ ...common, case: "copied", unit: "bytes" }, copied, {})];
}

/** One publisher and `count` subscribers, in fresh processes. */
async function measure(count: number, folder: string, name: string, rounds: number): Promise<Fan> {
  const task: Task = {
    kind: "fan",
    name,
    folder,
    mode: String(count),
    payload: PAYLOAD,
    columns: 1,
    warm: 50,
    rounds,
  };
  const helpers = Array.from({ length: count + 1 }, () => new Helper(undefined, folder));
  try {
    const [publisher, ...subscribers] = helpers;
    const sent = publisher.run({ ...task, half: "first" });
    await Promise.race([publisher.ready(), sent]);
    const read = subscribers.map((subscriber) => subscriber.run({ ...task, half: "second" }));
    const [first, ...others] = await Promise.all([sent, ...read]);
    warnOfDebug(first);
    return fanOf(first, others);
  } finally {
    for (const helper of helpers) helper.stop();
  }
}

function fanOf(sent: Outcome, read: readonly Outcome[]): Fan {
  const starts = sent.times ?? new Float64Array();
  const last = starts.map(
    (start, n) => Math.max(...read.map(({ times }) => times?.[n] ?? Number.NaN)) - start,
  );
  const copied = [sent, ...read].reduce((sum, outcome) => sum + (outcome.copied ?? 0), 0);
  return { p50: quantile(last, 0.5), p99: quantile(last, 0.99), copied };
}
