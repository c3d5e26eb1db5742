// node examples/relay.mjs
import { fork } from "node:child_process";
import { once } from "node:events";
import { Field, Float64, Schema } from "apache-arrow";
import { publish, subscribe } from "arrowlane";

const [, file, role] = process.argv;

if (role === "filter") {
  const out = await publish("demo/warm", { strictZeroCopy: true });
  for await (const batch of subscribe("demo/all")) {
    const { temperature } = Object.fromEntries(batch.metadata);
    if (Number(temperature) > 20) await out.send(batch); // goes on from where it lies
    batch.dispose(); // the memory goes back when whoever got it is done with it
  }
  await out.close();
} else if (role === "reader") {
  for await (const batch of subscribe("demo/warm")) {
    console.log("read", batch.column("temperature").get(0), "at", batch.location);
    batch.dispose();
  }
} else {
  const others = ["filter", "reader"].map((name) => fork(file, [name]));
  const schema = new Schema([new Field("temperature", new Float64(), false)]);
  const out = await publish("demo/all");
  for (const temperature of [19, 20, 21, 22]) {
    const writer = await out.allocate(schema, 1_000_000);
    writer.column("temperature").fill(temperature);
    console.log("wrote", temperature, "at", writer.location);
    await out.send(writer, { metadata: { temperature: String(temperature) } });
  }
  await Promise.all([out.close(), ...others.map((other) => once(other, "exit"))]);
}
