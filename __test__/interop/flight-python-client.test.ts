/** pyarrow.flight's client against `serve({ control })`: a client that knows nothing of ours. */
import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, expect, jest, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { type ServeOptions, type Server, serve } from "../../ts/flight.js";
import { certificate } from "./certificate.js";
import { describePeers, Peers } from "./peer-support.js";

jest.setTimeout(120_000);
const peers = new Peers();
afterEach(() => peers.clear());
afterAll(() => peers.leave());

interface Rows {
  rows: Record<string, number>;
}

const NAMES = ["numbers", "every", "replaced", "nothing"];
const MORE = ["deltas", "zero-rows", "no-buffers", "zstd", "large"];

describePeers("pyarrow.flight's client", () => {
  beforeAll(async () => void (await peers.peer("write", peers.folder, ...NAMES, ...MORE)));

  async function serving(names: string[], options: ServeOptions = {}): Promise<Server> {
    const server = peers.serves(await serve({ control: "grpc+tcp://127.0.0.1:0", ...options }));
    for (const name of names) await server.putFile(name, `${peers.folder}/${name}.arrows`);
    return server;
  }

  test("lists, describes, fetches and uploads datasets", async () => {
    const server = await serving(NAMES, { uploads: true, data: ["shm:", "tcp://127.0.0.1:0"] });
    const { rows } = await peers.peer<Rows>("flight", "whole", server.control as string);
    expect(rows).toMatchObject({ numbers: 5000, every: 101, replaced: 8, nothing: 0, "zero-rows": 2000 });
    const offered = server.offers().map(({ name, rows: count }) => [name, count]);
    expect(offered).toContainEqual(["deltas", 16]);
    expect(offered).toContainEqual(["lz4", 10_003]);
  });

  test("fetches what has dictionaries that grow, no rows, no buffers, or came compressed; and 100 MB at once", async () => {
    const server = await serving(MORE);
    for (const name of MORE) {
      const told = await peers.peer("flight", "get", server.control as string, name);
      const rows = server.offers().find((offer) => offer.name === name)?.rows;
      expect(told).toEqual({ rows, told: rows });
    }
  });

  test("fetches what is made for it anew, dictionaries and all", async () => {
    const server = await serving([]);
    for (const name of ["numbers", "replaced", "zero-rows"]) {
      const { schema, batches } = arrow.tableFromIPC(readFileSync(`${peers.folder}/${name}.arrows`));
      let asked = 0;
      const make = async function* () {
        asked++;
        yield* batches;
      };
      await server.put(name, make, { schema });
      const rows = batches.reduce((sum, batch) => sum + batch.numRows, 0);
      for (let n = 1; n <= 2; n++) {
        const told = await peers.peer("flight", "get", server.control as string, name);
        expect([told, asked]).toEqual([{ rows, told: -1 }, n]);
      }
    }
  });

  test("exchanges batches, each answered before the next is sent", async () => {
    const names: string[] = [];
    const server = await serving([], {
      exchange: async function* (batches, { name }) {
        names.push(name);
        for await (const batch of batches) {
          yield batch;
          batch.dispose();
        }
      },
    });
    for (const [name, rows] of [
      ["numbers", 5000],
      ["every", 101],
      ["no-buffers", undefined],
    ] as const) {
      const told = await peers.peer<Rows>("flight", "exchange", server.control as string, name);
      expect(told.rows).toEqual(rows ?? expect.any(Number));
      expect(names.pop()).toBe(`echo/${name}`);
    }
  });

  test("comes over TLS", async () => {
    const [pem, key] = certificate(peers.folder);
    const tls = { certificate: readFileSync(pem, "utf8"), key: readFileSync(key, "utf8") };
    const server = await serving(NAMES, { control: "grpc+tls://localhost:0", tls, uploads: true });
    const told = await peers.peer<Rows>("flight", "whole", server.control as string, pem);
    expect(told).toMatchObject({ rows: { numbers: 5000 } });
  });

  test("is told by a server that is control alone that it sends no data", async () => {
    const server = await serving(["numbers"], { inline: false });
    const told = await peers.peer("flight", "refused", server.control as string, "numbers");
    expect(told.message).toMatch(/this server sends no data over gRPC/);
  });
});
