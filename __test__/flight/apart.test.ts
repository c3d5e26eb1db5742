/** Metadata and bodies over connections of their own, of every two kinds. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { type Client, connect, readFrom, type Server, serve, type Transfer } from "../../ts/flight.js";

const WAYS = ["shm", "tcp", "ucx"];
const ROWS = 10_000;
let server: Server;
let client: Client;

beforeAll(async () => {
  const data = ["shm:", "tcp://127.0.0.1:0", "ucx://127.0.0.1:0"];
  server = await serve({ control: "grpc+tcp://127.0.0.1:0", data });
  expect(server.unavailable).toEqual([]);
  const number = Int32Array.from({ length: ROWS }, (_, row) => row);
  const text = Array.from(number, (row) => (row % 3 === 0 ? null : `text ${row % 7}`));
  const table = arrow.tableFromArrays({ number, text });
  await server.put("batches", [table, table, table]);
  client = await connect(server.control as string);
});

afterAll(() => server.close());

/** The URI of one half: the tags that docs/wire.md has, "Two connections". */
function half(scheme: string, kind: "metadata" | "data"): string {
  const uri = server.data.find((one) => one.startsWith(scheme)) as string;
  const tag = (1n << 62n) + (kind === "metadata" ? 4n : 6n);
  return uri.replace(/want_data=\d+/, `want_data=${tag}`).replace(/ext=\d+/, `ext=${tag + 1n}`);
}

async function readAll(transfer: Transfer): Promise<unknown[]> {
  const seen: unknown[] = [];
  for await (const batch of transfer) {
    seen.push([batch.via, batch.zeroCopy, batch.column("number").get(ROWS - 1), batch.column("text").get(4)]);
    batch.dispose();
  }
  return seen;
}

const expected = (via: string) => Array(3).fill([via, true, ROWS - 1, "text 4"]);

describe.each(WAYS)("with metadata over %s", (metadata) => {
  test.each(WAYS)("bodies come over %s", async (data) => {
    const { ticket } = server.endpoints("batches");
    const source = { metadata: half(metadata, "metadata"), data: half(data, "data") };
    expect(await readAll(readFrom(source, ticket))).toEqual(expected(data));
  });
});

test.each(WAYS)("with metadata by Flight's DoGet, bodies come over %s, and no body by gRPC", async (via) => {
  const before = server.controlBytes().sent;
  expect(await readAll(client.get("batches", { metadata: "grpc", via: via as "shm" }))).toEqual(
    expected(via),
  );
  expect(server.controlBytes().sent - before).toBeLessThan(ROWS);
});

test("one half alone is given up, and whoever comes with both afterwards is served", async () => {
  const { ticket } = server.endpoints("batches");
  const alone = { metadata: half("tcp", "metadata"), data: half("tcp", "metadata") };
  await expect(readAll(readFrom(alone, ticket))).rejects.toMatchObject({ name: "ArrowlaneError" });
  const both = { metadata: half("tcp", "metadata"), data: half("tcp", "data") };
  expect(await readAll(readFrom(both, ticket))).toEqual(expected("tcp"));
}, 60_000);
