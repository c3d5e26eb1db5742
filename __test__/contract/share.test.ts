/**
 * Tokens: `share` makes one for a batch, `Batch.open` makes a handle of it in any environment of the process. A token
 * has one reference of its own until it is opened, revoked, or its time is up; then it opens as long as a handle lives.
 */
import { afterEach, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { Batch, type BatchTokenData } from "../../ts/index.js";
import { lane } from "../../ts/native/lane.js";
import {
  codeOf,
  connected,
  first,
  freshTopic,
  numbers,
  runChild,
  Stage,
  settle,
  take,
  until,
  untilCollected,
} from "../support.js";
import { batchOf, esm, plain, samples } from "../unit/arrow-support.js";

const stage = new Stage();
afterEach(async () => {
  await stage.clear();
  expect(unopened()).toBe(0);
});

const unopened = () => lane().native.unopenedShares();
const disposed = expect.objectContaining({ code: "ERR_DISPOSED" });
const ended = expect.objectContaining({ code: "ERR_LEASE_ENDED" });

/** A batch that arrived, and how many leases its publisher knows of. */
async function received(source: arrow.RecordBatch | arrow.Table = numbers(1), options = {}) {
  const { publisher, subscriptions, pending } = await connected(stage);
  await publisher.send(source, options);
  const batch = await pending[0];
  return { batch, publisher, subscription: subscriptions[0], leases: () => publisher.statistics().leases };
}

test("a token opens as a handle of its own over the same bytes, and the lease ends with the last handle", async () => {
  const { batch, leases } = await received(numbers(1), { metadata: { day: "2026-03-01" } });
  const token = batch.share();
  const other = Batch.open(token);
  expect([other.address, other.location]).toEqual([batch.address, batch.location]);
  expect([other.length, other.columnNames, other.via, other.zeroCopy]).toEqual([10, ["i", "x"], "shm", true]);
  expect([...other.metadata]).toEqual([["day", "2026-03-01"]]);
  expect(other.schema.fields.map(String)).toEqual(batch.schema.fields.map(String));
  const [mine, theirs] = [batch.column("i"), other.column("i")];
  expect(plain(theirs)).toEqual(plain(mine));
  batch.dispose();
  expect(() => mine.get(0)).toThrow(disposed);
  expect(theirs.get(0)).toBe(1000);
  await settle();
  expect(leases()).toBe(1);
  other.dispose();
  expect(() => theirs.get(0)).toThrow(disposed);
  await until(() => leases() === 0, "the lease ends");
});

test("a token is plain data when it is cloned, and the clone stands for the same batch", async () => {
  const { batch, leases } = await received();
  const token = batch.share();
  expect(token).toEqual({ version: 1, process: process.pid, id: expect.stringMatching(/^[0-9a-f]{32}$/) });
  const another = batch.share();
  expect(another.id).not.toBe(token.id);
  expect(another.revoke()).toBe(true);
  const clones = [structuredClone(token), structuredClone(token), JSON.parse(JSON.stringify(token))];
  batch.dispose();
  const opened = clones.map((clone) => Batch.open(clone));
  expect(opened.map(first)).toEqual([1000, 1000, 1000]);
  for (const one of opened.splice(1)) one.dispose();
  await settle();
  expect(leases()).toBe(1);
  opened[0].dispose();
  await until(() => leases() === 0, "the lease ends");
  for (const clone of clones) expect(() => Batch.open(clone)).toThrow(ended);
});

test("the token's own reference outlives the handle that was shared, until it is opened", async () => {
  const { batch, leases } = await received();
  const token = batch.share();
  batch.dispose();
  await settle();
  expect([leases(), unopened()]).toEqual([1, 1]);
  const opened = Batch.open(token);
  expect(unopened()).toBe(0);
  expect(first(opened)).toBe(1000);
  const again = Batch.open(token);
  opened.dispose();
  expect(first(Batch.open(token).slice(1))).toBe(1001);
  expect(first(again)).toBe(1000);
});

test("revoke gives the reference back; then the token opens as long as somebody has a handle", async () => {
  const { batch, leases } = await received();
  const token = batch.share();
  expect([token.revoke(), token.revoke(), unopened()]).toEqual([true, false, 0]);
  Batch.open(token).dispose();
  batch.dispose();
  await until(() => leases() === 0, "the lease ends");
  expect(() => Batch.open(token)).toThrow(ended);
});

test("a clone, which has no methods, is revoked by Batch.revoke", async () => {
  const { batch, leases } = await received();
  const clone = structuredClone(batch.share());
  batch.dispose();
  expect([Batch.revoke(clone), Batch.revoke(clone)]).toEqual([true, false]);
  await until(() => leases() === 0, "the lease ends");
  expect(() => Batch.open(clone)).toThrow(ended);
});

test("a token that nobody opens gives its reference back when its time is up, and one with more time does not", async () => {
  const { batch, leases } = await received();
  const tokens = [3000, 20, 1, 0].map((timeout) => batch.share({ timeout }));
  const kept = batch.share({ timeout: Number.POSITIVE_INFINITY });
  batch.dispose();
  expect(unopened()).toBe(5);
  await until(() => unopened() === 2, "three tokens' time is up");
  expect(leases()).toBe(1);
  expect([tokens[0].revoke(), tokens[1].revoke()]).toEqual([true, false]);
  expect(first(Batch.open(kept))).toBe(1000);
  expect(first(Batch.open(tokens[3]))).toBe(1000);
});

test("a slice's or selection's token shows the same rows and columns", async () => {
  const { batch } = await received(batchOf(esm, samples(esm)));
  const part: Batch = batch.slice(3, 30).select(["utf8", "dictionary", "struct", "int8"]);
  const token = part.share();
  const expected = part.columnNames.map((name) => plain(part.column(name)));
  part.dispose();
  batch.dispose();
  const opened = Batch.open(token);
  expect([opened.length, opened.columnNames]).toEqual([27, ["utf8", "dictionary", "struct", "int8"]]);
  expect(opened.columnNames.map((name) => plain(opened.column(name)))).toEqual(expected);
  expect(opened.slice(1, 3).toArrow().numRows).toBe(2);
  expect(() => opened.column("float64")).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARGUMENT" }));
  opened.dispose();
});

test("every type passes, and dictionaries live as long as the handle that uses them", async () => {
  const columns = samples(esm);
  const { batch } = await received(batchOf(esm, columns));
  const opened = Batch.open(batch.share());
  const words = opened.column("dictionary");
  expect(plain(batch.column("dictionary"))).toEqual(plain(words));
  batch.dispose();
  for (const name of Object.keys(columns)) {
    expect([name, plain(opened.column(name))]).toEqual([name, plain(columns[name])]);
  }
  opened.dispose();
  expect(() => words.get(0)).toThrow(disposed);
});

test("what one handle's holder writes, the others see; the next batch in that memory does not", async () => {
  const { batch, publisher, subscription } = await received();
  const other = Batch.open(batch.share());
  const values = other.column("i").data[0].values as Int32Array;
  values.fill(-1);
  expect(first(batch)).toBe(-1);
  const { memory } = batch.location ?? {};
  batch.dispose();
  expect(values[0]).toBe(-1);
  other.dispose();
  for (let n = 2; n < 20; n++) {
    await until(() => publisher.statistics().bytesInUse === 0, "the memory is free");
    await publisher.send(numbers(n));
    const next = await take(subscription);
    expect([next.location?.memory, plain(next.column("i"))[0]]).toEqual([memory, n * 1000]);
    next.dispose();
  }
});

test("a copy is shared as well, in memory of this process", async () => {
  const { batch } = await received();
  const copy = batch.slice(2).copy();
  batch.dispose();
  const opened = Batch.open(copy.share());
  expect([opened.address, opened.via, opened.location]).toEqual([copy.address, "copy", undefined]);
  copy.dispose();
  expect(first(opened)).toBe(1002);
  opened.dispose();
});

test("a batch that was opened and forgotten keeps its lease no longer than the garbage collector takes", async () => {
  const { batch, leases } = await received();
  const token = batch.share();
  batch.dispose();
  (() => {
    Batch.open(token).column("i");
  })();
  await untilCollected(() => leases() === 0, "the lease ends");
  expect(() => Batch.open(token)).toThrow(ended);
});

test("a batch without rows, and one without bytes", async () => {
  const { batch } = await received(numbers(1, 0));
  const opened = Batch.open(batch.share());
  batch.dispose();
  expect([opened.length, opened.address, plain(opened.column("i"))]).toEqual([0, 0n, []]);
  opened.dispose();
});

test("what is no token is refused, and so is one of another process, version or imagination", async () => {
  const { batch } = await received();
  const token = batch.share();
  const wrong = (change: object) => ({ ...token, ...change }) as BatchTokenData;
  const refused: [unknown, string][] = [
    [undefined, "ERR_INVALID_ARGUMENT"],
    [null, "ERR_INVALID_ARGUMENT"],
    ["token", "ERR_INVALID_ARGUMENT"],
    [{}, "ERR_INVALID_ARGUMENT"],
    [wrong({ id: "x" }), "ERR_INVALID_ARGUMENT"],
    [wrong({ id: `+${"0".repeat(31)}` }), "ERR_INVALID_ARGUMENT"],
    [wrong({ version: 2 }), "ERR_INVALID_ARGUMENT"],
    [wrong({ process: process.pid + 1 }), "ERR_OTHER_PROCESS"],
    [wrong({ id: "0123456789abcdef".repeat(2) }), "ERR_LEASE_ENDED"],
  ];
  for (const [what, code] of refused) {
    expect([what, await codeOf(() => Batch.open(what as BatchTokenData))]).toEqual([what, code]);
  }
  expect(await codeOf(() => Batch.revoke({} as BatchTokenData))).toBe("ERR_INVALID_ARGUMENT");
  for (const timeout of [-1, Number.NaN, "1", null]) {
    expect(await codeOf(() => batch.share({ timeout } as never))).toBe("ERR_INVALID_ARGUMENT");
  }
  expect(await codeOf(() => batch.share(null as never))).toBe("ERR_INVALID_ARGUMENT");
  expect(token.revoke()).toBe(true);
  batch.dispose();
  expect(() => batch.share()).toThrow(disposed);
});

test("another process is told whose the token is", async () => {
  const { batch } = await received();
  const token = batch.share();
  const { stdout, stderr } = await runChild(
    `try { Batch.open(${JSON.stringify(token)}); } catch (error) { say(error.code, error.message); }`,
  );
  expect(stderr).toBe("");
  expect(stdout).toContain(`ERR_OTHER_PROCESS the token belongs to process ${process.pid}`);
  expect(token.revoke()).toBe(true);
  batch.dispose();
});

test("strictZeroCopy goes with the batch", async () => {
  const source = new arrow.Table({ u: arrow.vectorFromArray(Uint8Array.of(1, 2, 3)) });
  const { publisher } = await received(source);
  const strict = stage.subscribe(publisher.topic, { strictZeroCopy: true });
  const next = take(strict);
  await until(() => publisher.subscribers === 2, "it takes part");
  await publisher.send(source);
  const batch = await next;
  const opened = Batch.open(batch.share());
  const { body } = (await import("../../ts/batch.js")).insideOf(opened);
  expect(body.strict).toBe(true);
  opened.dispose();
  batch.dispose();
});

test("a token that was never opened does not keep the process alive, and its publisher gets the memory back", async () => {
  const publisher = await stage.publish(freshTopic());
  const child = runChild(
    `const batch = (await subscribe(topic).next()).value;
     globalThis.token = batch.share({ timeout: 1e9 });
     batch.dispose();
     say("shared");`,
    { env: { TOPIC: publisher.topic } },
  );
  await publisher.send(numbers(2));
  const { code, signal, stdout, stderr } = await child;
  expect([code, signal, stdout, stderr]).toEqual([0, null, "shared\n", ""]);
  await until(() => publisher.statistics().leases === 0, "the leases end");
});
