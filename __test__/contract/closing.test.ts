/** Ends that are asked for in the middle: streams end with an error, and nobody waits for what never comes. */
import { afterEach, describe, expect, test } from "@jest/globals";
import {
  codeOf,
  connected,
  first,
  freshTopic,
  isPending,
  numbers,
  numbersSchema,
  Stage,
  take,
  until,
} from "../support.js";

const stage = new Stage();
afterEach(() => stage.clear());

describe("close({ error })", () => {
  test("delivers what was sent, then the error with its code and message", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, {}, 2);
    await publisher.send(numbers(1));
    const error = Object.assign(new Error("the disk is full"), { code: "ENOSPC" });
    await publisher.close({ error });
    for (const [n, subscription] of subscriptions.entries()) {
      const batch = await pending[n];
      expect(first(batch)).toBe(1000);
      batch.dispose();
      await expect(subscription.next()).rejects.toMatchObject({
        code: "ERR_REMOTE",
        message: expect.stringMatching(/ENOSPC: the disk is full/),
      });
      expect((await subscription.next()).done).toBe(true);
    }
    await stage.publish(publisher.topic);
  });

  test("rejects what still waits with ERR_CLOSED, also when it is asked for while another close waits", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 1 } });
    const writer = await publisher.allocate(numbersSchema, 10);
    const sends = [numbers(0), numbers(1), writer, numbers(3)].map((what) => publisher.send(what));
    const codes = Promise.all(sends.map(codeOf));
    const closed = publisher.close();
    await publisher.close({ error: "it broke" });
    await closed;
    expect(await codes).toEqual(["nothing was thrown", "ERR_CLOSED", "ERR_CLOSED", "ERR_CLOSED"]);
    (await pending[0]).dispose();
    await expect(subscriptions[0].next()).rejects.toMatchObject({
      code: "ERR_REMOTE",
      message: expect.stringContaining("it broke"),
    });
  });

  test("reaches a subscriber that has only just knocked", async () => {
    const publisher = await stage.publish(freshTopic());
    const next = take(stage.subscribe(publisher.topic));
    // Within one turn: the publisher has not looked at its door yet.
    const closed = publisher.close({ error: new Error("no data today") });
    expect(await codeOf(next)).toBe("ERR_PUBLISHER_LOST");
    await closed;
  });

  test("ends streams of subscribers' own that are under way; those that had ended stay complete", async () => {
    const served: number[] = [];
    const publisher = await stage.publish(freshTopic(), {
      onSubscriber: async (stream) => {
        await stream.send(numbers(served.length));
        if (served.push(1) > 1) await new Promise(() => {});
      },
    });
    const [ended, cut] = [stage.subscribe(publisher.topic), stage.subscribe(publisher.topic)];
    (await take(ended)).dispose();
    await until(() => served.length === 1, "the first is served");
    (await take(cut)).dispose();
    await publisher.close({ error: new Error("stopped") });
    expect((await ended.next()).done).toBe(true);
    expect(await codeOf(cut.next())).toBe("ERR_REMOTE");
  });
});

describe("close() while sends wait", () => {
  test("for a subscriber: they reject with ERR_CLOSED, in their order, and close resolves", async () => {
    const publisher = await stage.publish(freshTopic());
    const writer = await publisher.allocate(numbersSchema, 10);
    const sends = [numbers(0), writer, numbers(1), numbers(2)].map((what) => publisher.send(what));
    const codes = Promise.all(sends.map(codeOf));
    await publisher.close();
    expect(await codes).toEqual(["ERR_CLOSED", "ERR_CLOSED", "ERR_CLOSED", "ERR_CLOSED"]);
    await stage.publish(publisher.topic);
  });

  test("for more subscribers than there are: the same, and those that are there see an ordinary end", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { minSubscribers: 2 });
    const sent = codeOf(publisher.send(numbers(0)));
    await publisher.close();
    expect(await sent).toBe("ERR_CLOSED");
    await expect(pending[0]).rejects.toThrow("the stream ended");
    expect((await subscriptions[0].next()).done).toBe(true);
  });

  test("when the subscriber leaves, those that waited for it reject too", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 1 } });
    const sends = [0, 1, 2].map((b) => publisher.send(numbers(b)));
    const codes = Promise.all(sends.map(codeOf));
    (await pending[0]).dispose();
    const closed = publisher.close();
    subscriptions[0].close();
    await closed;
    // The second may have found room before it left.
    expect((await codes).at(-1)).toBe("ERR_CLOSED");
  });
});

describe("close({ signal })", () => {
  test("gives up on a subscriber that takes nothing: what was not sent is an error on both sides", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 1 } });
    const sends = [0, 1, 2].map((b) => publisher.send(numbers(b)));
    const codes = Promise.all(sends.map(codeOf));
    const abort = new AbortController();
    const closed = publisher.close({ signal: abort.signal });
    expect(await isPending(closed)).toBe(true);
    abort.abort(new Error("enough"));
    await expect(closed).rejects.toThrow("enough");
    // The second has room since the first was taken.
    expect(await codes).toEqual(["nothing was thrown", "nothing was thrown", "ERR_CLOSED"]);
    (await pending[0]).dispose();
    (await take(subscriptions[0])).dispose();
    expect(["ERR_REMOTE", "ERR_PUBLISHER_LOST"]).toContain(await codeOf(subscriptions[0].next()));
    expect(await publisher.close()).toBeUndefined();
    await stage.publish(publisher.topic);
  });

  test("that was aborted before gives up at once; after everything was handed over it changes nothing", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 1 } });
    const sends = [0, 1].map((b) => publisher.send(numbers(b)));
    const codes = Promise.all(sends.map(codeOf));
    await expect(publisher.close({ signal: AbortSignal.abort(new Error("late")) })).rejects.toThrow("late");
    expect(await codes).toEqual(["nothing was thrown", "ERR_CLOSED"]);
    (await pending[0]).dispose();
    subscriptions[0].close();

    const other = await connected(stage);
    await other.publisher.send(numbers(5));
    const abort = new AbortController();
    await other.publisher.close({ signal: abort.signal });
    abort.abort();
    (await other.pending[0]).dispose();
    expect((await other.subscriptions[0].next()).done).toBe(true);
  });
});
