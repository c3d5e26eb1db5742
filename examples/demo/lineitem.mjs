// The first process: makes lineitem batch by batch, publishes it, and reports what the second one found.
import { fork } from "node:child_process";
import { closeSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { Batch, publish } from "arrowlane";
import { addressOf, hex } from "./proof.mjs";
import { tpch } from "./tpch.mjs";

/** Rows a batch: about 7 MB of all 16 columns. */
const BATCH_ROWS = 32 * 1024;
/** All the memory that batches take on their way, at any scale factor: then the publisher waits. */
const MEMORY = 128 * 2 ** 20;

/** Publishes lineitem at a scale factor to a second process and resolves with what came of it. */
export async function lineitem(scaleFactor, progress) {
  const topic = `demo/lineitem-${process.pid}`;
  const table = new tpch.Lineitem(scaleFactor, BATCH_ROWS);
  const out = await publish(topic, { memory: MEMORY });
  const second = secondProcess(topic, progress);
  const [array, schema] = [tpch.alloc(128), tpch.alloc(72)];
  let published = 0;
  try {
    while (table.nextInto(array, schema)) {
      const batch = Batch.importFrom(array, schema);
      try {
        published += batch.byteLength;
        await out.send(batch, { signal: second.gone }); // waits when the second process is behind
      } finally {
        batch.dispose();
      }
    }
    const proof = await second.proof; // while this process still has the memory
    await out.close();
    const result = await second.done;
    const peakMemory = process.resourceUsage().maxRSS * 1024;
    return { scaleFactor, ...result, published, peakMemory, proof };
  } finally {
    second.kill();
    tpch.free(array);
    tpch.free(schema);
  }
}

/** Starts the second process; with its result in `done`, both sides of the proof, and `gone` aborted when it ends. */
function secondProcess(topic, progress) {
  const child = fork(new URL("subscriber.mjs", import.meta.url), [topic]);
  // Stopped in the middle, nothing is left behind, and nobody complains of the other.
  process.once("SIGINT", () => child.kill("SIGKILL") && process.exit(130));
  process.once("SIGTERM", () => child.kill("SIGKILL") && process.exit(143));
  const ended = new AbortController();
  let fail;
  const failed = new Promise((_, reject) => {
    fail = reject;
  });
  const told = (name) =>
    new Promise((resolve) => {
      child.on("message", (message) => {
        if (message[name] !== undefined) resolve(message[name]);
      });
    });
  const proof = told("proof").then((subscriber) => {
    const publisher = evidence(subscriber);
    child.send("seen");
    return { publisher, subscriber };
  });
  const result = told("result");
  child.on("message", ({ rows }) => rows !== undefined && progress(rows));
  child.on("exit", (code, signal) => {
    const error = new Error(`the second process ended before it had an answer (${signal ?? code})`);
    // What it told before is heard first.
    const end = () => {
      ended.abort(error);
      fail(error);
    };
    if (child.connected) child.once("disconnect", end);
    else end();
  });
  return {
    proof: quiet(Promise.race([proof, failed])),
    done: quiet(Promise.race([result, failed])),
    gone: ended.signal,
    kill: () => child.kill(),
  };
}

/** A promise whose failure may be heard of later, or elsewhere. */
function quiet(promise) {
  promise.catch(() => {});
  return promise;
}

/** The same place in this process: mapped where, and which bytes, read through this process's own descriptor. */
function evidence({ memory, offset, within }) {
  const place = addressOf(process.pid, memory, BigInt(offset));
  const bytes = Buffer.alloc(16);
  const descriptor = readdirSync("/proc/self/fd").find((name) => {
    const stat = statSync(`/proc/self/fd/${name}`, { throwIfNoEntry: false });
    return stat !== undefined && `memfd:${stat.dev}:${stat.ino}` === memory;
  });
  if (descriptor !== undefined) {
    const file = openSync(`/proc/self/fd/${descriptor}`, "r");
    readSync(file, bytes, 0, 16, Number(offset) + within);
    closeSync(file);
  }
  return {
    memory,
    offset,
    address: place && hex(place.address),
    access: place?.access,
    first: bytes.toString("hex"),
  };
}

/** What the answer has to be: the one that TPC-H ships where it does, and one computed from the generator's rows. */
export function expected(scaleFactor) {
  return { shipped: tpch.q6Answer(scaleFactor), exact: tpch.q6Exact(scaleFactor) };
}
