/** What a server offers is what was put, whatever it was made of. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { type Client, connect, readFrom, type Server, serve } from "../../ts/flight.js";
import { codeOf, counters, freshTopic, numbers, numbersSchema, Stage, until } from "../support.js";
import { batchOf, plain, samples } from "../unit/arrow-support.js";
import { copiedBytes, drain, large, Services, values } from "./flight-support.js";

const services = new Services();
const stage = new Stage();
const folder = mkdtempSync(join(tmpdir(), "arrowlane-serve-"));

afterEach(async () => {
  await services.clear();
  await stage.clear();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const path = (name: string) => join(folder, name);

async function quick(): Promise<{ server: Server; client: Client }> {
  return services.both({ data: ["shm:"] });
}

describe("what was put is what is fetched", () => {
  const batches = [numbers(0), numbers(1, 3), numbers(2)];
  const expected = batches.flatMap((batch) => [...(batch.getChild("i") as arrow.Vector)]);
  async function* asynchronous() {
    for (const batch of batches) yield batch;
  }
  test.each(
    Object.entries({
      "a Table": () => new arrow.Table(batches),
      "an array of batches": () => batches,
      "a generator": () => batches.values(),
      "an async iterable": asynchronous,
      "an async iterable of Tables": async function* () {
        yield new arrow.Table(batches.slice(0, 2));
        yield new arrow.Table(batches.slice(2));
      },
    }),
  )("%s", async (_, make) => {
    const { server, client } = await quick();
    await server.put("it", make());
    expect(await values(client.get("it"))).toEqual(expected);
    expect(server.offers()).toEqual([
      { name: "it", kind: "dataset", rows: 23, bytes: 276, batches: 3, schema: expect.anything() },
    ]);
  });

  test("one RecordBatch, and a batch that a transfer brought", async () => {
    const { server, client } = await quick();
    await server.put("one", numbers(5));
    for await (const batch of client.get("one")) {
      await server.put("again", batch);
      batch.dispose();
    }
    expect(await values(client.get("again"))).toEqual([...(numbers(5).getChild("i") as arrow.Vector)]);
  });

  test("bytes, under the schema of bytes", async () => {
    const { server, client } = await quick();
    await server.put("bytes", Uint8Array.of(1, 2, 3));
    const got: number[] = [];
    await drain(client.get("bytes"), (batch) => got.push(...(batch.column("value").get(0) as Uint8Array)));
    expect(got).toEqual([1, 2, 3]);
  });

  const all = samples(arrow);
  test.each(Object.keys(all))("a column of %s", async (name) => {
    const { server, client } = await quick();
    await server.put("types", batchOf(arrow, { [name]: all[name] }));
    for (const via of ["shm", "grpc"] as const) {
      let got: unknown[] = [];
      await drain(client.get("types", { via }), (batch) => {
        got = plain(batch.column(name) as arrow.Vector);
      });
      expect(got).toEqual(plain(all[name]));
    }
  });

  test("a dictionary that is replaced from one batch to the next", async () => {
    const { server, client } = await quick();
    const word = (words: string[]) =>
      new arrow.Table({
        w: arrow.vectorFromArray(words, new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32())),
      });
    await server.put("words", [word(["a", "b", "a"]), word(["c", "c"]), word(["b", "d"])]);
    for (const via of ["shm", "grpc"] as const) {
      const got: unknown[] = [];
      await drain(client.get("words", { via }), (batch) =>
        got.push(...plain(batch.column("w") as arrow.Vector)),
      );
      expect(got).toEqual(["a", "b", "a", "c", "c", "b", "d"]);
    }
  });
});

describe("without batches", () => {
  test("the schema that was given is what clients are told", async () => {
    const { server, client } = await quick();
    await server.put("none", [], { schema: numbersSchema });
    expect(server.offers()).toMatchObject([{ name: "none", rows: 0, bytes: 0, batches: 0 }]);
    expect((await client.schema("none")).fields.map(({ name }) => name)).toEqual(["i", "x"]);
    for (const via of ["shm", "grpc"] as const) {
      expect(await drain(client.get("none", { via }))).toMatchObject({ batches: 0, rows: 0 });
    }
  });

  test("and without a schema it is refused, and nothing is offered", async () => {
    const { server } = await quick();
    expect(await codeOf(server.put("none", []))).toBe("ERR_SCHEMA_MISMATCH");
    expect(server.offers()).toEqual([]);
  });

  test("a batch without rows is a batch", async () => {
    const { server, client } = await quick();
    await server.put("empty", [numbers(0).slice(0, 0), numbers(1, 1), numbers(2).slice(5, 5)]);
    expect(await drain(client.get("empty"))).toMatchObject({ batches: 3, rows: 1 });
  });
});

describe("a file", () => {
  const table = new arrow.Table([numbers(0), numbers(1)]);
  const expected = [...(table.getChild("i") as arrow.Vector)];
  test("of the IPC file format and of the stream format, told apart by content", async () => {
    const { server, client } = await quick();
    writeFileSync(path("file.dat"), arrow.tableToIPC(table, "file"));
    writeFileSync(path("stream.dat"), arrow.tableToIPC(table, "stream"));
    for (const name of ["file", "stream"]) {
      await server.putFile(name, path(`${name}.dat`));
      expect(await values(client.get(name))).toEqual(expected);
    }
  });

  test("that is cut short or removed after it was put changes nothing", async () => {
    const { server, client } = await quick();
    writeFileSync(path("cut.arrow"), arrow.tableToIPC(table, "file"));
    await server.putFile("cut", path("cut.arrow"));
    const transfer = client.get("cut");
    const { value: held } = await transfer.next();
    truncateSync(path("cut.arrow"), 10);
    expect([...held.column("i").toArray()]).toEqual(expected.slice(0, 10));
    held.dispose();
    expect(await values(transfer)).toEqual(expected.slice(10));
    rmSync(path("cut.arrow"));
    expect(await values(client.get("cut"))).toEqual(expected);
  });

  test("that is not there, or is none of ours, or broken, is refused by its own code", async () => {
    const { server } = await quick();
    writeFileSync(path("text"), "hello, hello, hello");
    writeFileSync(path("half.arrow"), arrow.tableToIPC(table, "file").slice(0, 300));
    expect(await codeOf(server.putFile("x", path("nowhere")))).toBe("ERR_IO");
    expect(await codeOf(server.putFile("x", path("text")))).toBe("ERR_UNKNOWN_FORMAT");
    expect(await codeOf(server.putFile("x", path("half.arrow")))).toMatch(
      /^ERR_(INVALID_DATA|DAMAGED_DATA)$/,
    );
    expect(server.offers()).toEqual([]);
  });
});

describe("under one name", () => {
  test("what is put later is what later clients get; transfers that go on keep what they had", async () => {
    const { server, client } = await services.both();
    await server.put(
      "it",
      Array.from({ length: 200 }, (_, b) => numbers(b)),
      { queue: { batches: 1 } },
    );
    const old = server.endpoints("it");
    const transfers = ["shm", "tcp", "grpc"].map((via) => client.get("it", { via: via as "shm" }));
    for (const transfer of transfers) (await transfer.next()).value.dispose();
    await server.put("it", numbers(1000));
    expect(await values(client.get("it"))).toEqual([...(numbers(1000).getChild("i") as arrow.Vector)]);
    for (const transfer of transfers)
      expect(await drain(transfer)).toMatchObject({ batches: 199, rows: 1990 });
    expect(old.ticket).not.toBe(server.endpoints("it").ticket);
  });

  test("a put that fails leaves what was there", async () => {
    const { server, client } = await quick();
    await server.put("it", numbers(1));
    async function* failing() {
      yield numbers(2);
      throw new RangeError("no more");
    }
    await expect(server.put("it", failing())).rejects.toThrow(new RangeError("no more"));
    expect(await codeOf(server.put("it", [numbers(1), large(80)]))).toBe("ERR_SCHEMA_MISMATCH");
    expect(await codeOf(server.put("it", large(1 << 24), { memory: 1 << 20 }))).toBe("ERR_OUT_OF_MEMORY");
    expect(await codeOf(server.put("it", [numbers(1)], { schema: large(8).schema }))).toBe(
      "ERR_SCHEMA_MISMATCH",
    );
    const signal = AbortSignal.abort(new RangeError("given up"));
    await expect(server.put("it", [numbers(1)], { signal })).rejects.toThrow("given up");
    expect(await values(client.get("it"))).toEqual([...(numbers(1).getChild("i") as arrow.Vector)]);
  });

  test("what is removed is not there, and what was fetched of it stays", async () => {
    const { server, client } = await quick();
    await server.put("it", [numbers(1), numbers(2)]);
    const transfer = client.get("it");
    const { value: held } = await transfer.next();
    expect([server.remove("it"), server.remove("it")]).toEqual([true, false]);
    expect(server.offers()).toEqual([]);
    expect(await codeOf(client.info("it"))).toBe("ERR_NOT_FOUND");
    expect(await codeOf(() => server.endpoints("it"))).toBe("ERR_NOT_FOUND");
    expect(await codeOf(client.get("it").next())).toBe("ERR_NOT_FOUND");
    expect(await drain(transfer)).toMatchObject({ batches: 1 });
    expect(held.column("i").get(0)).toBe(1000);
    held.dispose();
  });
});

test("memory is free when nothing is offered, no ticket stands for it and nobody holds it", async () => {
  const before = counters();
  const { server, client } = await services.both({ ticketLife: 2000 });
  await server.put("it", [numbers(1), numbers(2)]);
  const transfer = client.get("it");
  const { value: held } = await transfer.next();
  const { ticket } = server.endpoints("it");
  server.remove("it");
  // Its ticket buys it for as long as that is good.
  expect(await drain(readFrom(server.data[0], ticket))).toMatchObject({ batches: 2 });
  expect(await drain(transfer)).toMatchObject({ batches: 1 });
  held.dispose();
  await until(() => counters().blocks === before.blocks, "every block is back");
  await until(() => counters().segments === before.segments, "every segment is unmapped");
});

test("putting copies every byte once, and what was allocated in place not at all", async () => {
  const { server } = await quick();
  const batch = large(8 << 20);
  const before = copiedBytes();
  await server.put("it", batch);
  expect(copiedBytes() - before).toBeLessThanOrEqual(8 << 20);
});

describe("a publisher's topic", () => {
  test.each(["shm", "tcp", "ucx"] as const)(
    "is joined over %s: batches that are sent from then on",
    async (via) => {
      const { server, client } = await services.both();
      if (!server.data.some((uri) => uri.startsWith(via))) return;
      const publisher = await stage.publish(freshTopic(), { minSubscribers: 1 });
      await server.put("live", publisher);
      expect(server.offers()).toEqual([
        {
          name: "live",
          kind: "topic",
          schema: undefined,
          rows: undefined,
          bytes: undefined,
          batches: undefined,
        },
      ]);
      const got = values(client.get("live", { via }));
      for (let b = 0; b < 20; b++) await publisher.send(numbers(b, 2));
      await publisher.close();
      expect(await got).toEqual(Array.from({ length: 20 }, (_, b) => [b * 1000, b * 1000 + 1]).flat());
    },
  );

  test("is not to be had by DoGet, and says so", async () => {
    const { server, client } = await quick();
    await server.put("live", await stage.publish(freshTopic()));
    await expect(client.get("live", { via: "grpc" }).next()).rejects.toThrow(/topic/);
  });

  test("is offered no more when its publisher is closed", async () => {
    const { server, client } = await quick();
    const publisher = await stage.publish(freshTopic());
    await server.put("live", publisher);
    const { ticket, uris } = server.endpoints("live");
    expect(uris).toHaveLength(1);
    await publisher.close();
    expect(server.offers()).toEqual([]);
    expect(await codeOf(client.info("live"))).toBe("ERR_NOT_FOUND");
    expect(ticket).toMatch(/^[0-9a-f]{32}$/);
  });
});

describe("what is wrong is refused when it is asked for", () => {
  const bad = async (options: unknown) => {
    const outcome = await codeOf(serve(options as never).then((server) => server.close()));
    expect(outcome).not.toBeUndefined();
    return outcome;
  };
  test.each([
    ["options that are none", 5, "ERR_INVALID_ARGUMENT"],
    ["data that is no array", { data: "shm:" }, "ERR_INVALID_ARGUMENT"],
    ["an address that is no string", { data: [5] }, "ERR_INVALID_ARGUMENT"],
    ["an address that is no URL", { data: ["nothing"] }, "ERR_INVALID_ARGUMENT"],
    ["a transport that nobody knows", { data: ["quic://127.0.0.1:0"] }, "ERR_INVALID_ARGUMENT"],
    ["a host that is none", { data: ["tcp://no.such.host.invalid:0"] }, /^ERR_/],
    ["a port that is none", { data: ["tcp://127.0.0.1:99999"] }, "ERR_INVALID_ARGUMENT"],
    ["a life of no time", { ticketLife: 0 }, "ERR_INVALID_ARGUMENT"],
    ["a control plane that nobody knows", { control: "quic://127.0.0.1:0" }, "ERR_INVALID_ARGUMENT"],
    ["inline that is no flag", { control: "grpc+tcp://127.0.0.1:0", inline: 1 }, "ERR_INVALID_ARGUMENT"],
    [
      "locations that nobody knows",
      { control: "grpc+tcp://127.0.0.1:0", locations: "some" },
      "ERR_INVALID_ARGUMENT",
    ],
    [
      "uploads that are no answer",
      { control: "grpc+tcp://127.0.0.1:0", uploads: "yes" },
      "ERR_INVALID_ARGUMENT",
    ],
    ["TLS without a certificate", { control: "grpc+tls://127.0.0.1:0" }, /^ERR_/],
  ])("%s", async (_, options, code) => {
    expect(await bad(options)).toEqual(typeof code === "string" ? code : expect.stringMatching(code));
  });

  test("names that are none, and options of put", async () => {
    const { server, client } = await quick();
    for (const name of ["", 5, undefined]) {
      expect(await codeOf(server.put(name as string, numbers(1)))).toBe("ERR_INVALID_ARGUMENT");
      expect(await codeOf(server.putFile(name as string, "x"))).toBe("ERR_INVALID_ARGUMENT");
      expect(await codeOf(client.put(name as string, numbers(1)))).toBe("ERR_INVALID_ARGUMENT");
    }
    for (const options of [
      5,
      { memory: 0 },
      { memory: "1" },
      { queue: 5 },
      { queue: { batches: 0 } },
      { queue: { bytes: -1 } },
    ]) {
      expect(await codeOf(server.put("x", numbers(1), options as never))).toBe("ERR_INVALID_ARGUMENT");
    }
    for (const what of [undefined, null, 5, {}, [5]]) {
      expect(await codeOf(server.put("x", what as never))).toBe("ERR_INVALID_ARGUMENT");
    }
    expect(server.offers()).toEqual([]);
  });

  test("an address that is taken names itself, and leaves no server behind", async () => {
    const { server } = await services.both({ data: ["tcp://127.0.0.1:0"] });
    const port = new URL(server.data[0]).port;
    await expect(serve({ data: [`tcp://127.0.0.1:${port}`] })).rejects.toThrow(port);
    await expect(serve({ control: server.control, data: [] })).rejects.toThrow(
      new URL(server.control as string).port,
    );
  });

  test("a closed server offers nothing and lets nobody in", async () => {
    const { server, client } = await quick();
    await server.put("it", numbers(1));
    const address = server.control as string;
    await server.close();
    expect([server.offers(), server.data]).toEqual([[], []]);
    expect(await codeOf(client.info("it"))).toMatch(/^ERR_/);
    expect(await codeOf(connect(address, { deadline: 2000 }).then((late) => late.list()))).toMatch(/^ERR_/);
    await server.close();
  });
});

test("a put that fails or is given up leaves no memory, and the signal ends it while it waits", async () => {
  const { server, client } = await services.both({ uploads: true, data: [] });
  const before = counters();
  const broken = async function* () {
    yield numbers(0);
    throw new Error("no more");
  };
  await expect(server.put("it", broken())).rejects.toThrow("no more");
  await expect(server.put("it", [numbers(0), batchOf(arrow, { x: samples(arrow).utf8 })])).rejects.toThrow();
  const never = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
  await expect(server.put("it", never, { signal: AbortSignal.timeout(50) })).rejects.toThrow(/timeout/);
  await expect(client.put("it", broken())).rejects.toThrow("no more");
  await until(() => counters().segments <= before.segments, "segments are as before");
  expect(server.offers()).toEqual([]);
});

test("an upload that is given up on its way is not offered", async () => {
  const { server, client } = await services.both({ uploads: true, data: [] });
  const before = counters();
  const giveUp = new AbortController();
  const put = client.put("large", Array(16).fill(large(16 << 20)), { signal: giveUp.signal });
  await until(() => client.bytes().sent > 1 << 20, "it is on its way");
  giveUp.abort(new Error("not any more"));
  await expect(put).rejects.toThrow("not any more");
  await until(() => counters().segments <= before.segments, "segments are as before");
  expect(server.offers()).toEqual([]);
}, 60_000);

test("a data port that is taken is said to be", async () => {
  const { server } = await services.both({ data: ["tcp://127.0.0.1:0"] });
  const { host } = new URL(server.data[0]);
  expect(await codeOf(services.serve({ control: undefined, data: [`tcp://${host}`] }))).toBe("ERR_BIND");
});
