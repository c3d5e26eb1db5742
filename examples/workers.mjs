// node examples/workers.mjs
import { once } from "node:events";
import { isMainThread, Worker } from "node:worker_threads";
import { tableFromArrays } from "apache-arrow";
import { publish, subscribe } from "arrowlane";

if (isMainThread) {
  const values = Float64Array.from({ length: 1_000_000 }, (_, row) => row);
  const out = await publish("demo/whole", {
    // Called once for every subscriber; its stream ends when this resolves.
    onSubscriber: async (stream) => {
      for (let part = 0; part < 4; part++) {
        await stream.send(tableFromArrays({ value: values.subarray(part * 250_000, (part + 1) * 250_000) }));
      }
    },
  });
  const workers = [1, 2].map(() => new Worker(new URL(import.meta.url)));
  await Promise.all(workers.map((worker) => once(worker, "exit")));
  await out.close();
} else {
  let sum = 0;
  await subscribe("demo/whole").forEach((batch) => {
    for (const part of batch.column("value").data) for (const value of part.values) sum += value;
    batch.dispose();
  });
  console.log("a worker's sum:", sum);
}
