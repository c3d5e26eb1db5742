/** A client gets what was put, by the way that it asked for, and is told what did not work. */
import { subscribe as listen, unsubscribe } from "node:diagnostics_channel";
import { afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { type Client, readFrom, type Server, type Transfer, type Via } from "../../ts/flight.js";
import { type Batch, subscribe } from "../../ts/index.js";
import { codeOf, counters, descriptors, numbers, until, untilCollected } from "../support.js";
import { batchOf, plain, samples } from "../unit/arrow-support.js";
import { DATA_WAYS, drain, Services, uriOf, values, WAYS } from "./flight-support.js";

const services = new Services();

afterEach(() => services.clear());

/** `count` batches of 10 rows, 1000 apart. */
const some = (count: number) => Array.from({ length: count }, (_, b) => numbers(b));
const expected = (count: number) =>
  Array.from({ length: count }, (_, b) => Array.from({ length: 10 }, (_, n) => b * 1000 + n)).flat();

/** What came of each way before the one that worked. */
const ways = (transfer: Transfer) => transfer.tried.map(({ via, error }) => [via, error.code]);

describe.each(WAYS)("by %s", (via) => {
  test("every type arrives with its values", async () => {
    const { server, client } = await services.both();
    const all = samples(arrow);
    await server.put("types", batchOf(arrow, all));
    const seen: Record<string, unknown[]> = {};
    const transfer = client.get("types", { via });
    await drain(transfer, (batch) => {
      for (const name of Object.keys(all)) seen[name] = plain(batch.column(name) as arrow.Vector);
    });
    for (const [name, vector] of Object.entries(all))
      expect([name, seen[name]]).toEqual([name, plain(vector)]);
  });

  test("batches come in their order, and say how they came", async () => {
    const { server, client } = await services.both();
    // Far more than may be under way at once.
    await server.put("it", some(300), { queue: { batches: 3 } });
    const transfer = client.get("it", { via });
    expect(transfer.via).toBeUndefined();
    const got: number[] = [];
    const all = await drain(transfer, (batch) => got.push(...(batch.column("i").toArray() as Int32Array)));
    expect(got).toEqual(expected(300));
    expect(all).toMatchObject({ batches: 300, via: new Set([via]), zeroCopy: new Set([via !== "grpc"]) });
    expect([transfer.via, transfer.tried]).toEqual([via, []]);
  });

  test("dictionaries, also when they are replaced", async () => {
    const { server, client } = await services.both();
    const type = new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32());
    const word = (words: string[]) => new arrow.Table({ w: arrow.vectorFromArray(words, type) });
    await server.put("words", [word(["a", "b"]), word(["c", "a"]), word(["d"])]);
    const got: unknown[] = [];
    await drain(client.get("words", { via }), (batch) =>
      got.push(...plain(batch.column("w") as arrow.Vector)),
    );
    expect(got).toEqual(["a", "b", "c", "a", "d"]);
  });

  test("a dataset without batches ends, and so does one whose batches have no rows", async () => {
    const { server, client } = await services.both();
    await server.put("none", [], { schema: numbers(1).schema });
    await server.put("empty", [numbers(1).slice(0, 0), numbers(2).slice(0, 0)]);
    expect(await drain(client.get("none", { via }))).toMatchObject({ batches: 0 });
    expect(await drain(client.get("empty", { via }))).toMatchObject({ batches: 2, rows: 0 });
  });

  test("what is held stays as it was when the transfer is closed, and the server with it", async () => {
    const { server, client } = await services.both();
    await server.put("it", some(50));
    const transfer = client.get("it", { via });
    const held: Batch[] = [];
    for await (const batch of transfer) {
      held.push(batch);
      if (held.length === 3) break;
    }
    expect((await transfer.next()).done).toBe(true);
    await server.close();
    expect(held.map((batch) => batch.column("i").get(1))).toEqual([1, 1001, 2001]);
    for (const batch of held) batch.dispose();
  });

  test("leaving in the middle leaves nothing behind, on either side", async () => {
    const { server, client } = await services.both();
    await server.put("it", some(200), { queue: { batches: 2 } });
    const round = async () => {
      for await (const batch of client.get("it", { via })) {
        batch.dispose();
        break;
      }
    };
    for (let n = 0; n < 3; n++) await round();
    await settled();
    const before = { open: descriptors(), ...counters() };
    for (let n = 0; n < 10; n++) await round();
    await untilCollected(() => descriptors() <= before.open + 2, "no connection is left");
    await until(() => counters().mappings <= before.mappings + 1, "no mapping is left");
    expect(counters().batches).toBe(before.batches);
  });

  test("an AbortSignal ends it: before, while waiting, in the middle", async () => {
    const { server, client } = await services.both();
    await server.put("it", some(200), { queue: { batches: 2 } });
    const reason = new RangeError("enough");
    await expect(client.get("it", { via, signal: AbortSignal.abort(reason) }).next()).rejects.toBe(reason);
    const abort = new AbortController();
    const transfer = client.get("it", { via, signal: abort.signal });
    const { value: held } = await transfer.next();
    abort.abort(reason);
    await expect(drain(transfer)).rejects.toBe(reason);
    expect(held.column("i").get(0)).toBe(0);
    held.dispose();
    expect((await transfer.next()).done).toBe(true);
    expect(transfer.tried).toEqual([]);
  });

  test("several at once, of one client and one dataset, each get all", async () => {
    const { server, client } = await services.both();
    await server.put("it", some(40), { queue: { batches: 2 } });
    const all = await Promise.all(Array.from({ length: 8 }, () => values(client.get("it", { via }))));
    for (const one of all) expect(one).toEqual(expected(40));
  });
});

