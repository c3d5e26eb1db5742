/**
 * Who keeps a batch for too long is told, and where it was agreed, it is taken away.
 *
 * One warning a batch, in the process that holds it; nothing for those that are given back in time.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe as listen, unsubscribe as unlisten } from "node:diagnostics_channel";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import type { Batch, LeaseEvent, SubscribeOptions } from "../../ts/index.js";
import { subscribe } from "../../ts/index.js";
import { first, freshTopic, numbers, Stage, settle, take, until, untilCollected } from "../support.js";
import { batchOf, esm, plain, samples } from "../unit/arrow-support.js";

interface Warning {
  message: string;
  code: string;
  detail: string | undefined;
  topic: string;
  age: number;
}

const stage = new Stage();
const revoked = expect.objectContaining({ code: "ERR_LEASE_REVOKED", name: "LeaseRevokedError" });
let warnings: Warning[] = [];
let events: LeaseEvent[] = [];
// Jest's process is a copy, which hears no warnings; __test__/process/leases.test.ts has the real one.
const { emitWarning } = process;
const onWarning = (message: string, options: { type: string; code: string; detail?: string }) => {
  const [, topic = "", age] = /of topic "([^"]*)"(?: has been held for (\d+) ms)?/.exec(message) ?? [];
  const { type, code, detail } = options;
  if (type === "LeaseWarning") warnings.push({ message, code, detail, topic, age: Number(age) });
  else emitWarning(message, options);
};
const onEvent = (event: unknown) => {
  if (String((event as LeaseEvent).event).startsWith("lease-")) events.push(event as LeaseEvent);
};
beforeEach(() => {
  warnings = [];
  events = [];
  process.emitWarning = onWarning as unknown as typeof emitWarning;
  listen("arrowlane:subscription", onEvent);
});
afterEach(async () => {
  await stage.clear();
  process.emitWarning = emitWarning;
  unlisten("arrowlane:subscription", onEvent);
});

/** A publisher and one subscription with these options; `next` sends a batch and takes it. */
async function joined(options: SubscribeOptions, memory?: number) {
  const topic = freshTopic();
  const publisher = await stage.publish(topic, memory === undefined ? {} : { memory });
  const subscription = stage.subscribe(topic, options);
  const next = async (source: arrow.RecordBatch = numbers(1)): Promise<Batch> => {
    const pending = take(subscription);
    await publisher.send(source);
    return pending;
  };
  return { topic, publisher, subscription, next };
}

/** Warnings of another batch that is held for as long show that nothing more is to come. */
async function untilLater(topic: string, count: number): Promise<void> {
  const later = await joined({ leaseWarning: 40 });
  const batch = await later.next();
  await until(() => warnings.some((w) => w.topic === later.topic), "a warning for a later batch");
  batch.dispose();
  expect(warnings.filter((w) => w.topic === topic)).toHaveLength(count);
}

