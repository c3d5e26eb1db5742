import { connect, createServer } from "node:net";
import { connect as connectTo, type Server, serve, type Via } from "../flight.js";
import type { Half, Task } from "./child.js";
import { localBatch } from "./local.js";

/** What this process serves, and whom it asks: kept between the tasks of one benchmark. */
const kept: { server?: Promise<Server>; client?: ReturnType<typeof connectTo> } = {};

/** What a dataset of so many batches of a payload is called. */
export function datasetName({ payload, rounds }: Pick<Task, "payload" | "rounds">): string {
  return `${payload}x${rounds}`;
}

/**
 * Offers `rounds` batches of the payload, distinct in memory, over shared memory, TCP, UCX where there is one, and Flight. Each
 * begins with its number and ends with the negated one.
 */
export const offer: Half = async (task, ready) => {
  ready();
  kept.server ??= serve({
    control: "grpc+tcp://127.0.0.1:0",
    data: ["shm:", "tcp://127.0.0.1:0", "ucx://127.0.0.1:0"],
  });
  const server = await kept.server;
  const x = new Float64Array(task.payload / 8);
  const batches = function* () {
    for (let n = 0; n < task.rounds; n++) {
      [x[0], x[x.length - 1]] = [n, -n];
      yield localBatch([x]);
    }
  };
  await server.put(datasetName(task), batches());
  const missing = server.unavailable.map(({ address, error }) => `${address} (${error.message})`);
  return { uri: server.control, missing };
};

/**
 * Fetches what `offer` offered, by one way (`mode`), as users do: each batch is checked by its ends and disposed. Bytes a
 * second from the batch after those that warm up to the last.
 */
export const fetch: Half = async (task, ready) => {
  ready();
  kept.client ??= connectTo(task.uri ?? "");
  const client = await kept.client;
  const rows = task.payload / 8;
  let [count, started] = [0, 0];
  for await (const batch of client.get(datasetName(task), { via: task.mode as Via })) {
    if (count === task.warm - 1) started = performance.now();
    const x = batch.column("x");
    const [first, last] = [x.get(0), x.get(rows - 1)];
    if (batch.length !== rows || first !== count || last !== -count)
      throw new Error(`batch ${count} begins with ${first} and ends with ${last}`);
    count++;
    batch.dispose();
  }
  const took = performance.now() - started;
  if (count !== task.rounds) throw new Error(`${count} of ${task.rounds} batches arrived`);
  return { perSecond: ((task.rounds - task.warm) * task.payload * 1000) / took };
};

/** Seconds of processor time that all threads of this process have used. */
export const usage: Half = async (_task, ready) => {
  ready();
  const { user, system } = process.cpuUsage();
  return { cpu: (user + system) / 1e6 };
};

/** The same bytes through Node's own `net`: whoever connects gets them. */
export const netOffer: Half = async (task, ready) => {
  ready();
  const parts = Array.from({ length: task.rounds }, (_, n) => Buffer.alloc(task.payload, n % 255 || 1));
  const server = createServer(async (socket) => {
    socket.on("error", () => {}); // the other half says so
    for (const part of parts) {
      if (!socket.write(part)) await new Promise((resolve) => socket.once("drain", resolve));
    }
    socket.end();
  });
  await new Promise<void>((resolve, reject) => {
    server.on("error", reject).listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  return { uri: String(typeof address === "object" ? address?.port : "") };
};

/** Counts what `netOffer` sends, and throws it away. */
export const netFetch: Half = (task, ready) => {
  ready();
  const [skipped, total] = [task.warm * task.payload, task.rounds * task.payload];
  return new Promise((resolve, reject) => {
    let [came, counted, started] = [0, 0, 0];
    const socket = connect(Number(task.uri), "127.0.0.1");
    socket.on("error", reject);
    socket.on("data", (bytes) => {
      came += bytes.length;
      if (started > 0) counted += bytes.length;
      else if (came >= skipped) started = performance.now();
    });
    socket.on("close", () => {
      if (came !== total) reject(new Error(`net delivered ${came} of ${total} bytes`));
      else resolve({ perSecond: (counted * 1000) / (performance.now() - started) });
    });
  });
};
