/**
 * What is refused, and with which code: a schema in the middle of a stream, a topic, a name, an option. What is refused
 * leaves nothing behind, and the stream goes on.
 */
import { afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { codeOf, connected, first, freshTopic, isPending, numbers, Stage, take, until } from "../support.js";

const stage = new Stage();
afterEach(() => stage.clear());

describe("what is refused", () => {
  test("another schema in the middle of a stream, and the stream goes on", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    await publisher.send(numbers(1));
    const other = new arrow.Table({ i: arrow.vectorFromArray(["text"]) });
    expect(await codeOf(publisher.send(other))).toBe("ERR_SCHEMA_MISMATCH");
    expect(await codeOf(publisher.send(Uint8Array.of(1)))).toBe("ERR_SCHEMA_MISMATCH");
    await publisher.send(numbers(2));
    const received = [await pending[0], await take(subscriptions[0])];
    expect(received.map(first)).toEqual([1000, 2000]);
    for (const batch of received) batch.dispose();
    await until(() => publisher.statistics().bytesInUse === 0, "refused batches leave nothing behind");
  });

  test("a topic that is taken, and one that nobody publishes when told not to wait", async () => {
    const topic = freshTopic();
    await stage.publish(topic);
    expect(await codeOf(stage.publish(topic))).toBe("ERR_TOPIC_TAKEN");
    expect(await codeOf(stage.subscribe(freshTopic(), { wait: false }).next())).toBe("ERR_TOPIC_NOT_FOUND");
    const late = freshTopic();
    const waiting = take(stage.subscribe(late));
    expect(await isPending(waiting)).toBe(true);
    const publisher = await stage.publish(late);
    await publisher.send(numbers(3));
    expect(first(await waiting)).toBe(3000);
  });

  test("a topic is a name, never a path", async () => {
    for (const name of ["", "\0", "a\0b", "x".repeat(5000)]) {
      expect([name, await codeOf(stage.publish(name))]).toEqual([name, "ERR_BAD_NAME"]);
      expect([name, await codeOf(stage.subscribe(name).next())]).toEqual([name, "ERR_BAD_NAME"]);
    }
    for (const name of [17, null, undefined, {}]) {
      expect(await codeOf(stage.publish(name as never))).toBe("ERR_INVALID_ARGUMENT");
      expect(await codeOf(() => stage.subscribe(name as never))).toBe("ERR_INVALID_ARGUMENT");
    }
    const unique = freshTopic();
    for (const name of [
      `../${unique}`,
      `/tmp/${unique}`,
      `a/../../${unique}`,
      `${unique}/.`,
      `~/${unique}`,
      `${unique} ✓\n`,
    ]) {
      const publisher = await stage.publish(name);
      const next = take(stage.subscribe(name));
      await publisher.send(numbers(1));
      (await next).dispose();
      // Another spelling of a path is another name.
      expect(await codeOf(stage.subscribe(`./${name}`, { wait: false }).next())).toBe("ERR_TOPIC_NOT_FOUND");
    }
  });
});

/** What is given where a number, a flag, a signal or anything else is expected. */
const NO_NUMBERS = [
  -1,
  0.5,
  Number.NaN,
  Infinity,
  -Infinity,
  2 ** 53,
  1e300,
  "1",
  "",
  null,
  true,
  1n,
  {},
  [],
];
const NO_FLAGS = [0, 1, "true", null, {}];
const NO_OBJECTS = [null, 1, "x", true, Symbol("s")];
const NO_SIGNALS = [null, 1, "x", true, {}, new AbortController()];

/** Pairs of an option's name and options in which it is wrong. */
const each = (name: string, wrong: readonly unknown[]): [string, unknown][] =>
  wrong.map((value) => [name, { [name]: value }]);

