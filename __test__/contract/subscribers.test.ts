/**
 * Subscribers come and go, and streams end. Whoever leaves gives back what it did not take and keeps what it holds;
 * whoever stays gets everything that was sent, and then the end.
 */
import { afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import {
  codeOf,
  connected,
  counters,
  first,
  freshTopic,
  isPending,
  lent,
  numbers,
  numbersSchema,
  Stage,
  settle,
  take,
  until,
} from "../support.js";
import { batchOf, esm, plain } from "../unit/arrow-support.js";

const stage = new Stage();
afterEach(() => stage.clear());

describe("subscribers come and go", () => {
  test("a late joiner starts at the next batch, with schema and dictionaries", async () => {
    const { publisher, pending } = await connected(stage);
    const words = arrow.vectorFromArray(
      ["u", "v"],
      new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32()),
    );
    const send = () => publisher.send(batchOf(esm, { words }));
    await send();
    (await pending[0]).dispose();
    const late = stage.subscribe(publisher.topic);
    const next = take(late);
    await until(() => publisher.subscribers === 2, "it takes part");
    expect(await isPending(next)).toBe(true);
    expect(await send()).toBe(2);
    const batch = await next;
    expect(plain(batch.column("words"))).toEqual(["u", "v"]);
    batch.dispose();
  });

  lent("a subscription that is closed keeps what it holds, and gives back what it did not take", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    for (let b = 0; b < 8; b++) await publisher.send(numbers(b));
    const held = await pending[0];
    await settle();
    subscriptions[0].close();
    expect(await subscriptions[0].next()).toEqual({ done: true, value: undefined });
    await until(() => publisher.statistics().leases === 1, "what was not taken comes back");
    await until(() => publisher.subscribers === 0, "it has left");
    expect(first(held)).toBe(0);
    held.dispose();
    await until(() => publisher.statistics().bytesInUse === 0, "the held one comes back");
  });

  lent(
    "what was on its way when the subscription closed comes back, though another batch is held",
    async () => {
      const { publisher, subscriptions, pending } = await connected(stage);
      await publisher.send(numbers(0));
      const held = await pending[0];
      // In one turn: sent, and not read before the close.
      const sends = Array.from({ length: 5 }, (_, b) => publisher.send(numbers(b + 1)));
      subscriptions[0].close();
      await Promise.all(sends);
      await until(() => publisher.statistics().leases === 1, "what was on its way comes back");
      expect(first(held)).toBe(0);
      held.dispose();
      await until(() => publisher.statistics().bytesInUse === 0, "the held one comes back");
    },
  );

  /** A held batch's memory is not used again, however much is sent meanwhile. */
  test("the values of a held batch never change while the publisher goes on sending", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { memory: 8 << 20 }, 2);
    const rows = 40_000;
    await publisher.send(numbers(7, rows));
    const held = await pending[0];
    (await pending[1]).dispose();
    const before = Array.from(held.column("i").toArray() as Int32Array);
    subscriptions[0].close();
    for (let b = 0; b < 60; b++) {
      await publisher.send(numbers(b, rows));
      const batch = await take(subscriptions[1]);
      expect(first(batch)).toBe(b * 1000);
      batch.dispose();
    }
    await publisher.close();
    const again = await stage.publish(publisher.topic, { minSubscribers: 0, memory: 8 << 20 });
    for (let b = 0; b < 20; b++) await again.send(numbers(b, rows));
    expect(Array.from(held.column("i").toArray() as Int32Array)).toEqual(before);
    held.dispose();
  });

  test("leaving a loop closes the subscription", async () => {
    const { publisher, pending, subscriptions } = await connected(stage);
    for (let b = 0; b < 4; b++) await publisher.send(numbers(b));
    const seen = [first(await pending[0])];
    for await (const batch of subscriptions[0]) {
      seen.push(first(batch));
      batch.dispose();
      if (seen.length === 3) break;
    }
    expect(seen).toEqual([0, 1000, 2000]);
    await until(() => publisher.subscribers === 0, "it has left");
    (await pending[0]).dispose();
    await until(() => publisher.statistics().leases === 0, "nothing is left behind");
    await expect(
      (async () => {
        const topic = freshTopic();
        const again = await stage.publish(topic);
        const sent = again.send(numbers(1));
        sent.catch(() => {});
        for await (const _ of stage.subscribe(topic)) throw new Error("of the loop's body");
      })(),
    ).rejects.toThrow("of the loop's body");
  });

  test("a callback gets every batch; closing in it ends delivery and leaves nothing behind", async () => {
    const topic = freshTopic();
    const publisher = await stage.publish(topic);
    const subscription = stage.subscribe(topic);
    const seen: number[] = [];
    const before = counters().batches;
    const done = subscription.forEach((batch) => {
      seen.push(first(batch));
      batch.dispose();
      if (seen.length === 3) subscription.close();
    });
    const abort = new AbortController();
    for (let b = 0; b < 10; b++) publisher.send(numbers(b), { signal: abort.signal }).catch(() => {});
    await done;
    expect(seen).toEqual([0, 1000, 2000]);
    await until(() => publisher.subscribers === 0, "it has left");
    await until(() => counters().batches <= before, "no handle is left over");
    await until(() => publisher.statistics().leases === 0, "no lease is left over");
    abort.abort();
  });

  test("what a callback throws ends the subscription and rejects", async () => {
    const topic = freshTopic();
    const publisher = await stage.publish(topic);
    const subscription = stage.subscribe(topic);
    const done = subscription.forEach((batch) => {
      batch.dispose();
      throw new Error("of the callback");
    });
    void publisher.send(numbers(1));
    await expect(done).rejects.toThrow("of the callback");
    await until(() => publisher.subscribers === 0, "it has left");
  });

  test("each gets a stream of its own from onSubscriber", async () => {
    const topic = freshTopic();
    const publisher = await stage.publish(topic, {
      onSubscriber: async (stream) => {
        for (let b = 0; b < 3; b++) await stream.send(numbers(b));
      },
    });
    expect(await codeOf(publisher.send(numbers(1)))).toBe("ERR_INVALID_ARGUMENT");
    const read = async () => {
      const seen: number[] = [];
      for await (const batch of stage.subscribe(topic)) {
        seen.push(first(batch));
        batch.dispose();
      }
      return seen;
    };
    expect(await Promise.all([read(), read()])).toEqual([
      [0, 1000, 2000],
      [0, 1000, 2000],
    ]);
    expect(await read()).toEqual([0, 1000, 2000]);
    await until(() => publisher.statistics().leases === 0, "nothing is left behind");
  });

  test("closing a publisher whose streams are under way ends them without an error that nobody can catch", async () => {
    const topic = freshTopic();
    const unhandled: unknown[] = [];
    const note = (error: unknown) => unhandled.push(error);
    process.on("unhandledRejection", note);
    const ends: string[] = [];
    const publisher = await stage.publish(topic, {
      queue: { batches: 1 },
      onSubscriber: async (stream) => {
        try {
          for (let b = 0; ; b++) await stream.send(numbers(b));
        } catch (error) {
          ends.push((error as { code: string }).code);
          if (ends.length === 2) return;
          throw error;
        }
      },
    });
    const subscriptions = [stage.subscribe(topic), stage.subscribe(topic)];
    const batches = await Promise.all(subscriptions.map(take));
    await publisher.close();
    await until(() => ends.length === 2, "both streams end");
    await settle();
    process.off("unhandledRejection", note);
    expect([ends, unhandled]).toEqual([["ERR_CLOSED", "ERR_CLOSED"], []]);
    for (const batch of batches) batch.dispose();
  });
});

