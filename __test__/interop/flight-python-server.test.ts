/** Our client against servers of pyarrow.flight's. */
import { readFileSync } from "node:fs";
import { afterAll, afterEach, expect, jest, test } from "@jest/globals";
import { type ConnectOptions, connect } from "../../ts/flight.js";
import { codeOf } from "../support.js";
import { certificate } from "./certificate.js";
import { describePeers, NETWORKS, Peers } from "./peer-support.js";

jest.setTimeout(120_000);
const peers = new Peers();
afterEach(() => peers.clear());
afterAll(() => peers.leave());

describePeers("a server of pyarrow.flight's", () => {
  /** A client of a server. */
  async function connected(mode: string, options: ConnectOptions = {}, tls: string[] = []) {
    const { port } = await peers.start("flight_server", mode, ...tls).says<{ port: number }>();
    const uri = `${tls.length > 0 ? "grpc+tls://localhost" : "grpc+tcp://127.0.0.1"}:${port}`;
    return { uri, client: await connect(uri, options) };
  }

  test("is listed and described", async () => {
    const { client } = await connected("plain");
    const infos = await client.list();
    expect(infos.map(({ name, rows }) => [name, rows])).toContainEqual(["numbers", 5000]);
    const info = await client.info("every");
    expect([info.rows, info.bytes, info.endpoints.length]).toEqual([101, undefined, 1]);
    expect(info.endpoints[0]).toMatchObject({ here: true, elsewhere: ["grpc+tcp://127.0.0.1:1"], data: [] });
    expect(info.schema).toEqual(await client.schema("every"));
    expect(await codeOf(client.info("none such"))).toBe("ERR_NOT_FOUND");
    const command = await client.info({ command: new TextEncoder().encode("numbers") });
    expect(command.rows).toBe(5000);
  });

  test("answers an exchange", async () => {
    const { client } = await connected("plain");
    for (const name of ["numbers", "every", "replaced", "zero-rows"]) {
      const answers = client.exchange("echo", client.get(name));
      const fetched = await peers.isTheDataset(name, answers);
      expect([fetched.rows > 0, answers.via]).toEqual([true, "grpc"]);
    }
  });

  test("every dataset comes whole: dictionaries, nested types, nothing, compressed bodies", async () => {
    const { client } = await connected("plain");
    const cases = [
      ["numbers", 5],
      ["every", 4],
      ["deltas", 4],
      ["replaced", 4],
      ["nothing", 0],
      ["zero-rows", 6],
      ["no-buffers", 3],
      ["lz4", 3],
      ["zstd", 3],
      ["large", 2],
    ] as const;
    for (const [name, batches] of cases) {
      const transfer = client.get(name, { via: "grpc" });
      const fetched = await peers.isTheDataset(name, transfer);
      expect([name, fetched.batches, transfer.via]).toEqual([name, batches, "grpc"]);
    }
    for await (const batch of client.get("numbers")) {
      expect([batch.via, batch.zeroCopy, batch.column("x").get(3)]).toEqual(["grpc", false, 1.5]);
      batch.dispose();
      break;
    }
    expect(await codeOf(client.get("none such").next())).toBe("ERR_NOT_FOUND");
  });

  for (const network of NETWORKS) {
    test(`that says where metadata and bodies are, as the example's, is control alone: both come over ${network}`, async () => {
      const data = peers.start("peer", "serve", network, "split", "plain");
      const { uris } = await data.says<{ uris: string[] }>();
      const flight = peers.start("flight_server", "example", ...uris);
      const { port } = await flight.says<{ port: number }>();
      const client = await connect(`grpc+tcp://127.0.0.1:${port}`);
      const info = await client.info({ command: new TextEncoder().encode("deltas") });
      expect([info.rows, info.endpoints[0].split]).toEqual([undefined, uris]);
      for (const name of ["deltas", "every", "no-buffers"]) {
        data.tell("interleaved");
        await data.says();
        const transfer = client.get({ command: new TextEncoder().encode(name) });
        const { batches } = await peers.isTheDataset(name, transfer);
        expect([batches > 2, transfer.via, transfer.tried]).toEqual([true, network, []]);
        expect(await data.says()).toEqual({ served: "interleaved" });
      }
    });
  }

  test("is uploaded to, from a file's batches and from a transfer", async () => {
    const { client } = await connected("plain");
    for (const name of [
      "numbers",
      "every",
      "deltas",
      "replaced",
      "zero-rows",
      "no-buffers",
      "zstd",
      "large",
    ]) {
      const transfer = peers.fetches(client.get(name));
      await client.put(`${name} again`, transfer);
      expect((await client.info(`${name} again`)).name).toBe(`${name} again`);
    }
  });

  test("lets us in with a name and a password, and nobody else", async () => {
    const { uri, client } = await connected("basic", { credentials: { user: "ada", password: "lovelace" } });
    expect((await client.list()).length).toBeGreaterThan(3);
    expect(await peers.isTheDataset("numbers", client.get("numbers"))).toEqual({ batches: 5, rows: 5000 });
    const wrong = connect(uri, { credentials: { user: "ada", password: "x" } });
    expect(await codeOf(wrong)).toBe("ERR_UNAUTHENTICATED");
    expect(await codeOf((await connect(uri)).list())).toBe("ERR_UNAUTHENTICATED");
  });

  test("lets us in with a token and a header, over TLS, and not where nobody vouches for it", async () => {
    const files = certificate(peers.folder);
    const roots = readFileSync(files[0], "utf8");
    const options = {
      credentials: { bearer: "open sesame" },
      headers: { "x-tenant": "cave" },
      tls: { roots },
    };
    const { uri, client } = await connected("bearer", options, files);
    expect(await peers.isTheDataset("every", client.get("every"))).toEqual({ batches: 4, rows: 101 });
    const without = await connect(uri, { ...options, headers: {} });
    expect(await codeOf(without.get("every").next())).toBe("ERR_UNAUTHENTICATED");
    expect(await codeOf(connect(uri, { ...options, tls: {} }))).toMatch(/^ERR_/);
  });
});
