/** Python reads from our server: Dissociated IPC from the specification, plain and extended, in the example's shape too. */
import { afterAll, afterEach, beforeAll, expect, jest, test } from "@jest/globals";
import { type Server, serve } from "../../ts/flight.js";
import { describePeers, NETWORKS, Peers } from "./peer-support.js";

jest.setTimeout(120_000);
const peers = new Peers();
afterEach(() => peers.clear());
afterAll(() => peers.leave());

const NAMES = [
  "numbers",
  "many",
  "every",
  "deltas",
  "replaced",
  "nothing",
  "zero-rows",
  "no-buffers",
  "zstd",
  "large",
];

interface Read {
  batches?: number;
  dictionaries?: number;
  empty?: number;
  closed?: boolean;
  error?: string;
  [key: string]: unknown;
}

describePeers("a Python client of our server", () => {
  beforeAll(async () => void (await peers.peer("write", peers.folder, ...NAMES)));

  /** A server at one network that has some of the datasets. */
  async function serving(network: string, names: string[], options = {}): Promise<Server> {
    const server = peers.serves(await serve({ data: [`${network}://127.0.0.1:0`] }));
    for (const name of names) await server.putFile(name, `${peers.folder}/${name}.arrows`, options);
    return server;
  }

  const read = (server: Server, name: string, manner: string, ticket = server.endpoints(name).ticket) =>
    peers.peer<Read>("read", name, ticket, manner, server.data[0]);

  for (const network of NETWORKS) {
    test(`${network}: every dataset comes whole to a plain client, which waits for a body of everything`, async () => {
      const server = await serving(network, NAMES);
      for (const name of NAMES) {
        const told = await read(server, name, name === "large" ? "plainly" : "metadata_first");
        expect([name, told.schemas, told.closed]).toEqual([name, 1, undefined]);
        if (name === "no-buffers") expect(told.empty).toBe(3);
        if (name === "replaced") expect(told.dictionaries).toBe(4);
      }
    });

    test(`${network}: every dataset comes whole to a client with credits`, async () => {
      const server = await serving(network, NAMES);
      for (const name of NAMES) {
        const told = await read(server, name, "with_credits");
        expect([name, told.schemas, told.empty, told.closed]).toEqual([name, 1, 0, undefined]);
      }
    });

    test(`${network}: without a credit no more than the queue comes, and the rest with the next credit`, async () => {
      const server = await serving(network, ["many"], { queue: { batches: 3 } });
      expect(await read(server, "many", "miserly")).toMatchObject({ "without credit": 3, batches: 40 });
    });

    test(`${network}: a client that cancels is sent the end, and nothing else`, async () => {
      const server = await serving(network, ["many"], { queue: { batches: 3 } });
      const { batches } = await read(server, "many", "cancelling");
      expect(batches).toBeLessThan(40);
    });

    test(`${network}: an unknown ticket closes a plain client's connection, and is explained with the extension`, async () => {
      const server = await serving(network, ["many"]);
      expect(await read(server, "many", "plainly", "train.parquet")).toEqual({ closed: true });
      expect(await read(server, "many", "plainly", "0".repeat(32))).toEqual({ closed: true });
      const { error } = await read(server, "many", "refused", "0".repeat(32));
      expect(error).toMatch(/^ERR_\w+: this ticket is unknown or has expired/);
      expect(await read(server, "many", "plainly")).toMatchObject({ batches: 40 });
    });

    test(`${network}: in the example's shape, metadata and bodies over connections of their own`, async () => {
      const server = peers.serves(
        await serve({
          control: "grpc+tcp://127.0.0.1:0",
          data: [`${network}://127.0.0.1:0`],
          locations: "split",
        }),
      );
      const names = ["numbers", "every", "deltas", "replaced", "zero-rows", "no-buffers", "nothing", "large"];
      for (const name of names) {
        await server.putFile(name, `${peers.folder}/${name}.arrows`);
        // As the example's client: the locations come from GetFlightInfo, the first is metadata's.
        const told = await peers.peer<Read>("flight", "example", server.control as string, name);
        expect([name, told.schemas, told.closed]).toEqual([name, 1, undefined]);
      }
    });
  }
});
