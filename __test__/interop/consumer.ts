/** A native addon that takes batches by the C Device Interface: somebody else's, in C. */
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { ROOT } from "../support.js";

export interface Consumer {
  make(): [bigint, bigint];
  sum(array: bigint, column: number): number;
  state(array: bigint): [rows: number, columns: number, deviceType: number, released: number];
  releaseLater(array: bigint): void;
  go(): void;
  drop(array: bigint): void;
}

/** Compiles it into a folder, and loads it. */
export function buildConsumer(folder: string): Consumer {
  const output = join(folder, "consumer.node");
  const headers = join(ROOT, "node_modules", "node-api-headers", "include");
  const source = join(import.meta.dirname, "native", "consumer.c");
  execFileSync(process.env.CC ?? "cc", [
    "-shared",
    "-fPIC",
    "-O1",
    "-Wall",
    "-Wextra",
    "-pthread",
    `-I${headers}`,
    source,
    "-o",
    output,
  ]);
  return createRequire(import.meta.url)(output);
}
