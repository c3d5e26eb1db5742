// The second process: subscribes, computes query 6 in place, and tells the first what it found.
import { subscribe } from "arrowlane";
import { hex, placeOf } from "./proof.mjs";
import { fourDecimals, query6 } from "./q6.mjs";

const [topic] = process.argv.slice(2);
let [rows, batches, total, bytes, busy] = [0, 0, 0n, 0, 0];
/** Without the first process there is nobody to tell. */
const alone = () => process.exit(1);
process.on("disconnect", alone);
let started;
/** The first batch is held until the first process has looked at the same bytes. */
let first;
const seen = new Promise((resolve) => process.once("message", resolve));

// `strictZeroCopy`: where a byte would have to be copied, arrowlane throws instead.
for await (const batch of subscribe(topic, { strictZeroCopy: true })) {
  try {
    const begin = performance.now();
    started ??= begin;
    const answer = query6(batch);
    busy += performance.now() - begin;
    total += answer.total;
    bytes += answer.bytes;
    rows += batch.length;
    batches++;
    if (batches === 1) {
      first = batch.slice();
      process.send({ proof: proof(batch) });
      seen.then(() => first.dispose());
    }
    process.send({ rows });
    if (!batch.zeroCopy) throw new Error("bytes were copied");
  } finally {
    batch.dispose();
  }
}
const seconds = (performance.now() - (started ?? performance.now())) / 1000;
await seen;
process.send({
  result: {
    answer: fourDecimals(total),
    rows,
    batches,
    bytes,
    seconds,
    querySeconds: busy / 1000,
    bytesCopied: 0,
  },
});
process.off("disconnect", alone);
process.disconnect();

/** Where the bytes of a column lie that the query has just read. */
function proof(batch) {
  const words = batch.column("l_extendedprice").data[0].values;
  const place = placeOf(process.pid, batch.address);
  const { memory, offset } = batch.location;
  return {
    column: "l_extendedprice",
    memory,
    offset: String(offset),
    address: hex(batch.address),
    access: place?.access,
    kernelAgrees: place?.memory === memory && place?.offset === offset,
    first: Buffer.from(words.buffer, words.byteOffset, 16).toString("hex"),
    within: words.byteOffset,
  };
}
