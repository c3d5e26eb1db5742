#!/usr/bin/env node
/**
 * The command `arrowlane`. Exit status: 0 done, 1 an error, 2 wrong usage, 130 and 143 closed on SIGINT and SIGTERM.
 *
 * Works without apache-arrow: nothing here imports the package's entry point.
 */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { ArrowlaneError } from "../errors.js";
import { addBench } from "./bench.js";
import { addDoctor } from "./doctor.js";
import { addGet } from "./get.js";
import { addPublish } from "./publish.js";
import { addServe } from "./serve.js";
import { Stop } from "./stop.js";
import { addSubscribe } from "./subscribe.js";
import { addTopics } from "./topics.js";

function version(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** What a command that ends with an error says about it. */
function errorText(error: unknown): string {
  if (error instanceof ArrowlaneError) return `${error.code}: ${error.message}`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

const stop = new Stop();
const program = new Command("arrowlane")
  .description("Arrow record batches between processes, read where they were written.")
  .version(version())
  .exitOverride()
  .configureHelp({ showGlobalOptions: true })
  .showHelpAfterError("(arrowlane --help says more)");
for (const add of [addPublish, addSubscribe, addTopics, addServe, addGet, addDoctor, addBench])
  add(program, stop);

try {
  await program.parseAsync();
  stop.unlisten();
  // Nothing that is left over keeps a command alive that is done.
  if (stop.requested !== undefined) process.exit(stop.status);
} catch (error) {
  if (error instanceof CommanderError) {
    if (error.code === "arrowlane.usage") process.stderr.write(`arrowlane: ${error.message}\n`);
    process.exit(error.exitCode === 0 ? 0 : 2);
  }
  process.stderr.write(`arrowlane: ${errorText(error)}\n`);
  // At once: a publisher that failed must not end its stream as if it were complete.
  process.exit(1);
}
