/** `serve` and `get` as commands: what they print, what they write, and how they end. */
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import {
  RecordBatchFileWriter,
  RecordBatchStreamWriter,
  Table,
  tableFromArrays,
  tableFromIPC,
} from "apache-arrow";
import { Child } from "../support.js";
import { type Running, Workplace } from "./cli-support.js";

const place = new Workplace();
afterAll(() => place.leave());

const ROWS = 1000;
const table = new Table(
  [0, 1, 2, 3].flatMap((n) => {
    const id = Int32Array.from({ length: ROWS }, (_, i) => n * ROWS + i);
    const value = Float64Array.from(id, (i) => i / 3);
    return tableFromArrays({ id, value }).batches;
  }),
);
const plain = (bytes: Buffer) =>
  tableFromIPC(bytes)
    .toArray()
    .map((row) => ({ ...row }));
const expected = table.toArray().map((row) => ({ ...row }));

beforeAll(() => {
  place.withoutApacheArrow();
  writeFileSync(place.path("lineitem.arrow"), RecordBatchFileWriter.writeAll(table).toUint8Array(true));
  writeFileSync(place.path("orders.arrows"), RecordBatchStreamWriter.writeAll(table).toUint8Array(true));
  const nothing = new Table(table.schema);
  writeFileSync(place.path("nothing.arrows"), RecordBatchStreamWriter.writeAll(nothing).toUint8Array(true));
});

const running: Running[] = [];
const children: Child[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill();
    await child.ended;
  }
  for (const { child, ended } of running.splice(0)) {
    child.kill("SIGKILL");
    await ended;
  }
});

interface Serving {
  control: string;
  data: string[];
  unavailable: { address: string; code: string; error: string }[];
  offers: { name: string; kind: string; rows?: number; bytes?: number }[];
}

const ALL = ["--data", "shm:", "--data", "tcp://127.0.0.1:0", "--data", "ucx://127.0.0.1:0"];

/** Starts `serve` with a control plane; resolves when it has said where it is. */
async function serve(...args: string[]): Promise<Serving & { server: Running }> {
  const server = place.start("serve", ...args, "--control", "grpc+tcp://127.0.0.1:0", "--json");
  running.push(server);
  await server.says("\n");
  return { server, ...server.firstLine<Serving>() };
}

describe("serve and get, as a person has them", () => {
  test("serve's first line has the control plane and the data URIs; get's last what came and how", async () => {
    const { control, data, unavailable, offers } = await serve("lineitem.arrow", "orders.arrows", ...ALL);
    expect(control).toMatch(/^grpc\+tcp:\/\/127\.0\.0\.1:\d+$/);
    const there = data.map((uri) => uri.split(":")[0]);
    expect([...there, ...unavailable.map(({ address }) => address.split(":")[0])].sort()).toEqual([
      "shm",
      "tcp",
      "ucx",
    ]);
    for (const uri of data) expect(uri).toMatch(/want_data=\d+/);
    expect(offers.map(({ name, kind, rows }) => [name, kind, rows])).toEqual([
      ["lineitem", "dataset", 4000],
      ["orders", "dataset", 4000],
    ]);
    for (const via of [...there, "grpc"]) {
      for (const name of ["lineitem", "orders"]) {
        const { status, events, stderr } = await place.run("get", control, name, "--via", via, "--json");
        expect([status, stderr]).toEqual([0, ""]);
        expect(events.at(-1)).toEqual({
          dataset: name,
          rows: 4000,
          bytes: expect.any(Number),
          seconds: expect.any(Number),
          via,
          zeroCopy: via !== "grpc",
          tried: [],
        });
      }
    }
  });

  test.each(["copy.arrow", "copy.arrows"])("--out %s is what was served", async (out) => {
    const { control } = await serve("lineitem.arrow", ...ALL);
    for (const via of ["shm", "tcp", "grpc"]) {
      const { status, stderr } = await place.run("get", control, "lineitem", "--via", via, "--out", out);
      expect([status, stderr]).toEqual([0, expect.not.stringContaining("Error")]);
      const bytes = readFileSync(place.path(out));
      expect(bytes.subarray(0, 6).toString() === "ARROW1").toBe(out === "copy.arrow");
      expect(plain(bytes)).toEqual(expected);
    }
  });

  test("--out - is a stream on standard output, and nothing else", async () => {
    const { control } = await serve("lineitem.arrow");
    const { status, stdout } = await place.run("get", control, "lineitem", "--out", "-");
    expect([status, plain(stdout)]).toEqual([0, expected]);
  });

  test("a dataset without batches is a file without batches", async () => {
    const { control } = await serve("nothing.arrows", ...ALL);
    for (const via of ["shm", "tcp", "grpc"]) {
      const { status, events } = await place.run(
        "get",
        control,
        "nothing",
        "--via",
        via,
        "--out",
        "none.arrow",
        "--json",
      );
      expect([status, events.at(-1)]).toMatchObject([0, { rows: 0, bytes: 0 }]);
      const written = tableFromIPC(readFileSync(place.path("none.arrow")));
      expect(written.schema.fields.map(({ name }) => name)).toEqual(["id", "value"]);
    }
  });

  test("several ways are tried in their order, and those that did not work are listed", async () => {
    const { control } = await serve("lineitem.arrow", "--data", "tcp://127.0.0.1:0");
    const { events } = await place.run("get", control, "lineitem", "--via", "tcp,grpc", "--json");
    expect(events.at(-1)).toMatchObject({ via: "tcp", tried: [] });
    const alone = await place.run("get", control, "lineitem", "--via", "shm", "--json");
    expect(alone.status).toBe(1);
    expect(alone.stderr).toContain("shm");
  });

  test("--no-inline: DoGet sends nothing, data URIs do", async () => {
    const { control } = await serve("lineitem.arrow", "--no-inline", ...ALL);
    expect((await place.run("get", control, "lineitem", "--via", "grpc")).status).toBe(1);
    expect((await place.run("get", control, "lineitem", "--via", "tcp")).status).toBe(0);
  });

  test("--count stops after so many batches", async () => {
    const { control } = await serve("lineitem.arrow", ...ALL);
    const { status, events } = await place.run("get", control, "lineitem", "--count", "2", "--json");
    expect([status, events.at(-1)]).toMatchObject([0, { rows: 2000 }]);
  });

  test("what is not offered is an error that names it", async () => {
    const { control } = await serve("lineitem.arrow");
    const { status, stderr, stdout } = await place.run("get", control, "nothing-such", "--json");
    expect([status, stderr]).toEqual([1, expect.stringContaining("nothing-such")]);
    expect(stdout.toString()).not.toContain('"rows"');
  });

  test("a file that is cut short, or gone, while it is served changes nothing", async () => {
    writeFileSync(place.path("cut.arrow"), readFileSync(place.path("lineitem.arrow")));
    const { control } = await serve("cut.arrow", ...ALL);
    const getting = place.start("get", control, "cut", "--via", "tcp", "--out", "cut-copy.arrow", "--json");
    truncateSync(place.path("cut.arrow"), 100);
    expect((await getting.ended).status).toBe(0);
    expect(plain(readFileSync(place.path("cut-copy.arrow")))).toEqual(expected);
    const again = await place.run("get", control, "cut", "--out", "cut-copy.arrow");
    expect([again.status, plain(readFileSync(place.path("cut-copy.arrow")))]).toEqual([0, expected]);
  });
});

