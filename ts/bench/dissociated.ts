import type { Outcome, Task } from "./child.js";
import { type Interval, paired } from "./intervals.js";
import { Helper, type Placement, placements, socketFolder } from "./pair.js";
import { hasPerftest, perftest } from "./perftest.js";
import { type BenchOptions, bytes, print, type Row, row, spread } from "./rows.js";
import { scaled, warnOfDebug } from "./run.js";

const PAYLOADS = [
  { payload: 64 * 2 ** 10, rounds: 4096, warm: 128 },
  { payload: 2 ** 20, rounds: 384, warm: 16 },
  { payload: 16 * 2 ** 20, rounds: 32, warm: 4 },
] as const;

/** Twice each, mirrored: ours and the peer's pairs, and pairs of each with itself. */
const MIRRORED = ["ucx", "ucx_perftest", "ucx_perftest", "ucx"] as const;
const BESIDE = ["tcp", "net", "shm"] as const;

type Way = (typeof MIRRORED)[number] | (typeof BESIDE)[number];

/** One transfer: bytes a second, and the seconds of processor time for a byte of both processes together. */
interface Transfer {
  speed: number;
  cost: number;
}

/** What was found of one payload: by way, one entry a round, or two where it is measured twice. */
type Found = Map<Way, Transfer[]>;

/**
 * `bench dissociated`: bodies from one process's server to another's client, delivered as batches, over UCX, TCP and shared memory;
 * against `ucx_perftest` and a bare Node socket. GB/s, and seconds of processor time for a GB of both processes.
 */
export async function dissociated(options: BenchOptions = {}): Promise<void> {
  const placement = placements().at(-1) as Placement;
  const folder = socketFolder();
  const found = PAYLOADS.map((): Found => new Map());
  const helpers = placement.processors.map((processor) => new Helper(processor, folder.path));
  try {
    const bench = new Bench(placement, helpers, folder.path);
    const ways = await bench.prepare(options);
    const repeat = options.repeat ?? 30;
    for (let round = 0; round < repeat; round++) {
      for (const [at, case_] of PAYLOADS.entries()) {
        // Those beside come before or behind, another one first each time.
        const beside = ways.beside.map((_, n) => ways.beside[(n + round) % ways.beside.length]);
        const order = round % 2 === 0 ? [...ways.mirrored, ...beside] : [...beside, ...ways.mirrored];
        for (const way of order) {
          if (process.stderr.isTTY)
            process.stderr.write(`\r\x1b[Kround ${round + 1} of ${repeat}: ${bytes(case_.payload)} ${way}`);
          const list = found[at].get(way) ?? [];
          found[at].set(way, list);
          list.push(await bench.measure(way, { ...case_, rounds: scaled(case_.rounds, options) }));
        }
      }
    }
  } finally {
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
    for (const helper of helpers) helper.stop();
    folder.remove();
  }
  print(
    PAYLOADS.flatMap(({ payload }, at) => rowsOf(found[at], payload, placement.name)),
    options.json === true,
  );
}

type Case = Pick<Task, "payload" | "rounds" | "warm">;

class Bench {
  readonly #placement: Placement;
  readonly #server: Helper;
  readonly #client: Helper;
  readonly #folder: string;
  #control = "";
  /** The port of the bare socket of each payload. */
  readonly #ports = new Map<number, string>();
  /** Seconds of processor time that starting the peer takes. */
  #start = 0;

  constructor(placement: Placement, [server, client]: readonly Helper[], folder: string) {
    this.#placement = placement;
    this.#server = server;
    this.#client = client;
    this.#folder = folder;
  }

