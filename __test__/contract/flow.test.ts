/**
 * Who waits for whom. Sending is lossless and bounded: `send` waits while a subscriber is too far behind, while all
 * memory is held, and while nobody listens; every wait can be given up, and nothing is lost when it is.
 */
import { afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import type { Batch } from "../../ts/index.js";
import {
  codeOf,
  connected,
  counters,
  first,
  freshTopic,
  isPending,
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

describe("back-pressure", () => {
  test("send waits when as many batches as the queue holds were not taken, and loses none", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 3 } });
    const sends = Array.from({ length: 10 }, (_, b) => publisher.send(numbers(b)));
    // One was awaited and so taken; three more are under way.
    await Promise.all(sends.slice(0, 4));
    for (const waiting of sends.slice(4)) expect(await isPending(waiting)).toBe(true);
    const received = [await pending[0]];
    while (received.length < 10) received.push(await take(subscriptions[0]));
    expect(received.map(first)).toEqual(Array.from({ length: 10 }, (_, b) => b * 1000));
    expect(await Promise.all(sends)).toEqual(Array(10).fill(1));
    for (const batch of received) batch.dispose();
  });

  test("held batches do not count as long as there is memory: taking is what makes room", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 1 } });
    const held: Batch[] = [];
    for (let b = 0; b < 50; b++) {
      await publisher.send(numbers(b));
      held.push(b === 0 ? await pending[0] : await take(subscriptions[0]));
    }
    expect(held.map(first)).toEqual(Array.from({ length: 50 }, (_, b) => b * 1000));
    expect(publisher.statistics().leases).toBe(50);
    for (const batch of held) batch.dispose();
    await until(() => publisher.statistics().bytesInUse === 0, "everything comes back");
  });

  test("the queue is bounded in bytes; one batch always fits", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { bytes: 1000 } });
    const sends = Array.from({ length: 4 }, (_, b) => publisher.send(numbers(b, 1000)));
    await sends[0];
    await sends[1];
    expect(await isPending(sends[2])).toBe(true);
    const received = [await pending[0]];
    while (received.length < 4) received.push(await take(subscriptions[0]));
    await Promise.all(sends);
    expect(received.map(first)).toEqual([0, 1000, 2000, 3000]);
    for (const batch of received) batch.dispose();
  });

  test("the slowest subscriber sets the pace, and its leaving ends the wait", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 1 } }, 2);
    await publisher.send(numbers(0));
    await publisher.send(numbers(1));
    const waiting = publisher.send(numbers(2));
    const fast = [await pending[0], await take(subscriptions[0])];
    expect(await isPending(waiting)).toBe(true);
    subscriptions[1].close();
    expect(await waiting).toBe(1);
    fast.push(await take(subscriptions[0]));
    expect(fast.map(first)).toEqual([0, 1000, 2000]);
    for (const batch of [...fast, await pending[1]]) batch.dispose();
  });

  test("with the pool full and everybody holding, send waits; a dispose lets it go on", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { memory: 4 << 20 });
    const rows = 80_000; // just under 1 MiB each
    const sends = Array.from({ length: 12 }, (_, b) => publisher.send(numbers(b, rows)));
    const received = [await pending[0]];
    const next = () => take(subscriptions[0]);
    await settle(50);
    expect(publisher.statistics().bytesInUse).toBeLessThanOrEqual(4 << 20);
    expect(await isPending(sends[11])).toBe(true);
    let sum = 0;
    while (received.length > 0) {
      const batch = received.shift() as Batch;
      const values = batch.column("i").toArray() as Int32Array;
      sum++;
      expect([values[0], values[rows - 1]]).toEqual([first(batch), first(batch) + rows - 1]);
      expect(first(batch)).toBe((sum - 1) * 1000);
      batch.dispose();
      if (sum < 12) received.push(await next());
    }
    await Promise.all(sends);
    await until(() => publisher.statistics().bytesInUse === 0, "everything comes back");
    expect(publisher.statistics().capacity).toBeLessThanOrEqual(4 << 20);
  });

  test("send waits for a subscriber; with minSubscribers 0 it does not", async () => {
    const topic = freshTopic();
    const patient = await stage.publish(topic);
    const waiting = patient.send(numbers(1));
    expect(await isPending(waiting)).toBe(true);
    const subscription = stage.subscribe(topic);
    const batch = await take(subscription);
    expect([await waiting, first(batch)]).toEqual([1, 1000]);
    batch.dispose();
    const careless = await stage.publish(freshTopic(), { minSubscribers: 0 });
    expect(await careless.send(numbers(1))).toBe(0);
    expect(careless.statistics()).toMatchObject({ leases: 0, bytesInUse: 0, subscribers: 0 });
    const two = await connected(stage, { minSubscribers: 2 });
    const both = two.publisher.send(numbers(3));
    expect(await isPending(both)).toBe(true);
    const second = take(stage.subscribe(two.publisher.topic));
    expect(await both).toBe(2);
    for (const one of [await second, await two.pending[0]]) one.dispose();
  });
});

