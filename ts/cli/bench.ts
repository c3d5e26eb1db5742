/** `arrowlane bench NAME`. */
import type { Command } from "commander";
import { ArrowlaneError } from "../errors.js";
import type { Stop } from "./stop.js";
import { wrongUsage } from "./usage.js";

interface Options {
  json?: boolean;
  python?: string;
}

/** What the benchmarks' module exports. */
interface BenchModule {
  benches: Record<string, (options: { json: boolean; python?: string }) => Promise<void>>;
}

export function addBench(program: Command, stop: Stop): void {
  program
    .command("bench")
    .description("measure, beside what others reach on this machine in the same run")
    .argument("[name]", "which; without a name, their names are listed")
    .option("--json", "print one JSON object per line")
    .option(
      "--python <path>",
      "the Python of `bench python` and `bench flight`, with pyarrow; else $PYTHON, else python3",
    )
    .action(async (name: string | undefined, options: Options) => {
      // Benchmarks start and end processes of their own; signals end them as usual.
      stop.unlisten();
      const { benches } = await load();
      const names = Object.keys(benches).sort();
      if (name === undefined) {
        for (const each of names)
          process.stdout.write(`${options.json ? JSON.stringify({ bench: each }) : each}\n`);
        return;
      }
      if (!Object.hasOwn(benches, name)) {
        throw wrongUsage(`there is no benchmark ${JSON.stringify(name)}: there are ${names.join(", ")}`);
      }
      await benches[name]({ json: options.json ?? false, python: options.python });
    });
}

/** Loaded when asked for: benchmarks need apache-arrow, the other commands do not. */
async function load(): Promise<BenchModule> {
  const file = new URL("../bench/index.js", import.meta.url).href;
  try {
    return (await import(file)) as BenchModule;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ArrowlaneError("ERR_UNSUPPORTED_PLATFORM", `the benchmarks cannot be loaded here: ${why}`, {
      cause,
    });
  }
}