describe("a batch that is held for longer than leaseWarning", () => {
  test("makes one warning, which names topic, sequence and age; the publisher lists it", async () => {
    const { topic, publisher, next } = await joined({ leaseWarning: 20 });
    const batch = await next();
    await until(() => warnings.length > 0, "a warning");
    const [warning] = warnings;
    const sequence = 1;
    const { age } = warning;
    expect(warning).toMatchObject({ code: "ARROWLANE_LEASE_WARNING", topic });
    expect(age).toBeGreaterThanOrEqual(20);
    expect(warning.message).toContain(`batch 1 of topic "${topic}" has been held for ${age} ms`);
    expect(warning.detail).toBeUndefined();
    const [{ id }] = publisher.subscriptions();
    const leases = publisher.leases();
    expect(leases).toEqual([
      { subscriber: id, pid: process.pid, sequence, bytes: expect.any(Number), age: expect.any(Number) },
    ]);
    expect(leases[0].age).toBeGreaterThan(0);
    expect(leases[0].bytes).toBeGreaterThanOrEqual(batch.byteLength);
    await untilLater(topic, 1);
    batch.dispose();
    await until(() => publisher.leases().length === 0, "the lease ends");
    expect(events).toContainEqual({
      event: "lease-warning",
      topic,
      sequence,
      bytes: batch.byteLength,
      age,
    });
  });

  test("makes none when it was disposed in time, or when nobody wants any", async () => {
    const one = await joined({ leaseWarning: 30 });
    (await one.next()).dispose();
    const held: Batch[] = [];
    for (const leaseWarning of [0, Infinity]) {
      const { topic, next } = await joined({ leaseWarning });
      held.push(await next());
      await untilLater(topic, 0);
    }
    await untilLater(one.topic, 0);
    for (const batch of held) batch.dispose();
  });

  test("makes one for a slice alone, and none after it", async () => {
    const { topic, next } = await joined({ leaseWarning: 20 });
    const batch = await next();
    const slice = batch.slice(2, 4).select(["x"]);
    batch.dispose();
    await until(() => warnings.length > 0, "a warning");
    await untilLater(topic, 1);
    slice.dispose();
  });

  const kept: [string, (batch: Batch) => unknown][] = [
    ["a column", (batch) => batch.column("x")],
    ["a typed array", (batch) => batch.column("x").toArray()],
  ];
  test.each(kept)("makes one for %s alone, whose handle was collected", async (_, keep) => {
    const { topic, publisher, next } = await joined({ leaseWarning: 200 });
    const left: unknown[] = [];
    let handle: WeakRef<Batch> | undefined;
    await next().then((batch) => {
      left.push(keep(batch));
      handle = new WeakRef(batch);
    });
    await untilCollected(() => handle?.deref() === undefined, "the handle is collected");
    await until(() => warnings.some((w) => w.topic === topic), "a warning");
    expect(left).toHaveLength(1);
    left.length = 0;
    await untilCollected(() => publisher.leases().length === 0, "the lease ends");
    await untilLater(topic, 1);
  });

  test("counts from when it is taken: what waits in the queue is nobody's fault", async () => {
    const { topic, publisher, subscription, next } = await joined({ leaseWarning: 40 });
    (await next()).dispose();
    await publisher.send(numbers(2));
    await until(() => subscription.statistics().queued === 1, "a batch waits");
    await untilLater(topic, 0);
    const batch = await take(subscription);
    await until(() => warnings.some((w) => w.topic === topic), "a warning");
    batch.dispose();
  });

  test("says where it was asked for, when that is wanted", async () => {
    const { topic, next } = await joined({ leaseWarning: 20, leaseStacks: true });
    const batch = await (async function askedHere() {
      return next();
    })();
    await until(() => warnings.length > 0, "a warning");
    batch.dispose();
    expect(warnings[0].detail).toContain("leases.test.ts");
    expect(warnings[0].detail).toMatch(/^ +at /);
    const one = await joined({ leaseWarning: 20, leaseStacks: true });
    const taken: Batch[] = [];
    const all = one.subscription.forEach((b) => void taken.push(b));
    await one.publisher.send(numbers(1));
    await until(() => warnings.some((w) => w.topic === one.topic), "a warning");
    expect(warnings.find((w) => w.topic !== topic)?.detail).toContain("leases.test.ts");
    for (const b of taken) b.dispose();
    await one.publisher.close();
    await all;
  });

  test("makes few warnings where everything is kept, and every one is an event", async () => {
    const { topic, publisher, subscription, next } = await joined({ leaseWarning: 300 });
    const held = [await next()];
    for (let n = 0; n < 40; n++) await publisher.send(numbers(n));
    while (held.length < 41) held.push(await take(subscription));
    await until(() => events.filter((e) => e.topic === topic).length === 41, "41 events");
    await settle();
    expect(warnings.length).toBeLessThan(41);
    expect(warnings.some((w) => /\d+ more batches of topic/.test(w.message))).toBe(true);
    expect(publisher.leases().map((lease) => lease.sequence)).toEqual(held.map((_, n) => n + 1));
    for (const batch of held) batch.dispose();
  });

  test("is told in nobody's asynchronous context", async () => {
    const storage = new AsyncLocalStorage<string>();
    const contexts: unknown[] = [];
    const look = () => contexts.push(storage.getStore());
    listen("arrowlane:subscription", look);
    const batches = await storage.run("mine", async () => {
      const one = await joined({ leaseWarning: 300 });
      // Another one while a look is waited for.
      const other = await joined({ leaseWarning: 20 });
      const taken = [await one.next(), await other.next()];
      expect(storage.getStore()).toBe("mine");
      return taken;
    });
    await until(() => events.length === 2, "two warnings");
    unlisten("arrowlane:subscription", look);
    expect(contexts).toEqual([undefined, undefined]);
    for (const batch of batches) batch.dispose();
  });
});

