/** How subscribers are served, as the command line says it: the names are those of `publish` and `subscribe`. */
import { type Command, Option } from "commander";
import type { Overflow } from "../policy.js";
import { positive, size } from "./usage.js";

/** What the options below give. */
export interface QueueOptions {
  queue?: number;
  queueBytes?: number;
  overflow?: Overflow;
  last?: boolean;
}

/** The options that both sides have; `whose` queue it is, for the help. */
export function addQueueOptions(command: Command, whose: string, last: string): Command {
  return command
    .option("--queue <n>", `the most batches in ${whose} queue, which were sent and not taken`, positive)
    .option("--queue-bytes <bytes>", "and the most bytes of these", size)
    .addOption(
      new Option("--overflow <how>", "what happens when it is full").choices([
        "wait",
        "drop-oldest",
        "drop-newest",
      ]),
    )
    .option("--last", last);
}

/** The same as options of `publish` and `subscribe`. */
export function policyOf({ queue, queueBytes, overflow, last }: QueueOptions) {
  return {
    queue: { ...(queue && { batches: queue }), ...(queueBytes && { bytes: queueBytes }) },
    ...(overflow && { overflow }),
    ...(last && { last }),
  };
}
