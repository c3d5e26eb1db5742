// node examples/serve.mjs, with examples/fetch.mjs in another terminal
import { tableFromArrays } from "apache-arrow";
import { serve } from "arrowlane/flight";

const server = await serve({
  control: "grpc+tcp://127.0.0.1:8815", // Arrow Flight: what there is, where, and with which ticket
  data: ["shm:", "tcp://127.0.0.1:0"], // the data itself: shared memory on this machine, TCP from others
});
const price = Float64Array.from({ length: 1_000_000 }, (_, row) => row / 100);
await server.put("orders", tableFromArrays({ price })); // or batches of any (async) iterable, or putFile(name, path)
console.log("serving at", server.control);

await new Promise((pressed) => process.stdin.once("data", pressed)); // until Enter is pressed
process.stdin.pause();
await server.close();
