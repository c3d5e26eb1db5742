import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { ArrowlaneError } from "../errors.js";

/** The interpreter, if it has pyarrow. */
export function pythonWithArrow(
  asked = process.env.PYTHON || process.env.ARROWLANE_PYTHON || "python3",
): string {
  const { status, stderr, error } = spawnSync(asked, ["-c", "import pyarrow"], { encoding: "utf8" });
  if (status === 0) return asked;
  const why = error?.message ?? stderr.trim().split("\n").at(-1);
  throw new ArrowlaneError(
    "ERR_UNSUPPORTED_PLATFORM",
    `${asked} cannot import pyarrow (${why}): name one that can with --python or in PYTHON, or \`pip install pyarrow\``,
  );
}

/** A Python process that answers each line with a line of JSON. */
export class Talker {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  constructor(interpreter: string, processor: number | undefined, program: string, args: readonly string[]) {
    const command = [interpreter, program, ...args];
    if (processor !== undefined) command.unshift("taskset", "-c", String(processor));
    const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1" };
    const child = spawn(command[0], command.slice(1), { env, stdio: ["pipe", "pipe", "inherit"] });
    child.on("error", () => {}); // its output ends, which is noticed
    child.stdin.on("error", () => {});
    this.#child = child;
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** The next line that it says. */
  async hear(): Promise<unknown> {
    const { value, done } = await this.#answers.next();
    if (done) throw new Error("a Python process of the benchmark ended");
    return JSON.parse(value);
  }

  ask(line: string): Promise<unknown> {
    this.#child.stdin?.write(`${line}\n`);
    return this.hear();
  }

  /** It ends with its input; a server of pyarrow's goes on, so it is ended. */
  stop(): void {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill("SIGKILL");
  }
}
