// node examples/fetch.mjs, with examples/serve.mjs in another terminal
import { connect } from "arrowlane/flight";

const client = await connect("grpc+tcp://127.0.0.1:8815"); // any Arrow Flight service
const orders = client.get("orders"); // the first way that works: shared memory, tcp, ucx, gRPC
for await (const batch of orders) {
  try {
    console.log(
      batch.length,
      "rows by",
      batch.via,
      "zero copy:",
      batch.zeroCopy,
      "the last",
      batch.column("price").get(999_999),
    );
  } finally {
    batch.dispose();
  }
}