/** Lets connections that were closed come to their end. */
async function settled(): Promise<void> {
  let last = -1;
  await until(() => {
    const now = descriptors();
    const still = now === last;
    last = now;
    return still;
  }, "descriptors come to rest");
}

describe("a choice of ways", () => {
  const started: { server: Server; client: Client }[] = [];
  const start = async (data: string[]) => {
    const both = await services.both({ data });
    started.push(both);
    await both.server.put("it", some(3));
    return both;
  };

  test("on one host, shared memory is taken unless something else is asked for", async () => {
    const { client } = await start(["tcp://127.0.0.1:0", "shm:"]);
    const transfer = client.get("it");
    expect(await values(transfer)).toEqual(expected(3));
    expect(transfer.via).toBe("shm");
  });

  test("the order that was asked for is the one in which they are tried", async () => {
    const { client } = await start(["shm:", "tcp://127.0.0.1:0"]);
    for (const via of [
      ["tcp", "shm"],
      ["shm", "tcp"],
      ["grpc", "tcp"],
    ] as Via[][]) {
      const transfer = client.get("it", { via });
      await drain(transfer);
      expect(transfer.via).toBe(via[0]);
    }
  });

  test("one that is named alone never falls back", async () => {
    const { client } = await start(["tcp://127.0.0.1:0"]);
    for (const via of ["shm", "ucx", "fabric", "http"] as const) {
      for (const asked of [via, [via]]) {
        const transfer = client.get("it", { via: asked });
        expect(await codeOf(transfer.next())).toBe("ERR_NO_TRANSPORT");
        expect((await transfer.next()).done).toBe(true);
      }
    }
  });

  test.each(["tcp", "shm"] as const)("%s named alone and not to be reached: its own error", async (via) => {
    const { server, client } = await start([via === "tcp" ? "tcp://127.0.0.1:0" : "shm:"]);
    const info = await client.info("it");
    const gone = await services.both({ data: [] });
    await gone.server.put("it", some(1));
    await server.close();
    const transfer = gone.client.read(info, { via });
    expect(await codeOf(transfer.next())).toMatch(/^ERR_/);
    expect(ways(transfer)).toEqual([[via, expect.stringMatching(/^ERR_/)]]);
  });

  test("what does not work is passed over before any data came: named in tried, and told to whoever listens", async () => {
    const { server, client } = await start(["shm:", "tcp://127.0.0.1:0"]);
    const told: unknown[] = [];
    const hear = (event: unknown) => told.push(event);
    const info = await client.info("it");
    const port = new URL(uriOf(server, "tcp")).port;
    const closed = await services.serve({ data: ["tcp://127.0.0.1:0"] });
    const nobody = new URL(closed.data[0]).port;
    await closed.close();
    const [endpoint] = info.endpoints;
    const wrong = endpoint.data.map((uri) =>
      uri.replace("@", "@").replace(port, nobody).replace("shm:///", "shm:///nowhere/"),
    );
    listen("arrowlane:subscription", hear);
    try {
      const transfer = client.read({ ...info, endpoints: [{ ...endpoint, data: wrong }] });
      expect(await values(transfer)).toEqual(expected(3));
      expect(transfer.via).toBe("grpc");
      expect(transfer.tried.map(({ via }) => via)).toEqual(["shm", "tcp"]);
      for (const { error } of transfer.tried) expect(error.message.length).toBeGreaterThan(10);
      expect(told).toEqual(
        transfer.tried.map(({ via, error }) => ({ event: "fell-through", topic: "it", via, error })),
      );
    } finally {
      unsubscribe("arrowlane:subscription", hear);
    }
  });

  test("when none works, the error names each and why", async () => {
    const { server, client } = await start(["shm:", "tcp://127.0.0.1:0"]);
    const info = await client.info("it");
    await server.close();
    const transfer = client.read(info, { via: ["shm", "tcp"] });
    const error = await transfer.next().catch((thrown) => thrown);
    expect(error).toMatchObject({ code: "ERR_NO_TRANSPORT" });
    for (const { error: each } of transfer.tried) expect(error.message).toContain(each.message);
    expect(transfer.tried.map(({ via }) => via)).toEqual(["shm", "tcp"]);
    expect((await transfer.next()).done).toBe(true);
  });

  test("strictZeroCopy passes over ways that copy", async () => {
    const { client } = await start(["tcp://127.0.0.1:0"]);
    const transfer = client.get("it", { via: ["grpc", "tcp"], strictZeroCopy: true });
    expect(await values(transfer)).toEqual(expected(3));
    expect([transfer.via, ways(transfer)]).toEqual(["tcp", [["grpc", "ERR_COPY_REQUIRED"]]]);
    expect(await codeOf(client.get("it", { via: "grpc", strictZeroCopy: true }).next())).toBe(
      "ERR_COPY_REQUIRED",
    );
  });

  test("a way that is none is refused when it is asked for", async () => {
    const { client } = await start(["shm:"]);
    for (const via of ["quic", [], ["shm", "quic"], 5, {}]) {
      expect(await codeOf(() => client.get("it", { via: via as Via }))).toBe("ERR_INVALID_ARGUMENT");
    }
    for (const what of ["", [5], {}, undefined, { command: "text" }]) {
      expect(await codeOf(() => client.get(what as string))).toBe("ERR_INVALID_ARGUMENT");
    }
  });
});

test.each(DATA_WAYS)("subscribe() takes a data URI of %s with the ticket in it", async (scheme) => {
  const { server } = await services.both();
  await server.put("it", some(5));
  const { ticket } = server.endpoints("it");
  const got: number[] = [];
  for await (const batch of subscribe(`${uriOf(server, scheme)}&ticket=${ticket}`)) {
    got.push(...(batch.column("i").toArray() as Int32Array));
    batch.dispose();
  }
  expect(got).toEqual(expected(5));
  expect(await codeOf(() => subscribe(uriOf(server, scheme)))).toBe("ERR_INVALID_ARGUMENT");
});

test("a transfer that nobody asked for anything costs the server nothing", async () => {
  const { server } = await services.both({ data: ["tcp://127.0.0.1:0"] });
  await server.put("it", some(1));
  const before = server.controlBytes();
  const { uris, ticket } = server.endpoints("it");
  const open = descriptors();
  readFrom(uris, ticket).close();
  const unused = readFrom(uris, ticket);
  expect([descriptors(), server.controlBytes()]).toEqual([open, before]);
  unused.close();
  expect((await unused.next()).done).toBe(true);
});