describe("the end", () => {
  test("comes after everything that was sent, also what still waited, and for every subscriber", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 2 } }, 3);
    const sends = Array.from({ length: 9 }, (_, b) => publisher.send(numbers(b)));
    const closed = publisher.close();
    const read = async (n: number) => {
      const batches = [await pending[n]];
      for await (const batch of subscriptions[n]) batches.push(batch);
      const seen = batches.map(first);
      for (const batch of batches) batch.dispose();
      return seen;
    };
    const all = Array.from({ length: 9 }, (_, b) => b * 1000);
    expect(await Promise.all([read(0), read(1), read(2)])).toEqual([all, all, all]);
    await Promise.all([...sends, closed]);
    expect(await publisher.close()).toBeUndefined();
  });

  test("after close nothing can be sent or allocated, and the name is free", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    await publisher.send(numbers(1));
    (await pending[0]).dispose();
    const closed = publisher.close();
    expect(await codeOf(publisher.send(numbers(2)))).toBe("ERR_CLOSED");
    expect(await codeOf(publisher.allocate(numbersSchema, 1))).toBe("ERR_CLOSED");
    await closed;
    expect((await subscriptions[0].next()).done).toBe(true);
    expect((await subscriptions[0].next()).done).toBe(true);
    expect(await codeOf(publisher.send(numbers(2)))).toBe("ERR_CLOSED");
    expect(await codeOf(() => publisher.statistics())).toBe("ERR_CLOSED");
    await stage.publish(publisher.topic);
  });

  test("a stream without a batch ends too", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    await publisher.close();
    await expect(pending[0]).rejects.toThrow("the stream ended");
    expect((await subscriptions[0].next()).done).toBe(true);
  });
});
