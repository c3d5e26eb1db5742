/** Flight as the control plane: what it says, what it takes, and how little goes over it. */
import { afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { connect } from "../../ts/flight.js";
import { codeOf, numbers } from "../support.js";
import { batchOf, plain, samples } from "../unit/arrow-support.js";
import { DATA_WAYS, drain, large, Services, values } from "./flight-support.js";

const services = new Services();

afterEach(() => services.clear());

describe("without inline, Flight is control alone", () => {
  test("DoGet is refused, and says so; other ways work", async () => {
    const { server, client } = await services.both({ inline: false });
    await server.put("it", [numbers(0), numbers(1)]);
    expect(await codeOf(client.get("it", { via: "grpc" }).next())).toMatch(/^ERR_/);
    for (const via of DATA_WAYS) expect(await drain(client.get("it", { via }))).toMatchObject({ rows: 20 });
  });

  test.each(DATA_WAYS)("100 MB over %s move less than 64 KiB over gRPC", async (via) => {
    const { server, client } = await services.both({ inline: false });
    await server.put("it", large(100_000_000));
    const before = server.controlBytes();
    let bytes = 0;
    const transfer = client.get("it", { via });
    await drain(transfer, (batch) => {
      bytes += batch.byteLength;
    });
    const after = server.controlBytes();
    expect([bytes, transfer.via]).toEqual([100_000_000, via]);
    const moved = after.received - before.received + after.sent - before.sent;
    expect(moved).toBeGreaterThan(0);
    expect(moved).toBeLessThan(64 << 10);
    expect(client.bytes().received + client.bytes().sent).toBeLessThan(64 << 10);
  });

  test("and what is counted is what goes over it: by gRPC, all of it does", async () => {
    const { server, client } = await services.both();
    await server.put("it", large(10_000_000));
    await drain(client.get("it", { via: "grpc" }));
    expect(server.controlBytes().sent).toBeGreaterThan(10_000_000);
    expect(client.bytes().received).toBeGreaterThan(10_000_000);
  });
});

describe("what is said about a dataset", () => {
  test("list names all that is offered, with what each is", async () => {
    const { server, client } = await services.both();
    await server.put("one", [numbers(0), numbers(1)]);
    await server.put("two", large(800));
    const all = await client.list();
    expect(all.map(({ name, rows, bytes }) => [name, rows, bytes])).toEqual([
      ["one", 20, 240],
      ["two", 100, 800],
    ]);
    expect(all[0].schema?.fields.map(({ name }) => name)).toEqual(["i", "x"]);
    expect(await values(client.read(all[0]))).toHaveLength(20);
  });

  test("info has a ticket, the data URIs, and whether the service itself sends it", async () => {
    const { server, client } = await services.both();
    await server.put("it", numbers(0));
    const info = await client.info("it");
    expect(info).toMatchObject({ name: "it", path: ["it"], rows: 10, bytes: 120, ordered: true });
    const [{ ticket, here, data, split, locations }] = info.endpoints;
    expect(new TextDecoder().decode(ticket)).toMatch(/^[0-9a-f]{32}$/);
    expect({ here, data, split }).toEqual({ here: true, data: server.data, split: undefined });
    expect(locations[0]).toBe("arrow-flight-reuse-connection://?");
    expect(await client.info(["it"])).toMatchObject({ rows: 10 });
    expect(await client.info("it", { poll: true })).toMatchObject({ rows: 10 });
    expect((await client.info("it")).endpoints[0].ticket).not.toEqual(ticket);
  });

  test("schema is the one that was put, of every type", async () => {
    const { server, client } = await services.both();
    const batch = batchOf(arrow, samples(arrow));
    await server.put("types", batch);
    const schema = await client.schema("types");
    expect(schema.fields.map(({ name }) => name)).toEqual(batch.schema.fields.map(({ name }) => name));
    expect(schema).toEqual((await client.info("types")).schema);
  });

  test("what is not there is ERR_NOT_FOUND, everywhere", async () => {
    const { client } = await services.both();
    for (const ask of [
      client.info("no"),
      client.schema("no"),
      client.info("no", { poll: true }),
      client.get("no").next(),
    ]) {
      expect(await codeOf(ask)).toBe("ERR_NOT_FOUND");
    }
    expect(await codeOf(client.info({ command: Uint8Array.of(1, 2) }))).toMatch(/^ERR_/);
    expect(await client.list()).toEqual([]);
  });

  test("an AbortSignal ends a call that waits", async () => {
    const { client } = await services.both();
    const signal = AbortSignal.abort(new RangeError("enough"));
    await expect(client.list({ signal })).rejects.toThrow("enough");
    await expect(client.info("it", { signal })).rejects.toThrow("enough");
    await expect(connect(client.uri, { signal })).rejects.toThrow("enough");
  });
});

describe("an upload", () => {
  test("is refused unless uploads are taken", async () => {
    const { server, client } = await services.both();
    expect(await codeOf(client.put("up", numbers(1)))).toBe("ERR_NOT_PERMITTED");
    expect(server.offers()).toEqual([]);
  });

  test("is offered when it is whole, of every type, and replaces what was there", async () => {
    const { server, client } = await services.both({ uploads: true });
    const all = samples(arrow);
    await client.put("up", batchOf(arrow, all));
    const seen: Record<string, unknown[]> = {};
    await drain(client.get("up"), (batch) => {
      for (const name of Object.keys(all)) seen[name] = plain(batch.column(name) as arrow.Vector);
    });
    for (const [name, vector] of Object.entries(all))
      expect([name, seen[name]]).toEqual([name, plain(vector)]);
    await client.put("up", [numbers(1), numbers(2)]);
    expect(await drain(client.get("up"))).toMatchObject({ batches: 2, rows: 20 });
    await client.put("none", [], { schema: numbers(1).schema });
    expect(server.offers().map(({ name, rows }) => [name, rows])).toEqual([
      ["none", 0],
      ["up", 20],
    ]);
  });

  test("that takes more memory than uploads may is refused, and nothing is offered", async () => {
    const { server, client } = await services.both({ uploads: { memory: 1 << 20 } });
    expect(await codeOf(client.put("up", large(8 << 20)))).toBe("ERR_OUT_OF_MEMORY");
    expect(server.offers()).toEqual([]);
    await client.put("up", large(1 << 18));
    expect(server.offers()).toMatchObject([{ name: "up", bytes: 1 << 18 }]);
  });

  test("of 64 MB in one batch arrives", async () => {
    const { server, client } = await services.both({ uploads: true });
    await client.put("up", large(64 << 20));
    expect(server.offers()).toMatchObject([{ bytes: 64 << 20 }]);
    await drain(client.get("up"), (batch) => expect(batch.column("x").get(8_000_000)).toBe(8_000_000));
  });
});

describe("locations", () => {
  test.each(["combined", "split"] as const)(
    "%s: our own clients are served all the same",
    async (locations) => {
      const { server, client } = await services.both({ locations });
      await server.put("it", [numbers(0), numbers(1)]);
      const transfer = client.get("it");
      expect(await drain(transfer)).toMatchObject({ rows: 20 });
      expect(transfer.via).toBe("shm");
    },
  );
});

describe("a connection", () => {
  test.each([
    "",
    "nothing",
    "http://127.0.0.1:1",
    "quic://127.0.0.1:1",
    "grpc+tcp://",
    "grpc+tcp://127.0.0.1:99999",
  ])("to %p is refused for what it is", async (uri) => {
    expect(await codeOf(connect(uri))).toBe("ERR_INVALID_ARGUMENT");
  });

  test("to where nobody listens, and to somebody else, fails by its deadline", async () => {
    const { server } = await services.both({ data: ["tcp://127.0.0.1:0"] });
    const { host } = new URL(server.data[0]);
    const gone = await services.serve();
    const address = gone.control as string;
    await gone.close();
    expect(await codeOf(connect(address, { deadline: 5000 }).then((client) => client.list()))).toMatch(
      /^ERR_/,
    );
    expect(
      await codeOf(connect(`grpc+tcp://${host}`, { deadline: 3000 }).then((client) => client.list())),
    ).toMatch(/^ERR_/);
  });
});
