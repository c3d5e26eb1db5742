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

  test("options that make no sense", async () => {
    for (const options of [
      { memory: 0 },
      { memory: -1 },
      { memory: 1.5 },
      { memory: "1" },
      { queue: { batches: 0 } },
      { queue: { batches: Number.NaN } },
      { queue: { bytes: 0 } },
      { minSubscribers: -1 },
      { minSubscribers: 0.5 },
    ]) {
      expect([options, await codeOf(stage.publish(freshTopic(), options as never))]).toEqual([
        options,
        "ERR_INVALID_ARGUMENT",
      ]);
    }
  });
});