describe("leaseTimeout", () => {
  test("warns once more, unless it revokes", async () => {
    const { topic, publisher, next } = await joined({ leaseWarning: 20, leaseTimeout: 60 });
    const batch = await next();
    await until(() => warnings.length === 2, "two warnings");
    expect(warnings.map((w) => w.code)).toEqual(["ARROWLANE_LEASE_WARNING", "ARROWLANE_LEASE_TIMEOUT"]);
    expect([first(batch), batch.revoked]).toEqual([1000, false]);
    await untilLater(topic, 2);
    expect(publisher.leases()).toHaveLength(1);
    batch.dispose();
  });

  test("revokes: the lease ends once, and dispose afterwards does nothing", async () => {
    const options = { leaseWarning: 0, leaseTimeout: 20, onLeaseTimeout: "revoke" } as const;
    const { topic, publisher, subscription, next } = await joined(options);
    const batch = await next();
    const slice = batch.slice(1);
    const raw = batch.column("x").toArray();
    await until(() => batch.revoked, "it is revoked");
    expect([slice.revoked, raw.length]).toEqual([true, 0]);
    await until(() => publisher.leases().length === 0, "the lease ends");
    expect(warnings.map((w) => [w.code, w.topic])).toEqual([["ARROWLANE_LEASE_TIMEOUT", topic]]);
    expect(events.map((e) => e.event)).toEqual(["lease-timeout", "lease-revoked"]);
    for (const handle of [batch, slice, batch, slice]) handle.dispose();
    expect(subscription.statistics().leases).toBe(0);
    await until(() => publisher.statistics().bytesInUse === 0, "the memory is free");
    // Its number and its memory are another's now.
    const next1 = await next(numbers(2));
    batch.dispose();
    expect(first(next1)).toBe(2000);
    expect(() => batch.column("i")).toThrow(revoked);
    next1.dispose();
  });

  test("revokes in the middle of an iteration: the next step throws", async () => {
    const { next } = await joined({ leaseTimeout: 20, onLeaseTimeout: "revoke" });
    const all = samples(esm);
    const batch = await next(batchOf(esm, all));
    const iterations = Object.keys(all).map((name) => batch.column(name)[Symbol.iterator]());
    for (const iteration of iterations) iteration.next();
    await until(() => batch.revoked, "it is revoked");
    for (const iteration of iterations) expect(() => iteration.next()).toThrow(revoked);
  });

  test("revokes what only a column, or a typed array, refers to still", async () => {
    const { publisher, next } = await joined({ leaseTimeout: 300, onLeaseTimeout: "revoke" });
    const kept: [arrow.Vector, ArrayLike<number>][] = [];
    const handles: WeakRef<Batch>[] = [];
    await next().then((batch) => {
      kept[0] = [batch.column("x"), []];
      handles.push(new WeakRef(batch));
    });
    await next().then((batch) => {
      kept[1] = [arrow.vectorFromArray([1]), batch.column("x").toArray() as Float64Array];
      handles.push(new WeakRef(batch));
    });
    await untilCollected(() => handles.every((h) => h.deref() === undefined), "the handles are collected");
    await until(() => publisher.leases().length === 0, "the leases end");
    expect(() => kept[0][0].get(0)).toThrow(revoked);
    expect(() => kept[0][0].toArray()).toThrow(revoked);
    expect(kept[1][1]).toHaveLength(0);
  });

  test("revokes for one subscriber: another one reads on", async () => {
    const topic = freshTopic();
    const publisher = await stage.publish(topic, { minSubscribers: 2 });
    const mine = stage.subscribe(topic, { leaseTimeout: 20, onLeaseTimeout: "revoke" });
    const other = stage.subscribe(topic);
    const pending = [take(mine), take(other)];
    await publisher.send(numbers(3));
    const [a, b] = await Promise.all(pending);
    await until(() => a.revoked, "it is revoked");
    await until(() => publisher.leases().length === 1, "one lease is left");
    expect([b.revoked, first(b), plain(b.column("i")).length]).toEqual([false, 3000, 10]);
    b.dispose();
    await until(() => publisher.leases().length === 0, "the other ends");
  });

  test("revokes while a send of the batch waits: that has taken hold of it, and goes on", async () => {
    const { next } = await joined({ leaseTimeout: 40, onLeaseTimeout: "revoke" });
    const onwards = await stage.publish(freshTopic());
    const batch = await next(numbers(1, 2000));
    const sent = onwards.send(batch);
    await until(() => batch.revoked, "it is revoked");
    const downstream = stage.subscribe(onwards.topic);
    const forwarded = await take(downstream);
    expect([await sent, first(forwarded)]).toEqual([1, 1000]);
    forwarded.dispose();
  });

  test("with a publisher that takes it back, memory that was all held is free again", async () => {
    const options = { leaseTimeout: 20, onLeaseTimeout: "revoke" } as const;
    const { publisher, subscription, next } = await joined(options, 1 << 16);
    const held = [await next()];
    const reading = (async () => {
      for await (const batch of subscription) held.push(batch);
    })();
    for (let n = 0; n < 40; n++) await publisher.send(numbers(n));
    await publisher.close();
    await reading;
    await until(() => held.every((batch) => batch.revoked), "all are revoked");
    expect(held).toHaveLength(41);
  });

  test("what cannot be is refused", () => {
    const wrong: unknown[] = [
      { leaseWarning: -1 },
      { leaseWarning: "5" },
      { leaseTimeout: Number.NaN },
      { leaseTimeout: 5, onLeaseTimeout: "kill" },
      { onLeaseTimeout: "revoke" },
      { leaseStacks: 1 },
    ];
    for (const options of wrong) {
      expect(() => subscribe("t", options as SubscribeOptions)).toThrow(
        expect.objectContaining({ code: "ERR_INVALID_ARGUMENT" }),
      );
    }
    expect(() => subscribe("t").close({ revoke: 1 } as never)).toThrow(
      expect.objectContaining({ code: "ERR_INVALID_ARGUMENT" }),
    );
  });
});
