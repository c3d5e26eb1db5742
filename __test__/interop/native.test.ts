/**
 * Batches to and from other native code, by the C Device Interface.
 *
 * The central promise: a batch that was handed to a native consumer lives as long as the consumer says. The JavaScript
 * handle may be disposed first, the consumer calls `release` later, from a thread that Node knows nothing of, and only
 * then does the publisher's block return: never before, and never twice.
 */
import { subscribe as listen, unsubscribe as unlisten } from "node:diagnostics_channel";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import type * as arrow from "apache-arrow";
import { Batch, type LeaseEvent } from "../../ts/index.js";
import {
  codeOf,
  connected,
  counters,
  DIST,
  first,
  freshTopic,
  numbers,
  Stage,
  settle,
  take,
  until,
} from "../support.js";
import { batchOf, esm, plain, samples } from "../unit/arrow-support.js";
import { buildConsumer, type Consumer } from "./consumer.js";

interface Tpch {
  Lineitem: new (
    scale: number,
    rows: number,
    part?: number,
    parts?: number,
    columns?: string[],
  ) => { nextInto(array: bigint, schema: bigint): boolean };
}

const require = createRequire(import.meta.url);
const stage = new Stage();
let consumer: Consumer;
let tpch: Tpch;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "arrowlane-consumer-"));
  consumer = buildConsumer(folder);
  const native = join(DIST, "native");
  tpch = require(join(native, readdirSync(native).find((name) => name.startsWith("tpch.")) as string));
});
afterEach(() => stage.clear());
afterAll(() => rmSync(folder, { recursive: true }));

async function received(source: arrow.RecordBatch = numbers(1)) {
  const at = await connected(stage);
  await at.publisher.send(source);
  return { ...at, batch: await at.pending[0] };
}

describe("a batch that was exported", () => {
  test("and is not released makes a warning, though its handle was disposed in time; it cannot be revoked", async () => {
    const topic = freshTopic();
    const publisher = await stage.publish(topic);
    const options = { leaseWarning: 20, leaseTimeout: 60, onLeaseTimeout: "revoke" } as const;
    const subscription = stage.subscribe(topic, options);
    const told: LeaseEvent[] = [];
    const tell = (event: unknown) => told.push(event as LeaseEvent);
    listen("arrowlane:subscription", tell);
    const pending = take(subscription);
    await publisher.send(numbers(1));
    const [array, schema] = consumer.make();
    await pending.then((batch) => {
      batch.exportTo(array, schema);
      batch.dispose();
    });
    await until(() => told.length === 2, "two events");
    unlisten("arrowlane:subscription", tell);
    expect(told.map(({ event, sequence }) => [event, sequence])).toEqual([
      ["lease-warning", 1],
      ["lease-timeout", 1],
    ]);
    subscription.close({ revoke: true });
    expect(publisher.leases()).toHaveLength(1);
    expect(consumer.state(array)).toEqual([10, 2, 1, 0]);
    consumer.releaseLater(array);
    consumer.go();
    await until(() => publisher.leases().length === 0, "the consumer releases it");
    consumer.drop(array);
  });

  test("returns when the consumer releases it on a foreign thread, after the handle: not before, not twice", async () => {
    const { publisher, batch } = await received();
    const exports = counters().exports;
    const [array, schema] = consumer.make();
    batch.exportTo(array, schema);
    expect(consumer.state(array)).toEqual([10, 2, 1, 0]);
    consumer.releaseLater(array);
    batch.dispose();
    await settle(100);
    const held = publisher.statistics();
    expect([held.leases, held.bytesInUse > 0]).toEqual([1, true]);
    // More is sent, which finds other memory: the consumer still reads the same.
    const more = numbers(9);
    for (let n = 0; n < 5; n++) await publisher.send(more);
    expect(consumer.sum(array, 0)).toBe(10 * 1000 + 45);
    expect(consumer.sum(array, 1)).toBe((10 * 1000 + 45) / 2);
    expect(counters().exports).toBeGreaterThan(exports);
    consumer.go();
    expect(consumer.state(array)[3]).toBe(1);
    await until(() => publisher.statistics().leases === 5, "the block returns");
    await settle(100);
    expect(publisher.statistics().leases).toBe(5);
    expect(counters().exports).toBe(exports);
    consumer.drop(array);
  });

  test("stays while its handle lives, when the consumer releases first", async () => {
    const { publisher, batch } = await received();
    const [array, schema] = consumer.make();
    batch.exportTo(array, schema);
    consumer.releaseLater(array);
    consumer.go();
    await settle(100);
    expect(publisher.statistics().leases).toBe(1);
    expect(first(batch)).toBe(1000);
    batch.dispose();
    await until(() => publisher.statistics().leases === 0, "the block returns");
    consumer.drop(array);
  });

  test("outlives its subscription, its publisher, and several exports of it each count", async () => {
    const { publisher, subscriptions, batch } = await received();
    const pairs = Array.from({ length: 4 }, () => consumer.make());
    for (const [array, schema] of pairs) batch.exportTo(array, schema);
    batch.dispose();
    subscriptions[0].close();
    await until(() => publisher.subscribers === 0, "it has left");
    expect(publisher.statistics().leases).toBe(1);
    for (const [array] of pairs.slice(1)) consumer.releaseLater(array);
    consumer.go();
    await settle(100);
    expect(publisher.statistics().leases).toBe(1);
    const [last] = pairs[0];
    expect(consumer.sum(last, 0)).toBe(10 * 1000 + 45);
    await publisher.close();
    expect(consumer.sum(last, 0)).toBe(10 * 1000 + 45);
    consumer.releaseLater(last);
    consumer.go();
    for (const [array] of pairs) consumer.drop(array);
  });

  test("goes as its slice and selection", async () => {
    const { publisher, batch } = await received();
    const [array, schema] = consumer.make();
    const part = batch.slice(2, 5).select(["x"]);
    part.exportTo(array, schema);
    expect(consumer.state(array).slice(0, 2)).toEqual([3, 1]);
    expect(consumer.sum(array, 0)).toBe((1002 + 1003 + 1004) / 2);
    batch.dispose();
    part.dispose();
    consumer.releaseLater(array);
    consumer.go();
    expect(publisher.statistics().leases).toBeGreaterThanOrEqual(0);
    consumer.drop(array);
  });

  test("comes back through importFrom as it was, of every type, without a copy", async () => {
    const all = samples(esm);
    const { publisher, subscriptions, batch } = await received(batchOf(esm, all));
    const expected = Object.fromEntries(Object.keys(all).map((name) => [name, plain(batch.column(name))]));
    const [array, schema] = consumer.make();
    batch.exportTo(array, schema);
    const address = batch.address;
    batch.dispose();
    const again = Batch.importFrom(array, schema);
    expect(consumer.state(array)[3]).toBe(1);
    expect(again.address - address < BigInt(batch.byteLength) && again.address >= address).toBe(true);
    for (const name of Object.keys(all)) {
      expect([name, plain(again.column(name))]).toEqual([name, expected[name]]);
    }
    expect([again.via, again.device.type, again.length]).toEqual(["import", "cpu", batch.length]);
    again.dispose();
    expect(() => again.column("int8")).toThrow(expect.objectContaining({ code: "ERR_DISPOSED" }));
    subscriptions[0].close();
    await until(() => publisher.statistics().bytesInUse <= 1 << 20, "the blocks return");
    consumer.drop(array);
  });
});

