/**
 * What is revoked throws `ERR_LEASE_REVOKED` however it is read, whatever was taken from it before, and nobody else notices.
 */
import { subscribe as listen, unsubscribe as unlisten } from "node:diagnostics_channel";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import type { Batch, LeaseEvent, SubscribeOptions } from "../../ts/index.js";
import { LeaseRevokedError } from "../../ts/index.js";
import { first, freshTopic, numbers, Stage, take, until } from "../support.js";
import { batchOf, esm, plain, questions, reads, samples } from "../unit/arrow-support.js";

const stage = new Stage();
const revoked = expect.objectContaining({ code: "ERR_LEASE_REVOKED", name: "LeaseRevokedError" });
let events: LeaseEvent[] = [];
const onEvent = (event: unknown) => events.push(event as LeaseEvent);
beforeEach(() => {
  events = [];
  listen("arrowlane:subscription", onEvent);
});
afterEach(async () => {
  await stage.clear();
  unlisten("arrowlane:subscription", onEvent);
});

/** A publisher and one subscription with these options; `next` sends a batch and takes it. */
async function joined(options: SubscribeOptions) {
  const topic = freshTopic();
  const publisher = await stage.publish(topic);
  const subscription = stage.subscribe(topic, options);
  const next = async (source: arrow.RecordBatch = numbers(1)): Promise<Batch> => {
    const pending = take(subscription);
    await publisher.send(source);
    return pending;
  };
  return { publisher, subscription, next };
}

describe("reading after close({ revoke: true }) throws and does not crash", () => {
  const columns = samples(esm);
  test.each(Object.keys(columns))("a %s column, in every way", async (name) => {
    const { publisher, subscription, next } = await joined({});
    const batch = await next(batchOf(esm, { [name]: columns[name] }));
    const vector = batch.column(name);
    const rb = batch.toArrow();
    const slice = vector.slice(1, 9);
    const part = batch.slice(1, 4).column(name);
    const element = vector.type.typeId === arrow.Type.List ? (vector.get(1) as arrow.Vector) : undefined;
    const { dictionary } = vector.data[0];
    subscription.close({ revoke: true });
    for (const read of [vector, part]) {
      for (const [how, reading] of Object.entries(reads)) {
        let outcome: unknown = "was read";
        try {
          reading(read);
        } catch (error) {
          outcome = (error as { code?: unknown }).code;
        }
        expect([how, outcome]).toEqual([how, "ERR_LEASE_REVOKED"]);
      }
    }
    expect(() => plain(slice)).toThrow(revoked);
    expect(() => plain(rb.getChildAt(0) as arrow.Vector)).toThrow(revoked);
    expect(() => rb.get(0)?.toJSON()).toThrow(revoked);
    if (element !== undefined) expect(() => element.get(0)).toThrow(revoked);
    if (dictionary !== undefined) expect(() => dictionary.get(0)).toThrow(revoked);
    await until(() => publisher.leases().length === 0, "the lease ends");
  });

  test("and so does everything that is asked of the handle, before and after its dispose", async () => {
    const { publisher, subscription, next } = await joined({});
    const batch = await next();
    const rb = batch.toArrow();
    subscription.close({ revoke: true });
    expect([batch.revoked, batch.disposed, batch.length]).toEqual([true, false, 10]);
    const asked = questions(batch);
    for (const ask of asked) expect(ask).toThrow(LeaseRevokedError);
    batch.dispose();
    for (const ask of asked) expect(ask).toThrow(LeaseRevokedError);
    const other = await stage.publish(freshTopic(), { minSubscribers: 0 });
    await expect(other.send(batch)).rejects.toThrow(revoked);
    await expect(other.send(rb)).rejects.toThrow(revoked);
    await until(() => publisher.leases().length === 0, "the lease ends");
    expect(events.map((e) => e.event)).toEqual(["lease-revoked"]);
  });

  test("all that is held, in the very callback that it came in too, also after the stream's end; copies live on", async () => {
    const { publisher, subscription, next } = await joined({});
    const held = [await next(), await next()];
    const copy = held[0].copy();
    let inside: Batch | undefined;
    const all = subscription.forEach((batch) => {
      inside = batch;
      batch.column("i");
      subscription.close({ revoke: true });
      expect(batch.revoked).toBe(true);
    });
    await publisher.send(numbers(5));
    await all;
    expect([...held, inside as Batch].map((b) => b.revoked)).toEqual([true, true, true]);
    expect(events.map((e) => [e.event, e.sequence])).toEqual([1, 2, 3].map((n) => ["lease-revoked", n]));
    expect(first(copy)).toBe(1000);
    copy.dispose();
    const ended = await joined({});
    const late = await ended.next();
    await ended.publisher.close();
    expect((await ended.subscription.next()).done).toBe(true);
    ended.subscription.close({ revoke: true });
    expect(late.revoked).toBe(true);
  });

  test("nothing of another subscription, and what was disposed stays disposed", async () => {
    const one = await joined({});
    const other = await joined({});
    const [a, b, gone] = [await one.next(), await other.next(), await one.next()];
    gone.dispose();
    one.subscription.close({ revoke: true });
    expect([a.revoked, b.revoked, gone.revoked, first(b)]).toEqual([true, false, false, 1000]);
    expect(() => gone.column("i")).toThrow(expect.objectContaining({ code: "ERR_DISPOSED" }));
    b.dispose();
  });
});
