// The main job, by `npm run demo`: one process publishes Arrow batches into shared memory, a second one reads them
// where they were written.
//
//   npm run demo                      TPC-H lineitem at scale factor 1, and query 6
//   npm run demo -- --sf 0.1          at another scale factor
//   npm run demo -- FILE.parquet      a file of your own (.arrow, .arrows, .parquet), and a summary of its columns
//   … --json                          the same as one JSON object
import { parseArgs } from "node:util";

const { values, positionals } = parse();
const scaleFactor = Number(values.sf);

function parse() {
  try {
    const options = { sf: { type: "string", default: "1" }, json: { type: "boolean", default: false } };
    const parsed = parseArgs({ options, allowPositionals: true });
    if (parsed.positionals.length > 1) throw new Error("one file at a time");
    if (!(Number(parsed.values.sf) > 0))
      throw new Error(`--sf ${parsed.values.sf}: it must be a number above 0`);
    return parsed;
  } catch (error) {
    console.error(`${error.message}\nusage: npm run demo -- [--sf SCALE_FACTOR | FILE] [--json]`);
    process.exit(2);
  }
}

const count = (n) => Math.round(n).toLocaleString("en-US");
const megabytes = (n) => `${n < 1e7 ? (n / 1e6).toFixed(2) : count(n / 1e6)} MB`;
const say = (line) => values.json || console.log(line);

let rowsSoFar = 0;
let shown = 0;
/** Rows so far, on a terminal. */
function progress(rows) {
  rowsSoFar += rows;
  if (!process.stderr.isTTY || Date.now() - shown < 100) return;
  shown = Date.now();
  process.stderr.write(`\r\x1b[K${count(rowsSoFar)} rows`);
}
const clear = () => process.stderr.isTTY && process.stderr.write("\r\x1b[K");

/** Both sides of the proof. */
function sayProof({ publisher, subscriber }, copied) {
  const side = (s) => `${s.memory} + ${s.offset}, mapped at ${s.address}${s.access ? ` (${s.access})` : ""}`;
  say("\nThe bytes read are the bytes written (first batch, by /proc/PID/maps):");
  if (publisher !== undefined) say(`  publisher   ${side(publisher)}`);
  say(`  subscriber  ${side(subscriber)}`);
  if (subscriber.first !== undefined) {
    say(
      `  first price ${publisher.first} in the publisher's memfd, ${subscriber.first} in the subscriber's column`,
    );
  }
  say(`  copied by the subscriber: ${copied} bytes`);
}

async function query() {
  const { expected, lineitem } = await import("./demo/lineitem.mjs");
  say(
    `TPC-H lineitem, scale factor ${scaleFactor}: one process publishes all 16 columns, a second one runs query 6`,
  );
  const found = await lineitem(scaleFactor, progress);
  clear();
  const { shipped, exact } = expected(scaleFactor);
  const { answer, rows, batches, bytes, seconds, querySeconds, peakMemory, published, proof } = found;
  const correct = answer === exact && (shipped == null || Number(answer).toFixed(2) === shipped);
  const same =
    proof.subscriber.kernelAgrees &&
    proof.publisher.address !== undefined &&
    proof.publisher.first === proof.subscriber.first;
  const rates = {
    rowsPerSecond: rows / seconds,
    queryRowsPerSecond: rows / querySeconds,
    queryGigabytesPerSecond: bytes / querySeconds / 1e9,
    gigabytesPerSecond: bytes / seconds / 1e9,
  };
  if (values.json) {
    console.log(
      JSON.stringify({ ...found, exact, shipped: shipped ?? null, correct, sameBytes: same, ...rates }),
    );
  }
  say(`\nanswer      ${answer}`);
  if (shipped != null) say(`TPC-H ships ${shipped} (rounded)`);
  say(`expected    ${exact} (from the generator's rows, without Arrow): ${correct ? "equal" : "DIFFERENT"}`);
  say(
    `\n${count(rows)} rows in ${count(batches)} ${batches === 1 ? "batch" : "batches"}, ${megabytes(published)} published`,
  );
  say(
    `query       ${count(rates.queryRowsPerSecond)} rows/s, ${rates.queryGigabytesPerSecond.toFixed(2)} GB/s of the 4 columns read`,
  );
  say(
    `whole run   ${count(rates.rowsPerSecond)} rows/s, ${rates.gigabytesPerSecond.toFixed(2)} GB/s: making the rows is what takes the time`,
  );
  say(`publisher   at most ${megabytes(peakMemory)} of memory`);
  sayProof(proof, found.bytesCopied);
  if (!correct || !same) process.exitCode = 1;
}

async function file(path) {
  const { ownFile } = await import("./demo/file.mjs");
  const found = await ownFile(path, progress);
  clear();
  if (values.json) console.log(JSON.stringify(found));
  const { format, rows, batches, bytes, seconds, columns, proof } = found;
  say(
    `${path} (${format}): ${count(rows)} rows in ${count(batches)} ${batches === 1 ? "batch" : "batches"}, ${megabytes(bytes)}`,
  );
  say(
    `${count(rows / seconds)} rows/s, ${(bytes / seconds / 1e9).toFixed(2)} GB/s with start, reading and summary\n`,
  );
  const width = Math.max(...columns.map(({ name }) => name.length), 0);
  for (const { name, type, nulls, min, max } of columns) {
    const range = min === null ? "" : `, ${min} … ${max}`;
    say(`  ${name.padEnd(width)}  ${type}, ${count(nulls)} nulls${range}`);
  }
  if (proof !== undefined) sayProof(proof, proof.zeroCopy ? 0 : "some");
}

try {
  await (positionals.length === 1 ? file(positionals[0]) : query());
} catch (error) {
  clear();
  console.error(`the demo failed: ${error.message}`);
  process.exit(1);
}