  #run(helper: Helper, kind: Task["kind"], case_: Case, mode = "", uri = ""): Promise<Outcome> {
    return helper.run({ kind, ...case_, name: kind, folder: this.#folder, mode, columns: 1, uri });
  }

  /** Offers everything; which ways there are. Those that are missing are named on stderr. */
  async prepare(options: BenchOptions): Promise<{ mirrored: readonly Way[]; beside: readonly Way[] }> {
    const missing = new Set<string>();
    for (const each of PAYLOADS) {
      const case_ = { ...each, rounds: scaled(each.rounds, options) };
      const offered = await this.#run(this.#server, "offer", case_);
      warnOfDebug(offered);
      this.#control = offered.uri ?? "";
      for (const address of offered.missing ?? []) missing.add(address);
      const { uri = "" } = await this.#run(this.#server, "net-offer", case_);
      this.#ports.set(each.payload, uri);
    }
    for (const address of missing) process.stderr.write(`bench: left out: ${address}\n`);
    const hasUcx = ![...missing].some((address) => address.startsWith("ucx:"));
    const hasPeer = hasUcx && hasPerftest();
    if (hasUcx && !hasPeer)
      process.stderr.write("bench: left out: ucx_perftest is not installed (Debian: ucx-utils)\n");
    if (hasPeer) {
      const starts = [];
      for (let n = 0; n < 5; n++) starts.push((await perftest(this.#placement, 8, 1, 0)).cpu);
      [, this.#start] = spread(starts);
    }
    return { mirrored: hasPeer ? MIRRORED : hasUcx ? ["ucx", "ucx"] : [], beside: BESIDE };
  }

  async measure(way: Way, case_: Case): Promise<Transfer> {
    const total = case_.payload * case_.rounds;
    if (way === "ucx_perftest") {
      const { payload, rounds, warm } = case_;
      const { perSecond, cpu } = await perftest(this.#placement, payload, rounds - warm, warm);
      return { speed: perSecond, cost: (cpu - this.#start) / total };
    }
    const before = await this.#usage(case_);
    const { perSecond = 0 } = await this.#transfer(way, case_);
    return { speed: perSecond, cost: ((await this.#usage(case_)) - before) / total };
  }

  #transfer(way: Way, case_: Case): Promise<Outcome> {
    if (way === "net") return this.#run(this.#client, "net-fetch", case_, "", this.#ports.get(case_.payload));
    return this.#run(this.#client, "fetch", case_, way, this.#control);
  }

  async #usage(case_: Case): Promise<number> {
    const both = [this.#server, this.#client].map((helper) => this.#run(helper, "usage", case_));
    return (await Promise.all(both)).reduce((sum, { cpu = 0 }) => sum + cpu, 0);
  }
}

function rowsOf(found: Found, payload: number, placement: string): Row[] {
  const figures = (way: Way, name: keyof Transfer) => (found.get(way) ?? []).map((one) => one[name]);
  return (["ucx", "tcp", "shm"] as const).flatMap((way) => {
    if (!found.has(way)) return [];
    const peers: readonly Way[] =
      way === "ucx" ? ["ucx_perftest", "tcp", "net"] : way === "tcp" ? ["net", "ucx_perftest"] : ["net"];
    const common = { bench: "dissociated", case: bytes(payload), mode: way, payload, placement };
    return [
      { unit: "GB/s", better: "higher", name: "speed", factor: 1e-9 } as const,
      { unit: "CPU s/GB", better: "lower", name: "cost", factor: 1e9 } as const,
    ].map(({ unit, better, name, factor }): Row => {
      const of = (one: Way) => figures(one, name).map((value) => value * factor);
      const made = row(
        { ...common, unit, better },
        of(way),
        Object.fromEntries(peers.map((one) => [one, of(one)])),
      );
      return { ...made, interval: intervals(way, peers, (one) => figures(one, name)) };
    });
  });
}

/** The intervals of the paired ratios; `A/A` is the peer against itself. */
function intervals(way: Way, peers: readonly Way[], of: (way: Way) => number[]): Record<string, Interval> {
  const found: Record<string, Interval> = {};
  for (const peer of peers) {
    const [a, b] = [of(way), of(peer)];
    if (a.length === 0 || b.length === 0) continue;
    // A round has two of some, and one of others: then the first of the two stands beside it.
    const once = (list: number[], other: number[]) =>
      list.length > other.length ? list.filter((_, n) => n % 2 === 0) : list;
    found[peer] = paired(once(a, b), once(b, a));
  }
  const peer = of("ucx_perftest");
  if (way === "ucx" && peer.length > 0)
    found["A/A"] = paired(
      peer.filter((_, n) => n % 2 === 0),
      peer.filter((_, n) => n % 2 === 1),
    );
  return found;
}
