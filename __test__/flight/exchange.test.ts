/** `DoExchange`: batches go out, answers come in, both at their own pace. */
import { afterEach, describe, expect, test } from "@jest/globals";
import type * as arrow from "apache-arrow";
import type { Client, Exchange, ExchangeRequest, ServeOptions, Server } from "../../ts/flight.js";
import type { Batch } from "../../ts/index.js";
import { codeOf, counters, numbers, numbersSchema, until } from "../support.js";
import { drain, large, Services, values } from "./flight-support.js";

const services = new Services();
const { emitWarning } = process;

afterEach(async () => {
  process.emitWarning = emitWarning;
  await services.clear();
});

async function exchanging(
  exchange: Exchange,
  options: ServeOptions = {},
): Promise<{ server: Server; client: Client }> {
  return services.both({ data: [], exchange, ...options });
}

const column = (...batches: arrow.RecordBatch[]) =>
  batches.flatMap((batch) => [...(batch.getChild("i") as arrow.Vector)]);

/** Answers each batch with itself. */
const echo: Exchange = async function* (batches) {
  for await (const batch of batches) {
    yield batch;
    batch.dispose();
  }
};

describe("an exchange", () => {
  test("answers each batch as it comes", async () => {
    const requests: ExchangeRequest[] = [];
    const { client } = await exchanging((batches, request) => {
      requests.push(request);
      return echo(batches, request);
    });
    // Each is sent when the one before it was answered.
    let answered = 0;
    const answers = client.exchange(
      "echo",
      (async function* () {
        for (let i = 0; i < 5; i++) {
          await until(() => answered === i, "the one before is answered");
          yield numbers(i);
        }
      })(),
    );
    await drain(answers, (batch) => {
      expect([...(batch.column("i") as arrow.Vector)]).toEqual(column(numbers(answered++)));
    });
    expect(answered).toBe(5);
    expect(requests).toMatchObject([
      { name: "echo", identity: undefined, peer: expect.stringMatching(/^127/) },
    ]);
  });

  test("gives back the transfer itself, and takes a table", async () => {
    const { client } = await exchanging((batches) => batches);
    expect(await values(client.exchange(["a", "b"], [numbers(1), numbers(2)]))).toEqual(
      column(numbers(1), numbers(2)),
    );
  });

  test("answers once, at the end, in another schema", async () => {
    const { client } = await exchanging(async (batches) => {
      let rows = 0;
      for await (const batch of batches) {
        rows += batch.length;
        batch.dispose();
      }
      return [numbers(rows, 1)];
    });
    const many = Array.from({ length: 300 }, (_, i) => numbers(i));
    expect(await values(client.exchange({ command: new TextEncoder().encode("sum") }, many))).toEqual([
      3000_000,
    ]);
  });

  test("may say nothing, and be asked nothing", async () => {
    const { client } = await exchanging(echo);
    expect(await values(client.exchange("echo", [], { schema: numbersSchema }))).toEqual([]);
    expect(await values(client.exchange("echo", []))).toEqual([]);
  });

  test("carries large batches both ways, and holds nobody's memory", async () => {
    const before = counters().blocks;
    const { client } = await exchanging(echo);
    const batch = large(16 << 20);
    for (let round = 0; round < 2; round++) {
      const got = await drain(client.exchange("echo", Array(8).fill(batch)), (one) =>
        expect(one.column("x").get(batch.numRows - 1)).toBe(batch.numRows - 1),
      );
      expect([got.rows, [...got.via]]).toEqual([8 * batch.numRows, ["grpc"]]);
    }
    await until(() => counters().blocks <= before, "memory goes back");
  });

  test("stops its source while nobody takes the answers", async () => {
    let sent = 0;
    const { client } = await exchanging(echo);
    const answers = client.exchange(
      "echo",
      (function* () {
        for (; sent < 10_000; sent++) yield numbers(sent, 100_000);
      })(),
      { queue: { batches: 4 } },
    );
    (await answers.next()).value?.dispose();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(sent).toBeLessThan(2000);
    answers.close();
  });

  test("that the client gives up ends on both sides", async () => {
    let server: "running" | "ended" | unknown = "running";
    let gone: AbortSignal | undefined;
    const { client } = await exchanging(async function* (batches, { signal }) {
      try {
        for await (const batch of batches) {
          yield batch;
          batch.dispose();
        }
      } catch (error) {
        server = error;
      } finally {
        if (server === "running") server = "ended";
        gone = signal;
      }
    });
    let returned = false;
    const source = (async function* () {
      try {
        for (let i = 0; ; i++) yield numbers(i);
      } finally {
        returned = true;
      }
    })();
    const answers = client.exchange("echo", source);
    (await answers.next()).value?.dispose();
    answers.close();
    await until(() => returned, "the source has ended");
    await until(() => server !== "running" && gone?.aborted === true, "the server's side has ended");
  });

  test("that fails says why", async () => {
    process.emitWarning = (() => {}) as typeof emitWarning;
    const { client } = await exchanging(async function* (batches) {
      for await (const batch of batches) {
        batch.dispose();
        yield numbers(1);
        throw new Error("the answer is not known");
      }
    });
    await expect(values(client.exchange("x", [numbers(0)]))).rejects.toThrow("the answer is not known");
    const broken = (async function* () {
      yield numbers(0);
      throw new Error("the question is not known");
    })();
    await expect(values(client.exchange("x", broken))).rejects.toThrow(/not known/);
  });

  test("is known who asks", async () => {
    const { server } = await exchanging((_, { identity }) => [numbers(identity === "ada" ? 1 : 2)], {
      authenticate: (credentials) => (credentials.kind === "basic" ? credentials.user : ""),
    });
    const { connect } = await import("../../ts/flight.js");
    const ada = await connect(server.control as string, { credentials: { user: "ada", password: "x" } });
    expect(await values(ada.exchange("who", [], { schema: numbersSchema }))).toEqual(column(numbers(1)));
    const nobody = await connect(server.control as string);
    expect(await codeOf(values(nobody.exchange("who", [numbers(0)])))).toMatch(/^ERR_/);
  });

  test("is refused where the server has none", async () => {
    const { client } = await services.both({ data: [] });
    expect(await codeOf(values(client.exchange("echo", [numbers(0)])))).toBe("ERR_UNSUPPORTED");
    expect(await codeOf(services.serve({ exchange: 7 as never }))).toBe("ERR_INVALID_ARGUMENT");
  });

  test("whose question is not read, or not sent, ends with the answer", async () => {
    const { client } = await exchanging(() => [numbers(7)]);
    for (let i = 0; i < 20; i++) {
      const never = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
      expect(await values(client.exchange("x", never, { schema: numbersSchema }))).toEqual(
        column(numbers(7)),
      );
      const large = Array(30).fill(numbers(0, 100_000));
      expect(await values(client.exchange("x", large))).toEqual(column(numbers(7)));
    }
    expect((await client.list()).length).toBe(0);
  });

  test("many at once are apart", async () => {
    const { client } = await exchanging(echo);
    const all = Array.from({ length: 40 }, (_, n) =>
      values(
        client.exchange(
          "echo",
          Array.from({ length: 20 }, (_, i) => numbers(n * 100 + i)),
        ),
      ),
    );
    for (const [n, got] of (await Promise.all(all)).entries()) {
      expect(got).toEqual(column(...Array.from({ length: 20 }, (_, i) => numbers(n * 100 + i))));
    }
  });
});

test("a batch of an exchange can be kept", async () => {
  const { client } = await exchanging(echo);
  const kept: Batch[] = [];
  for await (const batch of client.exchange("echo", [numbers(1), numbers(2)])) kept.push(batch);
  expect(kept.flatMap((batch) => [...(batch.column("i") as arrow.Vector)])).toEqual(
    column(numbers(1), numbers(2)),
  );
  for (const batch of kept) batch.dispose();
});
