/** Python at the other end: `interop/python/arrowlane.py` in processes of their own. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe } from "@jest/globals";
import { Raw } from "../process/raw.js";
import { ROOT } from "../support.js";

/** Where the module is. */
export const MODULE = join(ROOT, "interop", "python");

const interpreter = process.env.ARROWLANE_PYTHON ?? "python3";
const usable = spawnSync(interpreter, ["-c", "import pyarrow, os; os.memfd_create"]).status === 0;
if (!usable) console.warn("no Python with pyarrow found: Python at the other end is not tested");

/** `describe`, left out where there is no Python with pyarrow. */
export const describePython: (name: string, tests: () => void) => void = usable ? describe : describe.skip;

const PRELUDE = `
import gc, json, os, sys, threading, time
sys.dont_write_bytecode = True
sys.path.insert(0, ${JSON.stringify(MODULE)})
import pyarrow as pa, pyarrow.compute as pc
import arrowlane
topic = os.environ.get("TOPIC", "")
def say(*words): print(*words, flush=True)
def told(): return sys.stdin.readline().strip()
def place(batch):
    at = arrowlane.location(batch)
    return None if at is None else [at.memory, str(at.offset)]
def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.002)
def numbers(b, rows=10):
    i = pa.array(range(b * 1000, b * 1000 + rows), pa.int32())
    return pa.record_batch([i, pc.divide(i.cast(pa.float64()), 2)], names=["i", "x"])
def descriptors(): return len(os.listdir("/proc/self/fd"))
def mappings(): return sum("/memfd:" in line for line in open("/proc/self/maps"))
`;

/** A script's end: does what it is told, line by line, until it is told an empty one. */
export const OBEY = `
for line in iter(told, ""):
    try:
        exec(line)
    except arrowlane.ArrowlaneError as error:
        say("failed", error.code)
    else:
        say("done", line)
`;

const running: Python[] = [];

/** A Python process that runs a script with arrowlane at hand. `said` waits for a line, `fate` for a good end. */
export class Python extends Raw {
  constructor(topic: string, script: string, env: Record<string, string> = {}) {
    super(interpreter, ["-c", PRELUDE + script], { TOPIC: topic, ...env });
    running.push(this);
  }

  tell(line = ""): void {
    this.process.stdin?.write(`${line}\n`);
  }

  /** Tells a script that ends in {@link OBEY} to do something, and waits until it has. */
  async does(line: string): Promise<void> {
    this.lines.length = 0;
    this.tell(line);
    await this.said("done");
  }

  /** What a line said behind its first word, as JSON. */
  async told<T>(start: string): Promise<T> {
    return JSON.parse((await this.said(`${start} `)).slice(start.length + 1)) as T;
  }
}

/** Ends what a test left running. */
export async function endPython(): Promise<void> {
  for (const one of running.splice(0)) {
    one.kill();
    await one.ended;
  }
}
