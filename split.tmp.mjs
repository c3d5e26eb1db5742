const { serve, readFrom, Client } = await import("/work/wt/tests5/dist-test/flight.js");
const { addon } = await import("/work/wt/tests5/dist-test/native/addon.js");
import * as arrow from "apache-arrow";
const t = new arrow.Table({i: arrow.vectorFromArray(Int32Array.from([1,2,3]))});
const s = await serve({control:"grpc+tcp://127.0.0.1:0", data:["shm:","tcp://127.0.0.1:0","ucx://127.0.0.1:0"]});
await s.put("a", Array(50).fill(t), {queue:{batches:3}});
const cl = new Client(s.control, (await addon().connectFlight(s.control,{headers:[],locations:"split",deadline:10000})).get());
const { split } = (await cl.info("a")).endpoints[0];
console.log(split);
const half = (scheme, like) => { const u=new URL(s.data.find(d=>d.startsWith(scheme+":"))); u.searchParams.delete("free_data"); for (const [k,v] of new URL(like).searchParams) if (["want_data","want_data_ext","free_data"].includes(k)) u.searchParams.set(k,v); return u.href; };
for (const m of ["tcp","ucx","shm"]) for (const d of ["tcp","ucx","shm"]) {
  if (process.argv[2] && process.argv[2]!==m+d) continue;
  const tr = readFrom({metadata:half(m,split[0]), data:half(d,split[1])}, s.endpoints("a").ticket, {signal: AbortSignal.timeout(4000)});
  let n=0; try { for await (const b of tr) { n++; b.dispose(); } console.log(m,d,n,tr.via); } catch (e) { console.log(m,d,n,e.code,e.message); }
}
await s.close();
