/** What the tests of servers and their clients share. */
import { expect } from "@jest/globals";
import * as arrow from "apache-arrow";
import {
  type Client,
  type ConnectOptions,
  connect,
  type ServeOptions,
  type Server,
  serve,
  type Transfer,
  type Via,
} from "../../ts/flight.js";
import type { Batch } from "../../ts/index.js";
import { lane } from "../../ts/native/lane.js";
import { settle } from "../support.js";

async function libraryOfUcx(): Promise<boolean> {
  const probe = await serve({ data: ["ucx://127.0.0.1:0"] });
  await probe.close();
  return probe.unavailable.length === 0;
}

/** Whether this machine has a libucp; without, what needs it is not tested. */
export const UCX = await libraryOfUcx();

/** Addresses of every transport that this machine has. */
export const ADDRESSES: readonly string[] = [
  "shm:",
  "tcp://127.0.0.1:0",
  ...(UCX ? ["ucx://127.0.0.1:0"] : []),
];

/** Ways that go over a data URI, and all. */
export const DATA_WAYS: readonly Via[] = UCX ? ["shm", "tcp", "ucx"] : ["shm", "tcp"];
export const WAYS: readonly Via[] = [...DATA_WAYS, "grpc"];

/** Servers of one test, which end when it ends, however it ends. */
export class Services {
  readonly #open: Server[] = [];

  /** A server with a Flight service and every transport, unless said otherwise. */
  async serve(options: ServeOptions = {}): Promise<Server> {
    const server = await serve({ control: "grpc+tcp://127.0.0.1:0", data: ADDRESSES, ...options });
    this.#open.push(server);
    return server;
  }

  /** As {@link serve}, and a client of it. */
  async both(
    options: ServeOptions = {},
    how: ConnectOptions = {},
  ): Promise<{ server: Server; client: Client }> {
    const server = await this.serve(options);
    return { server, client: await connect(server.control as string, how) };
  }

  async clear(): Promise<void> {
    for (const server of this.#open.splice(0)) await server.close();
    await settle();
  }
}

/** What came of a transfer; every batch is disposed. */
export interface Got {
  batches: number;
  rows: number;
  /** Of each batch. */
  via: Set<string>;
  zeroCopy: Set<boolean>;
}

/** Reads a transfer to its end, and looks at every batch before it is disposed. */
export async function drain(transfer: Transfer, look: (batch: Batch) => void = () => {}): Promise<Got> {
  const got: Got = { batches: 0, rows: 0, via: new Set(), zeroCopy: new Set() };
  for await (const batch of transfer) {
    try {
      got.batches++;
      got.rows += batch.length;
      got.via.add(batch.via);
      got.zeroCopy.add(batch.zeroCopy);
      look(batch);
    } finally {
      batch.dispose();
    }
  }
  return got;
}

/** The first column's values, in order. */
export async function values(transfer: Transfer, column = "i"): Promise<unknown[]> {
  const all: unknown[] = [];
  await drain(transfer, (batch) => all.push(...(batch.column(column).toArray() as Iterable<unknown>)));
  return all;
}

/** The URI of a server's data that has this scheme. */
export function uriOf(server: Server, scheme: string): string {
  const uri = server.data.find((one) => one.startsWith(`${scheme}:`));
  expect(uri).toBeDefined();
  return uri as string;
}

/** Bodies that this process copied so far, in bytes. */
export function copiedBytes(): number {
  return lane().native.copiedBytes();
}

/** `bytes` of float64 in one column, no byte of which is another's. */
export function large(bytes: number, seed = 1): arrow.RecordBatch {
  const x = new Float64Array(bytes / 8);
  for (let n = 0; n < x.length; n++) x[n] = n * seed;
  const batch = new arrow.Table({ x: arrow.makeVector(x) }).batches[0];
  return batch as unknown as arrow.RecordBatch;
}
