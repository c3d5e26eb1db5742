import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import {
  type RecordBatch,
  RecordBatchReader,
  RecordBatchStreamWriter,
  Table,
  tableFromIPC,
  tableToIPC,
} from "apache-arrow";
import type { Half } from "./child.js";
import { Clock } from "./clock.js";
import { localBatch, values } from "./local.js";

/** Up to here one long-lived stream is the faster of the two ways; above it, messages with their length in front. */
const STREAM_UP_TO = 1 << 20;

/** What people do today: the same hand-off by Node's `net` on a unix socket with apache-arrow's IPC. */
export const ipc: Half = async (task, ready) => {
  const socket = await connected(join(task.folder, `${task.name}.ipc`), task.half === "first", ready);
  const link = task.payload <= STREAM_UP_TO ? streamed(socket) : framed(socket);
  const rows = task.payload / 8;
  const columns = values(1, rows);
  const [x] = columns;
  const clock = new Clock(task.warm, task.rounds);
  if (task.half === "first") {
    for (let more = true; more; ) {
      clock.start();
      const [a, b] = [Math.random(), Math.random()];
      x[0] = a;
      x[rows - 1] = b;
      link.send(localBatch(columns));
      const [sum, negated] = ends(await link.receive(), rows);
      if (sum !== a + b || negated !== -sum) throw new Error(`IPC returned ${sum}, not ${a + b}`);
      more = clock.stop();
    }
    socket.end();
    return clock.oneWay();
  }
  for (let left = task.warm + task.rounds; left > 0; left--) {
    const [a, b] = ends(await link.receive(), rows);
    x[0] = a + b;
    x[rows - 1] = -x[0];
    link.send(localBatch(columns));
  }
  // The first half ends the connection, when it has the last answer.
  return {};
};

/** Record batches one way over a socket; the second half counts them. */
export const ipcRate: Half = async (task, ready) => {
  const total = task.warm + task.rounds;
  const socket = await connected(join(task.folder, `${task.name}.ipc`), task.half === "first", ready);
  if (task.half === "first") {
    const columns = values(task.columns, task.payload / 8 / task.columns);
    const batches = function* () {
      for (let n = 0; n < total; n++) yield localBatch(columns);
    };
    await pipeline(Readable.from(batches()), RecordBatchStreamWriter.throughNode(), socket);
    return {};
  }
  let count = 0;
  let started = performance.now();
  for await (const batch of await RecordBatchReader.from(socket)) {
    if (batch.getChildAt(0)?.get(0) !== 1) throw new Error(`IPC delivered a wrong value in batch ${count}`);
    if (++count === task.warm) started = performance.now();
  }
  if (count !== total) throw new Error(`IPC delivered ${count} of ${total} batches`);
  return { perSecond: (1000 * task.rounds) / (performance.now() - started) };
};

function ends(batch: RecordBatch, rows: number): [number, number] {
  const x = batch.getChildAt(0);
  return [x?.get(0), x?.get(rows - 1)];
}

function connected(path: string, listen: boolean, ready: () => void): Promise<Socket> {
  return new Promise((resolve, reject) => {
    if (!listen) {
      const socket = connect(path, () => resolve(socket)).on("error", reject);
      return;
    }
    const server = createServer((socket) => {
      server.close();
      resolve(socket);
    });
    server.on("error", reject).listen(path, ready);
  });
}

interface Link {
  send(batch: RecordBatch): void;
  receive(): Promise<RecordBatch>;
}

/** One stream of IPC each way. */
function streamed(socket: Socket): Link {
  const writer = new RecordBatchStreamWriter();
  writer.pipe(socket);
  let batches: AsyncIterator<RecordBatch> | undefined;
  return {
    send: (batch) => {
      writer.write(batch);
    },
    async receive() {
      batches ??= (await RecordBatchReader.from(socket))[Symbol.asyncIterator]();
      const { value } = await batches.next();
      return value;
    },
  };
}

/** A whole stream per batch, its length in front. */
function framed(socket: Socket): Link {
  const HEAD = 8;
  let parts: Buffer[] = [];
  let have = 0;
  let wanted = -1;
  const box: Buffer[] = [];
  let wake: (() => void) | undefined;
  const take = (length: number) => {
    const all = parts.length === 1 ? parts[0] : Buffer.concat(parts);
    parts = [all.subarray(length)];
    have -= length;
    return all.subarray(0, length);
  };
  socket.on("data", (bytes) => {
    parts.push(bytes);
    have += bytes.length;
    for (;;) {
      if (wanted < 0) {
        if (have < HEAD) return;
        wanted = Number(take(HEAD).readBigUInt64LE());
      }
      if (have < wanted) return;
      box.push(take(wanted));
      wanted = -1;
      wake?.();
    }
  });
  return {
    send(batch) {
      const message = tableToIPC(new Table([batch]), "stream");
      const head = Buffer.alloc(HEAD);
      head.writeBigUInt64LE(BigInt(message.length));
      socket.cork();
      socket.write(head);
      socket.write(message);
      socket.uncork();
    },
    async receive() {
      while (box.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return tableFromIPC(box.shift() as Buffer).batches[0];
    },
  };
}
