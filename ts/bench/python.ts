import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Outcome, Task } from "./child.js";
import { Helper, type Placement, placements, socketFolder } from "./pair.js";
import { pythonWithArrow } from "./python-side.js";
import { type BenchOptions, bytes, print, type Row, row, spread } from "./rows.js";
import { figures, scaled, warnOfDebug } from "./run.js";

const MIB = 2 ** 20;
const PAYLOADS = [
  { payload: 4 * 2 ** 10, warm: 1000, rounds: 4000 },
  { payload: 40 * MIB, warm: 50, rounds: 200 },
] as const;

/** Who asks and who answers; the one who asks takes the time. */
const MODES = ["node-python", "python-node", "python-python"] as const;
/** What people build by hand: with the batch copied into the shared memory, and written in place. */
const PEERS = { "shared-memory": "copy", "shared-memory-in-place": "in-place" } as const;

const program = fileURLToPath(new URL("../../interop/python/handoff.py", import.meta.url));

/**
 * `bench python`: one batch between Node.js and Python, microseconds one way, against `multiprocessing.shared_memory` with a
 * `Pipe` between two Pythons (a Node.js process cannot be in that).
 */
export async function python(options: BenchOptions = {}): Promise<void> {
  const interpreter = pythonWithArrow(options.python);
  const places = placements();
  const folder = socketFolder();
  const found = new Map<string, Outcome[]>();
  const keep = (key: string, outcome: Outcome) => found.set(key, [...(found.get(key) ?? []), outcome]);
  const progress = (text: string) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`);
  let serial = 0;
  try {
    for (let round = 0; round < (options.repeat ?? 5); round++) {
      for (const placement of places) {
        for (const { payload, warm, rounds } of PAYLOADS) {
          const task = { payload, warm, rounds: scaled(rounds, options), folder: folder.path };
          const jobs = [
            ...MODES.map(
              (mode) => () => handOff(interpreter, placement, mode, { ...task, name: `python-${serial++}` }),
            ),
            ...Object.values(PEERS).map((mode) => () => byHand(interpreter, placement, mode, task)),
          ];
          const names = [...MODES, ...Object.keys(PEERS)];
          // Another one goes first in each round, so that none always follows the same one.
          for (let n = 0; n < jobs.length; n++) {
            const at = (n + round) % jobs.length;
            progress(`round ${round + 1}: ${placement.name} ${names[at]} ${payload}`);
            keep(`${placement.name} ${names[at]} ${payload}`, await jobs[at]());
          }
        }
      }
    }
  } finally {
    progress("");
    folder.remove();
  }
  const rows: Row[] = [];
  for (const { name: placement } of places) {
    for (const { payload } of PAYLOADS) {
      const of = (name: string) => found.get(`${placement} ${name} ${payload}`) ?? [];
      const peers = Object.fromEntries(Object.keys(PEERS).map((name) => [name, figures(of(name), "p50")]));
      for (const mode of MODES) {
        const p99 = spread(figures(of(mode), "p99"));
        const fields = {
          bench: "python",
          case: bytes(payload),
          unit: "us",
          better: "lower",
          payload,
          placement,
          mode,
          p99,
        } as const;
        rows.push(row(fields, figures(of(mode), "p50"), peers));
      }
    }
  }
  print(rows, options.json === true);
}

type Sized = Pick<Task, "payload" | "warm" | "rounds" | "folder">;

async function handOff(
  interpreter: string,
  { processors: [a, b] }: Placement,
  mode: (typeof MODES)[number],
  task: Sized & { name: string },
): Promise<Outcome> {
  const [asker, answerer] = mode.split("-");
  const start = (which: string, half: "first" | "second", processor: number | undefined): Side => {
    if (which === "node") {
      const helper = new Helper(processor, task.folder);
      const result = helper.run({ ...task, kind: "hand-off", half, mode: "for-await", columns: 1 });
      return { result, ready: () => helper.ready(), stop: () => helper.stop() };
    }
    const what = half === "first" ? "ask" : "answer";
    return new PythonSide(interpreter, processor, task.folder, [what, task.name, ...sizes(task)]);
  };
  const first = start(asker, "first", a);
  let second: Side | undefined;
  try {
    await Promise.race([first.ready(), first.result]);
    second = start(answerer, "second", b);
    const [outcome] = await Promise.all([first.result, second.result]);
    warnOfDebug(asker === "node" ? outcome : await second.result);
    return outcome;
  } finally {
    first.stop();
    second?.stop();
  }
}

async function byHand(
  interpreter: string,
  { processors: [a, b] }: Placement,
  mode: string,
  task: Sized,
): Promise<Outcome> {
  const side = new PythonSide(interpreter, a, task.folder, [
    "by-hand",
    mode,
    ...sizes(task),
    String(b ?? -1),
  ]);
  return side.result.finally(() => side.stop());
}

function sizes({ payload, warm, rounds }: Sized): string[] {
  return [payload, warm, rounds].map(String);
}

/** One half of a hand-off, in a process of its own. */
interface Side {
  readonly result: Promise<Outcome>;
  ready(): Promise<unknown>;
  stop(): void;
}

class PythonSide implements Side {
  readonly result: Promise<Outcome>;
  readonly #child: ChildProcess;
  readonly #ready: Promise<void>;

  constructor(interpreter: string, processor: number | undefined, folder: string, args: string[]) {
    const command = [interpreter, program, ...args];
    if (processor !== undefined) command.unshift("taskset", "-c", String(processor));
    const env = { ...process.env, ARROWLANE_RUNTIME_DIR: folder, PYTHONDONTWRITEBYTECODE: "1" };
    this.#child = spawn(command[0], command.slice(1), { env, stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    let isReady = () => {};
    this.#ready = new Promise((resolve) => {
      isReady = resolve;
    });
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      if (said.startsWith("ready\n")) isReady();
    });
    this.result = new Promise((resolve, reject) => {
      this.#child.on("error", reject);
      this.#child.on("close", (code, signal) => {
        if (code === 0) resolve(JSON.parse(said.replace("ready\n", "")) as Outcome);
        else reject(new Error(`a Python process of the benchmark ended: ${signal ?? `exit status ${code}`}`));
      });
    });
    // Whoever waits for it hears of a failure; until then it is not to end the process.
    this.result.catch(() => {});
  }

  ready(): Promise<unknown> {
    return this.#ready;
  }

  stop(): void {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill("SIGKILL");
  }
}