describe("a topic", () => {
  test("is offered with --topic, and get joins it", async () => {
    const env = { TOPIC: "live", ARROWLANE_RUNTIME_DIR: place.path("sockets") };
    const publisher = new Child(
      `const out = await publish(topic, { minSubscribers: 0 });
       say("there");
       for (;;) { await out.send(numbers(1, 1000)); await sleep(20); }`,
      { env },
    );
    children.push(publisher);
    await publisher.said("there");
    const { control, offers } = await serve("--topic", "live", ...ALL);
    expect(offers).toMatchObject([{ name: "live", kind: "topic" }]);
    for (const via of ["shm", "tcp"]) {
      const { status, events, stderr } = await place.run(
        "get",
        control,
        "live",
        "--via",
        via,
        "--count",
        "3",
        "--json",
      );
      expect([status, stderr, events.at(-1)]).toMatchObject([0, "", { dataset: "live", rows: 3000, via }]);
    }
  });
});

describe("an end", () => {
  test.each(["SIGINT", "SIGTERM"] as const)("%s ends serve well, and says so", async (signal) => {
    const { server, control } = await serve("lineitem.arrow", ...ALL);
    server.child.kill(signal);
    const { status, events, stderr } = await server.ended;
    expect([events.at(-1), stderr]).toEqual([{ event: "stopped", signal }, ""]);
    expect([0, 130, 143]).toContain(status);
    expect((await place.run("get", control, "lineitem")).status).toBe(1);
  });

  test("SIGINT ends a get that waits", async () => {
    const publisher = place.start("publish", "quiet", "nothing.arrows", "--json");
    running.push(publisher);
    const { control } = await serve("--topic", "another", ...ALL);
    const getting = place.start("get", control, "another", "--json");
    running.push(getting);
    // It has to have asked before it is interrupted.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    getting.child.kill("SIGINT");
    const { status } = await getting.ended;
    expect(status).not.toBe("SIGKILL");
  });
});

test.each([
  ["serve", "a.arrow", "b/a.arrow"],
  ["serve", "lineitem.arrow", "--locations", "some"],
  ["serve", "lineitem.arrow", "--topic", "lineitem"],
  ["serve", "lineitem.arrow", "--memory", "much"],
  ["get"],
  ["get", "grpc+tcp://127.0.0.1:1"],
  ["get", "grpc+tcp://127.0.0.1:1", "x", "--via", "quic"],
  ["get", "grpc+tcp://127.0.0.1:1", "x", "--out", "x.csv"],
  ["get", "grpc+tcp://127.0.0.1:1", "x", "--out", "-", "--json"],
  ["get", "grpc+tcp://127.0.0.1:1", "x", "--count", "0"],
])("wrong usage exits with 2 and says what is right: %s %s %s %s", async (...args) => {
  const { status, stderr, stdout } = await place.run(...args.filter((arg) => typeof arg === "string"));
  expect([status, stdout.toString()]).toEqual([2, ""]);
  expect(stderr.length).toBeGreaterThan(10);
});

test.each([
  ["a file that is not there", ["serve", "nowhere.arrow"]],
  ["a transport that nobody knows", ["serve", "lineitem.arrow", "--data", "quic://127.0.0.1:0"]],
  ["nobody at the address", ["get", "grpc+tcp://127.0.0.1:1", "x"]],
])("%s exits with 1", async (_, args) => {
  const { status, stderr } = await place.run(...args);
  expect([status, stderr.length > 10]).toEqual([1, true]);
});