describe("order", () => {
  test("sends that were not awaited arrive in the order of the calls, whatever they were", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 2 } });
    const sends: Promise<number>[] = [];
    for (let b = 0; b < 30; b += 3) {
      const writer = await publisher.allocate(numbersSchema, 10);
      writer.column("i").fill(b * 1000);
      writer.column("x").fill(0);
      sends.push(publisher.send(new arrow.Table([numbers(b)])));
      writer.column("i").fill((b + 1) * 1000);
      sends.push(publisher.send(writer));
      sends.push(publisher.send(numbers(b + 2)));
    }
    const received = [await pending[0]];
    while (received.length < 30) {
      const batch = await take(subscriptions[0]);
      received.push(batch);
    }
    expect(received.map(first)).toEqual(Array.from({ length: 30 }, (_, b) => b * 1000));
    await Promise.all(sends);
    for (const batch of received) batch.dispose();
  });

  test("several next() that wait get the batches in order", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    const waits = [pending[0], ...Array.from({ length: 4 }, () => take(subscriptions[0]))];
    for (let b = 0; b < 5; b++) await publisher.send(numbers(b));
    const received = await Promise.all(waits);
    expect(received.map(first)).toEqual([0, 1000, 2000, 3000, 4000]);
    for (const batch of received) batch.dispose();
  });
});

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

  test("a subscription that is closed keeps what it holds, and gives back what it did not take", async () => {
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

  test("what was on its way when the subscription closed comes back, though another batch is held", async () => {
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
  });

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

describe("an abort", () => {
  const reason = new Error("no longer wanted");

  test("of a send that waits for a subscriber rejects with the reason, and the batch is not sent", async () => {
    const topic = freshTopic();
    const publisher = await stage.publish(topic);
    const abort = new AbortController();
    const sent = publisher.send(numbers(1), { signal: abort.signal });
    expect(await isPending(sent)).toBe(true);
    abort.abort(reason);
    await expect(sent).rejects.toBe(reason);
    expect(publisher.statistics().bytesInUse).toBe(0);
    const next = take(stage.subscribe(topic));
    await publisher.send(numbers(2));
    expect(first(await next)).toBe(2000);
  });

  test("of a send behind another comes through at once; the others keep their order", async () => {
    const topic = freshTopic();
    const publisher = await stage.publish(topic);
    const abort = new AbortController();
    const one = publisher.send(numbers(1));
    const writer = await publisher.allocate(numbersSchema, 5);
    const array = writer.column("i");
    const given = [
      publisher.send(numbers(2), { signal: abort.signal }),
      publisher.send(writer, { signal: abort.signal }),
      publisher.send(new arrow.Table([numbers(3)]), { signal: abort.signal }),
    ];
    for (const send of given) send.catch(() => {});
    const four = publisher.send(numbers(4));
    expect(await isPending(given[1])).toBe(true);
    const used = publisher.statistics().bytesInUse;
    abort.abort(reason);
    for (const send of given) await expect(send).rejects.toBe(reason);
    expect(array.length).toBe(0);
    await until(() => publisher.statistics().bytesInUse < used, "the writer's memory comes back");
    const subscription = stage.subscribe(topic);
    const received = [await take(subscription), await take(subscription)];
    expect(received.map(first)).toEqual([1000, 4000]);
    await Promise.all([one, four]);
    expect(subscription.topic).toBe(topic);
    for (const batch of received) batch.dispose();
    await until(() => publisher.statistics().bytesInUse === 0, "all memory comes back");
  });

  test("of an allocate that waits for memory rejects; already aborted signals do too", async () => {
    const { publisher } = await connected(stage, { memory: 1 << 20 });
    const writer = await publisher.allocate(numbersSchema, 80_000);
    const abort = new AbortController();
    const waiting = publisher.allocate(numbersSchema, 80_000, { signal: abort.signal });
    expect(await isPending(waiting)).toBe(true);
    abort.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(publisher.allocate(numbersSchema, 1, { signal: abort.signal })).rejects.toBe(reason);
    await expect(publisher.send(numbers(1), { signal: abort.signal })).rejects.toBe(reason);
    writer.dispose();
    (await publisher.allocate(numbersSchema, 80_000)).dispose();
  });

  test("of a subscription rejects who waits, also before there is a publisher, and whoever comes after", async () => {
    const abort = new AbortController();
    const early = stage.subscribe(freshTopic(), { signal: abort.signal });
    const idle = stage.subscribe(freshTopic(), { signal: abort.signal });
    const { publisher } = await connected(stage);
    const joined = stage.subscribe(publisher.topic, { signal: abort.signal });
    const waits = [early.next(), joined.next()];
    for (const wait of waits) wait.catch(() => {});
    await until(() => publisher.subscribers === 2, "it takes part");
    abort.abort(reason);
    for (const wait of waits) await expect(wait).rejects.toBe(reason);
    await expect(idle.next()).rejects.toBe(reason);
    expect((await early.next()).done).toBe(true);
    await until(() => publisher.subscribers === 1, "it has left");
    await expect(
      (async () => {
        for await (const _ of stage.subscribe(publisher.topic, { signal: abort.signal }));
      })(),
    ).rejects.toBe(reason);
  });
});

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