describe("options that make no sense are refused by name", () => {
  const refusal = (name: string) => ({
    code: "ERR_INVALID_ARGUMENT",
    message: expect.stringContaining(name),
  });

  const publishing: [string, unknown][] = [
    ...each("memory", [0, ...NO_NUMBERS]),
    ...each("minSubscribers", [1025, 2 ** 32, ...NO_NUMBERS]),
    ...each("queue", NO_OBJECTS),
    ...[0, 65_537, ...NO_NUMBERS].map((batches): [string, unknown] => [
      "queue.batches",
      { queue: { batches } },
    ]),
    ...[0, ...NO_NUMBERS].map((bytes): [string, unknown] => ["queue.bytes", { queue: { bytes } }]),
    ...each("onSubscriber", [null, 1, "x", {}]),
    ...each("strictZeroCopy", NO_FLAGS),
    ...NO_OBJECTS.map((options): [string, unknown] => ["options of publish", options]),
  ];

  test("publish", async () => {
    for (const [name, options] of publishing) {
      await expect(stage.publish(freshTopic(), options as never)).rejects.toMatchObject(refusal(name));
    }
  });

  test("publish: less memory than one page, with what would do", async () => {
    for (const memory of [1, 10, 4095]) {
      await expect(stage.publish(freshTopic(), { memory })).rejects.toMatchObject({
        code: "ERR_INVALID_ARGUMENT",
        message: expect.stringMatching(new RegExp(`memory cannot be ${memory} bytes: give at least \\d+`)),
      });
    }
    // As much as a number can say is fine: it is a limit, not a request.
    await stage.publish(freshTopic(), { memory: Number.MAX_SAFE_INTEGER });
  });

  const subscribing: [string, unknown][] = [
    ...each("wait", NO_FLAGS),
    ...each("strictZeroCopy", NO_FLAGS),
    ...each("signal", NO_SIGNALS),
    ...NO_OBJECTS.map((options): [string, unknown] => ["options of subscribe", options]),
  ];

  test("subscribe", () => {
    for (const [name, options] of subscribing) {
      const subscribing = () => stage.subscribe(freshTopic(), options as never);
      expect(subscribing).toThrow(expect.objectContaining(refusal(name)));
    }
  });

  test("subscribe: forEach without a function", async () => {
    for (const callback of [undefined, null, 1, {}]) {
      await expect(stage.subscribe(freshTopic()).forEach(callback as never)).rejects.toMatchObject(
        refusal("callback"),
      );
    }
  });

  test("allocate: schema, rows, bytes, signal", async () => {
    const publisher = await stage.publish(freshTopic());
    const schema = new arrow.Schema([
      new arrow.Field("n", new arrow.Int32()),
      new arrow.Field("text", new arrow.Utf8()),
    ]);
    const refused = (what: string, ...args: unknown[]) =>
      expect(publisher.allocate(...(args as [never, never]))).rejects.toMatchObject(refusal(what));
    for (const rows of NO_NUMBERS) await refused("rows", schema, rows);
    for (const wrong of [undefined, null, 1, "x", {}, [], { fields: 1 }]) await refused("schema", wrong, 1);
    for (const bytes of NO_NUMBERS.slice(0, -2)) await refused("bytes", schema, 1, { bytes });
    for (const text of NO_NUMBERS) await refused("bytes", schema, 1, { bytes: { text } });
    for (const bytes of [{ n: 10 }, { tekst: 10 }]) await refused("bytes", schema, 1, { bytes });
    for (const signal of NO_SIGNALS) await refused("signal", schema, 1, { signal });
    for (const options of NO_OBJECTS) await refused("options of allocate", schema, 1, options);
    expect(publisher.statistics().bytesInUse).toBe(0);
    expect(await codeOf(publisher.allocate(schema, Number.MAX_SAFE_INTEGER))).toBe("ERR_OUT_OF_MEMORY");
  });

  test("send and close: what, metadata, signal, and the stream goes on", async () => {
    const { publisher, pending } = await connected(stage);
    const refused = (what: string, options: unknown) =>
      expect(publisher.send(numbers(1), options as never)).rejects.toMatchObject(refusal(what));
    for (const what of [undefined, null, 1, "x", {}, [], new Float64Array(1), new ArrayBuffer(1)]) {
      expect([what, await codeOf(publisher.send(what as never))]).toEqual([what, "ERR_INVALID_ARGUMENT"]);
    }
    for (const metadata of [null, 1, "x", true]) await refused("metadata", { metadata });
    for (const value of [1, null, undefined, {}, 1n]) {
      await refused("metadata.key", { metadata: { key: value } });
      await refused("metadata.key", { metadata: new Map([["key", value]]) });
    }
    await refused("key of metadata", { metadata: new Map([[1, "x"]]) });
    for (const signal of NO_SIGNALS) {
      await refused("signal", { signal });
      await expect(publisher.close({ signal } as never)).rejects.toMatchObject(refusal("signal"));
    }
    for (const options of NO_OBJECTS) {
      await refused("options of send", options);
      await expect(publisher.close(options as never)).rejects.toMatchObject(refusal("options of close"));
    }
    expect(await publisher.send(numbers(2), { metadata: new Map([["key", "value"]]) })).toBe(1);
    const batch = await pending[0];
    expect([first(batch), [...batch.metadata]]).toEqual([2000, [["key", "value"]]]);
    batch.dispose();
  });
});
