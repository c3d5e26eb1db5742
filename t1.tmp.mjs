import * as arrow from "apache-arrow";
const dist = "/work/wt/plane/dist-test";
const { serve, readFrom } = await import(dist + "/flight.js");
await import(dist + "/index.js");
const data = process.argv.slice(2);
const server = await serve({ data: data.length ? data : ["shm:"] });
const table = arrow.tableFromArrays({ a: Int32Array.from({ length: 1000 }, (_, i) => i), b: Array.from({ length: 1000 }, (_, i) => `x${i % 7}`) });
await server.put("t", table);
console.log(server.data, server.offers()[0].rows, server.unavailable.map(u => u.error.message));
for (const uri of server.data) {
  const { ticket } = server.endpoints("t");
  const tr = readFrom(uri, ticket);
  for await (const b of tr) { console.log(tr.via, b.via, b.zeroCopy, b.length, b.column("a").get(999), b.column("b").get(3)); b.dispose(); }
}
try { for await (const b of readFrom(server.data[0], "0".repeat(32))) console.log("?"); } catch (e) { console.log(e.code, e.message); }
await server.close();
