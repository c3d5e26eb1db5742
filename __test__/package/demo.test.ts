/** The demo and the examples as child processes, with the test build in place of the release build. */
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { tableFromArrays, tableToIPC } from "apache-arrow";
import { platformTag } from "../../ts/native/addon.js";
import { root, Workplace } from "./cli-support.js";

const place = new Workplace();
afterAll(() => place.leave());

const dist = process.env.ARROWLANE_DIST as string;
const example = (name: string) => place.path(join("examples", name));

beforeAll(() => {
  const notBuilt = (source: string) => source !== join(root, "examples", "native");
  cpSync(join(root, "examples"), place.path("examples"), { recursive: true, filter: notBuilt });
  mkdirSync(example("native"));
  const addon = `tpch.${platformTag()}.node`;
  symlinkSync(join(dist, "native", addon), join(example("native"), addon));
  const installed = place.path("node_modules/arrowlane");
  mkdirSync(installed, { recursive: true });
  cpSync(join(root, "package.json"), join(installed, "package.json"));
  symlinkSync(dist, join(installed, "dist"));
  symlinkSync(join(root, "node_modules/apache-arrow"), place.path("node_modules/apache-arrow"));
});

test("query 6 over lineitem is exact, and the bytes read are the bytes written", async () => {
  const { status, stderr, events } = await place.spawn(example("demo.mjs"), ["--sf", "0.01", "--json"]).ended;
  expect([status, stderr]).toEqual([0, ""]);
  const [found] = events;
  expect(found).toMatchObject({ answer: "1193053.2253", exact: "1193053.2253", correct: true, rows: 60175 });
  expect(found).toMatchObject({ sameBytes: true, bytesCopied: 0 });
  const { publisher, subscriber } = found.proof;
  expect([subscriber.memory, subscriber.offset, subscriber.first]).toEqual([
    publisher.memory,
    publisher.offset,
    publisher.first,
  ]);
  expect([publisher.access, subscriber.access, subscriber.kernelAgrees]).toEqual(["rw-s", "rw-p", true]);
});

test("a file of one's own is counted and summed up", async () => {
  const ids = Int32Array.from({ length: 700 }, (_, i) => i);
  writeFileSync(place.path("own.arrow"), tableToIPC(tableFromArrays({ ids }), "file"));
  const { status, stderr, events } = await place.spawn(example("demo.mjs"), ["own.arrow", "--json"]).ended;
  expect([status, stderr]).toEqual([0, ""]);
  expect(events[0]).toMatchObject({
    rows: 700,
    format: "Arrow IPC file",
    columns: [{ name: "ids", max: "699" }],
  });
  expect(events[0].proof.publisher.memory).toBe(events[0].proof.subscriber.memory);
});

test("the demo says what is wrong with its arguments", async () => {
  const { status, stderr } = await place.spawn(example("demo.mjs"), ["--sf", "none"]).ended;
  expect([status, stderr]).toEqual([2, expect.stringContaining("it must be a number above 0")]);
});

test("the examples run as they stand", async () => {
  const subscriber = place.spawn(example("subscribe.mjs"), []);
  const publisher = place.spawn(example("publish.mjs"), []);
  const [received, sent] = await Promise.all([subscriber.ended, publisher.ended]);
  expect([sent.status, sent.stderr, received.status, received.stderr]).toEqual([0, "", 0, ""]);
  const lines = received.stdout.toString().trim().split("\n");
  expect(lines).toEqual([20, 21, 22].map((t) => `1000000 rows, the first is ${t}, zero copy: true`));

  const relayed = await place.spawn(example("relay.mjs"), []).ended;
  expect([relayed.status, relayed.stderr]).toEqual([0, ""]);
  const places = (word: string) =>
    [...relayed.stdout.toString().matchAll(new RegExp(`^${word} (\\d+) at (\\{[^}]*\\})`, "gm"))].map(
      ([, temperature, place]) => `${temperature} ${place}`,
    );
  expect(places("read")).toHaveLength(2);
  expect(places("wrote")).toEqual(expect.arrayContaining(places("read")));

  const addon = await place.spawn(example("native-addon.mjs"), []).ended;
  expect([addon.status, addon.stderr]).toEqual([0, ""]);
  expect(addon.stdout.toString()).toContain("6005 rows");
});
