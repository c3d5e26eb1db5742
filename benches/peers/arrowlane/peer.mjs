// arrowlane on the ping-pong of other products: peer.mjs <payload> <rounds> [callback|for-await|callback-copy]
// `callback` and `for-await` write the first and last value in place, in a batch from `allocate`; `callback-copy` sends
// a RecordBatch of the application's own memory, which is copied once. Needs `npm run build`; ARROWLANE_DIST names
// another build.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Field, Float64, makeData, RecordBatch, Schema, Struct } from "apache-arrow";

const self = fileURLToPath(import.meta.url);
const dist = process.env.ARROWLANE_DIST ?? join(self, "../../../../dist");
const child = process.argv[2] === "--b";
const [payload, rounds, mode = "callback"] = process.argv.slice(child ? 3 : 2);
// Before the import: it is where the topics' sockets are.
process.env.ARROWLANE_RUNTIME_DIR ??= mkdtempSync(join(tmpdir(), "arrowlane-peer-"));
const { publish, subscribe } = await import(pathToFileURL(join(dist, "index.js")).href);

const WARM = 50;
const total = Number(rounds) + WARM;
const rows = Number(payload) / 8;
const fields = [new Field("x", new Float64(), false)];
const schema = new Schema(fields);

const own = new Float64Array(mode === "callback-copy" ? rows : 0).fill(1);

async function send(out, value) {
  const inPlace = mode !== "callback-copy";
  const writer = inPlace ? await out.allocate(schema, rows) : undefined;
  const x = inPlace ? writer.column("x") : own;
  x[0] = value;
  x[rows - 1] = -value;
  await out.send(writer ?? recordBatch());
}

function recordBatch() {
  const column = makeData({ type: new Float64(), length: rows, nullCount: 0, data: own });
  const children = [column];
  return new RecordBatch(
    schema,
    makeData({ type: new Struct(fields), length: rows, nullCount: 0, children }),
  );
}

function check(batch, value) {
  const x = batch.column("x");
  if (batch.length !== rows || x.get(0) !== value || x.get(rows - 1) !== -value) {
    throw new Error(`bad ${x.get(0)} != ${value}`);
  }
  batch.dispose();
}

/** Calls `received` with every batch; it says whether there is to be another. */
async function each(batches, received) {
  if (mode !== "for-await") {
    await batches.forEach((batch) => {
      received(batch).then((more) => {
        if (!more) batches.close();
      }, fail);
    });
    return;
  }
  for await (const batch of batches) if (!(await received(batch))) return;
}

function fail(error) {
  console.error(error);
  process.exit(1);
}

const here = await publish(child ? "back" : "there", { memory: 256 * 2 ** 20 });
const other = subscribe(child ? "there" : "back");
if (child) {
  let i = 0;
  await each(other, async (batch) => {
    check(batch, ++i);
    await send(here, i + 0.5);
    return i < total;
  });
  await here.close();
} else {
  const cpu = process.env.PEER_B_CPU;
  const command = [
    ...(cpu ? ["taskset", "-c", cpu] : []),
    process.execPath,
    self,
    "--b",
    payload,
    rounds,
    mode,
  ];
  const b = spawn(command[0], command.slice(1), { stdio: ["ignore", "inherit", "inherit"] });
  b.on("exit", (code) => {
    if (code) fail("B failed");
  });
  const times = [];
  let i = 1;
  let started = process.hrtime.bigint();
  const first = send(here, i);
  await each(other, async (batch) => {
    check(batch, i + 0.5);
    const now = process.hrtime.bigint();
    if (i > WARM) times.push(Number(now - started) / 2000);
    if (i === total) return false;
    started = process.hrtime.bigint();
    await send(here, ++i);
    return true;
  });
  await first;
  await here.close();
  rmSync(process.env.ARROWLANE_RUNTIME_DIR, { recursive: true, force: true });
  const sum = times.reduce((a, b) => a + b, 0);
  times.sort((a, b) => a - b);
  const q = (p) => Number(times[Math.min(times.length - 1, Math.floor(times.length * p))].toFixed(2));
  const result = {
    peer: "arrowlane",
    mode,
    payload: Number(payload),
    rounds: Number(rounds),
    oneway_us: { p50: q(0.5), p99: q(0.99) },
    msgs_per_s: Number(((1e6 * times.length) / sum).toFixed(1)),
    note: "node->node, apache-arrow over shared memory, sleeping (event loop)",
  };
  console.log(JSON.stringify(result));
}