describe("a batch that was imported", () => {
  test("is TPC-H's lineitem, read in place and sent on", async () => {
    const [array, schema] = consumer.make();
    const lines = new tpch.Lineitem(0.001, 1000, 1, 1, ["l_orderkey", "l_comment"]);
    const { publisher, subscriptions, pending } = await connected(stage);
    let rows = 0;
    let key = 0n;
    while (lines.nextInto(array, schema)) {
      const sum = consumer.sum(array, 0);
      const batch = Batch.importFrom(array, schema);
      await publisher.send(batch);
      const got = rows === 0 ? await pending[0] : await take(subscriptions[0]);
      const keys = got.column("l_orderkey").toArray() as BigInt64Array;
      expect(Number(keys.reduce((total, each) => total + each, 0n))).toBe(sum);
      expect(keys[0] >= key).toBe(true);
      key = keys[keys.length - 1];
      expect(plain(got.column("l_comment"))).toEqual(plain(batch.column("l_comment")));
      rows += batch.length;
      batch.dispose();
      got.dispose();
    }
    expect(rows).toBe(6005);
    await until(() => publisher.statistics().bytesInUse === 0, "everything comes back");
    consumer.drop(array);
  });

  test("is refused when it was released, and nothing is moved from ill addresses", async () => {
    const [array, schema] = consumer.make();
    expect(await codeOf(() => Batch.importFrom(array, schema))).toBe("ERR_RELEASED");
    for (const bad of [0n, -8n, 4n, 1n << 70n]) {
      expect([bad, await codeOf(() => Batch.importFrom(bad, schema))]).toEqual([bad, "ERR_BAD_ADDRESS"]);
      expect([bad, await codeOf(() => Batch.importFrom(array, bad))]).toEqual([bad, "ERR_BAD_ADDRESS"]);
    }
    const { batch } = await received();
    for (const bad of [0n, -8n, 4n, 1n << 70n]) {
      expect(await codeOf(() => batch.exportTo(bad, schema))).toBe("ERR_BAD_ADDRESS");
      expect(await codeOf(() => batch.exportTo(array, bad))).toBe("ERR_BAD_ADDRESS");
    }
    expect(() => batch.exportTo(17 as never, schema)).toThrow();
    expect(consumer.state(array)[3]).toBe(1);
    batch.dispose();
    consumer.drop(array);
  });
});
