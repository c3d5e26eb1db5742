// Batches from and to another native addon, by the Arrow C Device Interface: no bytes are copied or converted.
// The addon here makes TPC-H tables; `npm run demo` builds it.
import { Batch } from "arrowlane";
import { tpch } from "./demo/tpch.mjs";

// The caller's own ArrowDeviceArray (128 bytes) and ArrowSchema (72 bytes); addresses are bigints.
const array = tpch.alloc(128);
const schema = tpch.alloc(72);

const table = new tpch.Lineitem(0.001, 1000);
let rows = 0;
while (table.nextInto(array, schema)) {
  const batch = Batch.importFrom(array, schema); // moves: the structs are free for the next batch
  try {
    rows += batch.length;
    batch.select(["l_orderkey", "l_comment"]).exportTo(array, schema); // to any consumer of the interface
    const back = Batch.importFrom(array, schema);
    if (rows === 1000) console.log(`the first comment is ${JSON.stringify(back.column("l_comment").get(0))}`);
    back.dispose();
  } finally {
    batch.dispose(); // with the last handle, the addon's `release` is called
  }
}
tpch.free(array);
tpch.free(schema);
console.log(`${rows} rows`);
