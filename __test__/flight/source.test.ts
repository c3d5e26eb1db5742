/** What is made anew for each client, and topics: streams of a client's own, by every way. */
import { afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { type Client, connect, type Server, type Source } from "../../ts/flight.js";
import type { Batch } from "../../ts/index.js";
import { codeOf, counters, freshTopic, numbers, numbersSchema, Stage, until } from "../support.js";
import { batchOf, plain, samples } from "../unit/arrow-support.js";
import { copiedBytes, drain, Services, values, WAYS } from "./flight-support.js";

const services = new Services();
const stage = new Stage();

afterEach(async () => {
  await services.clear();
  await stage.clear();
});

async function offering(source: Source): Promise<{ server: Server; client: Client }> {
  const both = await services.both();
  await both.server.put("made", source, { schema: numbersSchema });
  return both;
}

const column = (...batches: arrow.RecordBatch[]) =>
  batches.flatMap((batch) => [...(batch.getChild("i") as arrow.Vector)]);

const { emitWarning } = process;
afterEach(() => {
  process.emitWarning = emitWarning;
});

/** Waits for the next warning of a failed source. */
function warned(): Promise<string> {
  return new Promise((resolve) => {
    process.emitWarning = ((message: string, options: { code?: string }) => {
      if (options.code === "ARROWLANE_SOURCE_FAILED") resolve(message);
    }) as typeof emitWarning;
  });
}

describe("a function that makes batches", () => {
  test.each(WAYS)("is asked anew by each client over %s", async (via) => {
    let asked = 0;
    const { server, client } = await offering(async function* () {
      const first = ++asked;
      for (let i = 0; i < 3; i++) yield numbers(first * 10 + i);
    });
    const expected = (first: number) =>
      column(numbers(first * 10), numbers(first * 10 + 1), numbers(first * 10 + 2));
    expect(await values(client.get("made", { via }))).toEqual(expected(1));
    expect(await values(client.get("made", { via }))).toEqual(expected(2));
    expect(server.offers()).toEqual([
      {
        name: "made",
        kind: "source",
        schema: expect.anything(),
        rows: undefined,
        bytes: undefined,
        batches: undefined,
      },
    ]);
  });

  test.each(WAYS)("that gives nothing is a stream with a schema over %s", async (via) => {
    const { client } = await offering(() => []);
    expect(await values(client.get("made", { via }))).toEqual([]);
    const info = await client.info("made");
    expect(info.schema?.fields.map((field) => field.name)).toEqual(["i", "x"]);
    expect([info.rows, info.bytes]).toEqual([undefined, undefined]);
  });

  test("serves clients beside each other, each at its own pace", async () => {
    const { client } = await offering(async function* () {
      for (let i = 0; i < 200; i++) yield numbers(i);
    });
    const slow = client.get("made", { via: "tcp" });
    const held: Batch[] = [];
    for (let i = 0; i < 3; i++) held.push((await slow.next()).value as Batch);
    const quick = await Promise.all(WAYS.map((via) => values(client.get("made", { via }))));
    for (const got of quick) expect(got).toHaveLength(200 * numbers(0).numRows);
    for (const batch of held) batch.dispose();
    let rest = 0;
    await drain(slow, () => rest++);
    expect(rest).toBe(197);
  });

  test("makes no more than its client takes", async () => {
    let made = 0;
    const { server } = await services.both();
    const source: Source = async function* () {
      for (; made < 1000; made++) yield numbers(made, 100_000);
    };
    await server.put("made", source, { schema: numbersSchema, queue: { batches: 4 } });
    const client = await connect(server.control as string);
    for (const via of WAYS) {
      made = 0;
      const transfer = client.get("made", { via });
      (await transfer.next()).value?.dispose();
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(made).toBeLessThan(300);
      transfer.close();
    }
  });

  test.each(WAYS)("whose client leaves over %s is told, and stops", async (via) => {
    let stopped = false;
    const signals: AbortSignal[] = [];
    const { client } = await offering(async function* ({ signal }) {
      signals.push(signal);
      try {
        for (let i = 0; ; i++) yield numbers(i);
      } finally {
        stopped = true;
      }
    });
    const transfer = client.get("made", { via });
    (await transfer.next()).value?.dispose();
    transfer.close();
    await until(() => stopped && signals[0].aborted, "the source is told");
    expect(signals).toHaveLength(1);
  });

  test.each(WAYS)("that throws ends its client's stream over %s, and no other", async (via) => {
    let asked = 0;
    const { client } = await offering(async function* () {
      const fails = asked++ === 0;
      yield numbers(1);
      if (fails) throw new Error("no more ink");
      yield numbers(2);
    });
    const warning = warned();
    const transfer = client.get("made", { via });
    const got: number[] = [];
    const read = drain(transfer, (batch) => got.push(batch.length));
    await expect(read).rejects.toThrow("no more ink");
    expect(got.length).toBeLessThanOrEqual(1);
    expect(await warning).toContain("no more ink");
    expect(await values(client.get("made", { via }))).toEqual(column(numbers(1), numbers(2)));
  });

  test("that makes batches of another schema fails that client", async () => {
    const { client } = await offering(() => [batchOf(arrow, { other: samples(arrow).utf8 })]);
    const warning = warned();
    await expect(values(client.get("made", { via: "tcp" }))).rejects.toThrow(/schema/);
    expect(await warning).toMatch(/schema/);
  });

  test("needs a schema, and is checked", async () => {
    const { server } = await services.both();
    expect(await codeOf(server.put("made", () => []))).toBe("ERR_INVALID_ARGUMENT");
    const warning = warned();
    await server.put("made", () => 7 as never, { schema: numbersSchema });
    const client = await connect(server.control as string);
    await expect(values(client.get("made", { via: "shm" }))).rejects.toThrow("must be a batch");
    await warning;
  });

  test("goes on for those who fetch it when the name is given away, or removed", async () => {
    const { server, client } = await offering(async function* () {
      for (let i = 0; i < 100; i++) yield numbers(i);
    });
    const { ticket, uris, halves } = server.endpoints("made");
    expect(halves).toBeUndefined();
    expect([ticket.length, uris.length > 0]).toEqual([32, true]);
    const transfer = client.get("made", { via: "tcp" });
    (await transfer.next()).value?.dispose();
    await server.put("made", numbers(7));
    expect(await values(client.get("made"))).toEqual(column(numbers(7)));
    expect(server.offers().map(({ kind }) => kind)).toEqual(["dataset"]);
    let rest = 0;
    await drain(transfer, () => rest++);
    expect(rest).toBe(99);
  });

  test("leaves nothing behind", async () => {
    const before: Record<string, number> = { ...counters() };
    for (let i = 0; i < 3; i++) {
      const { server, client } = await offering(() => [numbers(1), numbers(2)]);
      for (const via of WAYS) await values(client.get("made", { via }));
      await server.put("made", () => [numbers(3)], { schema: numbersSchema });
      await server.close();
    }
    await services.clear();
    const now = () => Object.entries(counters());
    await until(() => now().every(([what, count]) => count <= before[what]), "memory goes back");
  });

  test("what it sends is copied once, and never over shared memory's way again", async () => {
    const { client } = await offering(() => [numbers(1, 100_000)]);
    await values(client.get("made", { via: "shm" }));
    const copied = copiedBytes();
    await drain(client.get("made", { via: "shm" }), (batch) => expect(batch.zeroCopy).toBe(true));
    expect(copiedBytes() - copied).toBe(0);
  });
});

describe("a topic", () => {
  test("is joined by Flight's DoGet too, once its schema is known", async () => {
    const publisher = await stage.publish(freshTopic(), { minSubscribers: 0 });
    const { server, client } = await services.both();
    await server.put("live", publisher);
    expect(await codeOf(values(client.get("live", { via: "grpc" })))).toBe("ERR_UNSUPPORTED");
    await publisher.send(numbers(0));
    const transfer = client.get("live", { via: "grpc" });
    const first = transfer.next();
    await until(() => publisher.subscribers === 1, "it joins");
    await publisher.send(numbers(1), { metadata: new Map([["k", "v"]]) });
    const batch = (await first).value as Batch;
    expect(plain(batch.column("i") as arrow.Vector)).toEqual(column(numbers(1)));
    expect([...batch.metadata]).toEqual([["k", "v"]]);
    batch.dispose();
    await publisher.close();
    expect(await transfer.next()).toEqual({ done: true, value: undefined });
  });

  test("is left by a DoGet that is given up while nothing is sent", async () => {
    const publisher = await stage.publish(freshTopic(), { minSubscribers: 0 });
    await publisher.send(numbers(0));
    const { server, client } = await services.both();
    await server.put("live", publisher);
    const transfer = client.get("live", { via: "grpc" });
    const waiting = transfer.next();
    await until(() => publisher.subscribers === 1, "it joins");
    transfer.close();
    await until(() => publisher.subscribers === 0, "it leaves");
    await waiting;
  });
});

test("endpoints of a dataset say how it is fetched over two connections", async () => {
  const { server } = await services.both();
  await server.put("kept", numbers(3));
  const { halves, ticket } = server.endpoints("kept");
  const { readFrom } = await import("../../ts/flight.js");
  expect(halves?.metadata).not.toBe(halves?.data);
  expect(await values(readFrom(halves as { metadata: string; data: string }, ticket))).toEqual(
    column(numbers(3)),
  );
});
