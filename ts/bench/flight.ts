import { fileURLToPath } from "node:url";
import type { Task } from "./child.js";
import { paired } from "./intervals.js";
import { Helper, type Placement, placements, socketFolder } from "./pair.js";
import { pythonWithArrow, Talker } from "./python-side.js";
import { type BenchOptions, print, type Row, row } from "./rows.js";
import { scaled, warnOfDebug } from "./run.js";
import { datasetName } from "./transfer.js";

const MIB = 2 ** 20;
const PAYLOAD = 4 * MIB;
const BATCHES = 256;

/** Who serves and who fetches. */
const MODES = ["arrowlane-arrowlane", "arrowlane-pyarrow", "pyarrow-arrowlane", "pyarrow-pyarrow"] as const;
type Mode = (typeof MODES)[number];
/** Everything is measured twice a round, mirrored; so is the peer against itself. */
const MIRRORED: readonly Mode[] = [...MODES, ...[...MODES].reverse()];

const program = fileURLToPath(new URL("../../interop/python/flight.py", import.meta.url));

interface Transfer {
  speed: number;
  cost: number;
}

/** A server or a client, in a process of its own. */
interface Side {
  /** Seconds of processor time. */
  cpu(): Promise<number>;
  stop(): void;
}
interface Serving extends Side {
  readonly uri: string;
}
interface Fetching extends Side {
  /** Bytes a second. */
  fetch(uri: string): Promise<number>;
}

/**
 * `bench flight`: `DoGet` of 1 GiB in batches of 4 MiB from one process to another, arrowlane's server and client against
 * pyarrow's, and each with the other. GB/s, and seconds of processor time for a GB of both processes.
 */
export async function flight(options: BenchOptions = {}): Promise<void> {
  const interpreter = pythonWithArrow(options.python);
  const placement = placements().at(-1) as Placement;
  const folder = socketFolder();
  const case_ = { payload: PAYLOAD, rounds: Math.max(2, scaled(BATCHES, options)), warm: 1 };
  const found = new Map<Mode, Transfer[]>(MODES.map((mode) => [mode, []]));
  const sides: Side[] = [];
  const own = <T extends Side>(side: T): T => {
    sides.push(side);
    return side;
  };
  try {
    const [a, b] = placement.processors;
    const servers = {
      arrowlane: own(await ourServer(new Helper(a, folder.path), folder.path, case_)),
      pyarrow: own(await theirServer(interpreter, a, case_)),
    };
    const clients = {
      arrowlane: (helper: Helper) => ourClient(helper, folder.path, case_),
      pyarrow: own(await theirClient(interpreter, b, case_)),
    };
    // A process of ours knows one service: one client for each.
    const ours = {
      arrowlane: own(clients.arrowlane(new Helper(b, folder.path))),
      pyarrow: own(clients.arrowlane(new Helper(b, folder.path))),
    };
    const repeat = options.repeat ?? 10;
    for (let round = -1; round < repeat; round++) {
      for (const mode of MIRRORED) {
        if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kround ${round + 1} of ${repeat}: ${mode}`);
        const [from, to] = mode.split("-") as ["arrowlane" | "pyarrow", "arrowlane" | "pyarrow"];
        const transfer = await measure(servers[from], to === "pyarrow" ? clients.pyarrow : ours[from], case_);
        // The first round warms up.
        if (round >= 0) found.get(mode)?.push(transfer);
      }
    }
  } finally {
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
    for (const side of sides) side.stop();
    folder.remove();
  }
  print(rowsOf(found, placement.name), options.json === true);
}

type Case = Pick<Task, "payload" | "rounds" | "warm">;

async function measure(server: Serving, client: Fetching, case_: Case): Promise<Transfer> {
  const both = async () => (await server.cpu()) + (await client.cpu());
  const before = await both();
  const speed = await client.fetch(server.uri);
  return { speed, cost: ((await both()) - before) / (case_.payload * case_.rounds) };
}

async function ourServer(helper: Helper, folder: string, case_: Case): Promise<Serving> {
  const task = { ...case_, folder, mode: "", columns: 1 };
  const offered = await helper.run({ ...task, kind: "offer", name: "offer" });
  warnOfDebug(offered);
  return { uri: offered.uri ?? "", ...common(helper, folder, case_) };
}

function ourClient(helper: Helper, folder: string, case_: Case): Fetching {
  const task = { ...case_, folder, mode: "grpc", columns: 1 };
  const fetch = async (uri: string) =>
    (await helper.run({ ...task, kind: "fetch", name: "fetch", uri })).perSecond ?? 0;
  return { fetch, ...common(helper, folder, case_) };
}

function common(helper: Helper, folder: string, case_: Case): Side {
  const task = { ...case_, folder, mode: "", columns: 1 };
  return {
    cpu: async () => (await helper.run({ ...task, kind: "usage", name: "usage" })).cpu ?? 0,
    stop: () => helper.stop(),
  };
}

async function theirServer(
  interpreter: string,
  processor: number | undefined,
  case_: Case,
): Promise<Serving> {
  const args = ["serve", String(case_.payload), String(case_.rounds)];
  const talker = new Talker(interpreter, processor, program, args);
  const { uri } = (await talker.hear()) as { uri: string };
  return { uri, ...spoken(talker) };
}

async function theirClient(
  interpreter: string,
  processor: number | undefined,
  case_: Case,
): Promise<Fetching> {
  const talker = new Talker(interpreter, processor, program, ["fetch"]);
  await talker.hear();
  const fetch = async (uri: string) => {
    const asked = talker.ask(`${uri} ${datasetName(case_)} ${case_.payload / 8}`);
    const { seconds, bytes, count } = (await asked) as { seconds: number; bytes: number; count: number };
    if (count !== case_.rounds) throw new Error(`${count} of ${case_.rounds} batches arrived`);
    return bytes / seconds;
  };
  return { fetch, ...spoken(talker) };
}

function spoken(talker: Talker): Side {
  return { cpu: async () => ((await talker.ask("cpu")) as { cpu: number }).cpu, stop: () => talker.stop() };
}

function rowsOf(found: ReadonlyMap<Mode, readonly Transfer[]>, placement: string): Row[] {
  const kinds = [
    { unit: "GB/s", better: "higher", name: "speed", factor: 1e-9 },
    { unit: "CPU s/GB", better: "lower", name: "cost", factor: 1e9 },
  ] as const;
  return kinds.flatMap(({ unit, better, name, factor }) => {
    const of = (mode: Mode) => (found.get(mode) ?? []).map((one) => one[name] * factor);
    const pyarrow = of("pyarrow-pyarrow");
    return MODES.filter((mode) => mode !== "pyarrow-pyarrow").map((mode): Row => {
      const fields = {
        bench: "flight",
        case: "1 GiB in 4 MiB",
        unit,
        better,
        payload: PAYLOAD,
        placement,
        mode,
      };
      const half = (rest: number) => pyarrow.filter((_, n) => n % 2 === rest);
      const interval = { "pyarrow-pyarrow": paired(of(mode), pyarrow), "A/A": paired(half(0), half(1)) };
      return { ...row(fields, of(mode), { "pyarrow-pyarrow": pyarrow }), interval };
    });
  });
}
