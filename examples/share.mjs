// node examples/share.mjs
import { once } from "node:events";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { Field, Float64, Schema } from "apache-arrow";
import { Batch, publish, subscribe } from "arrowlane";

if (isMainThread) {
  const out = await publish("demo/shared");
  const frames = subscribe("demo/shared");
  const next = frames.next();
  const writer = await out.allocate(new Schema([new Field("value", new Float64(), false)]), 1_000_000);
  writer.column("value").forEach((_, row, values) => {
    values[row] = row;
  });
  await out.send(writer);

  const { value: batch } = await next;
  const halves = [batch.slice(0, 500_000), batch.slice(500_000)];
  const workers = halves.map((half) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: half.share() }); // some numbers are posted
    half.dispose(); // the token has a reference of its own
    return worker;
  });
  batch.dispose();
  await Promise.all(workers.map((worker) => once(worker, "exit")));
  await out.close();
} else {
  const half = Batch.open(workerData); // the same bytes, at the same address
  let sum = 0;
  for (const value of half.column("value").toArray()) sum += value;
  half.dispose(); // with the last handle the memory goes back to the publisher
  console.log("a half's sum:", sum);
}
