// node examples/publish.mjs, with examples/subscribe.mjs in another terminal
import { Field, Float64, Schema } from "apache-arrow";
import { publish } from "arrowlane";

const schema = new Schema([new Field("temperature", new Float64(), false)]);
const out = await publish("camera/frames"); // lossless by default

for (let frame = 0; frame < 3; frame++) {
  const writer = await out.allocate(schema, 1_000_000); // typed arrays over shared memory: write in place
  writer.column("temperature").fill(20 + frame);
  await out.send(writer); // waits for a subscriber; or send any apache-arrow RecordBatch or Table: one copy in
}
await out.close();
console.log("sent 3 frames");
