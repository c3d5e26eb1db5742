// node examples/hello.mjs
import { Field, Float64, Int32, Schema } from "apache-arrow";
import { publish, subscribe } from "arrowlane";

const schema = new Schema([new Field("sensor", new Int32()), new Field("temperature", new Float64())]);

async function produce() {
  const out = await publish("demo/readings");
  for (let round = 0; round < 3; round++) {
    const batch = await out.allocate(schema, 1_000_000); // typed arrays over shared memory
    batch.column("sensor").fill(round);
    batch.column("temperature").fill(20 + round / 2);
    await out.send(batch); // waits for a subscriber, and for room
  }
  await out.close(); // ends every subscriber's loop
}

async function consume() {
  for await (const batch of subscribe("demo/readings")) {
    try {
      const temperature = batch.column("temperature"); // an apache-arrow Vector over the producer's bytes
      console.log(batch.length, "rows, the first", temperature.get(0), "at", batch.location);
    } finally {
      batch.dispose(); // the memory goes back; later reads throw
    }
  }
}

await Promise.all([produce(), consume()]);
