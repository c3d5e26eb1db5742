/** What README.md shows is what examples/ holds, and it runs as it stands. */
import { cpSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { type Ended, root, Workplace } from "./cli-support.js";

const place = new Workplace();
afterAll(() => place.leave());

const dist = process.env.ARROWLANE_DIST as string;
const read = (file: string) => readFileSync(join(root, file), "utf8");
const readme = read("README.md");
const blocks = [...readme.matchAll(/```js\n([\s\S]*?)```/g)].map(([, code]) => code);
const shown = new Map(blocks.map((code) => [/^\/\/ node examples\/([\w-]+\.mjs)/.exec(code)?.[1], code]));

beforeAll(() => {
  const installed = place.path("node_modules/arrowlane");
  mkdirSync(installed, { recursive: true });
  cpSync(join(root, "package.json"), join(installed, "package.json"));
  symlinkSync(dist, join(installed, "dist"));
  symlinkSync(join(root, "node_modules/apache-arrow"), place.path("node_modules/apache-arrow"));
  for (const name of shown.keys()) {
    if (name !== undefined) cpSync(join(root, "examples", name), place.path(name));
  }
});

test("every example that README shows is a file of examples/, word for word", () => {
  expect([...shown.keys()]).toEqual([
    "hello.mjs",
    "publish.mjs",
    "subscribe.mjs",
    "workers.mjs",
    "share.mjs",
    "serve.mjs",
    "fetch.mjs",
  ]);
  for (const [name, code] of shown) {
    expect(code).toBe(readFileSync(join(root, "examples", name as string), "utf8"));
  }
});

test("the first example runs as it stands and ends", async () => {
  const { status, stdout, stderr } = await place.spawn(place.path("hello.mjs"), []).ended;
  expect([status, stderr]).toEqual([0, ""]);
  const firsts = [...stdout.toString().matchAll(/^1000000 rows, the first ([\d.]+) at /gm)].map(
    ([, first]) => first,
  );
  expect(firsts).toEqual(["20", "20.5", "21"]);
});

const python = process.env.ARROWLANE_PYTHON;

test("every Python example that README shows is a file of examples/, word for word", () => {
  const shown = [...readme.matchAll(/```python\n([\s\S]*?)```/g)].map(([, code]) => code);
  expect(shown).toEqual(
    ["subscribe.py", "publish.py"].map((name) => readFileSync(join(root, "examples", name), "utf8")),
  );
});

(python === undefined ? test.skip : test)(
  "the Python examples run as they stand, with each other and with Node.js",
  async () => {
    const run = (name: string) =>
      name.endsWith(".py")
        ? place.spawn(join(root, "examples", name), [], python).ended
        : place.spawn(place.path(name), []).ended;
    const frames = (stdout: Buffer) =>
      [...stdout.toString().matchAll(/^1000000 rows, the first is (\d+)/gm)].map(([, first]) => first);
    for (const [publisher, subscriber] of [
      ["publish.py", "subscribe.py"],
      ["publish.mjs", "subscribe.py"],
      ["publish.py", "subscribe.mjs"],
    ]) {
      const [sent, got]: Ended[] = await Promise.all([run(publisher), run(subscriber)]);
      expect([sent.status, sent.stderr, sent.stdout.toString()]).toEqual([0, "", "sent 3 frames\n"]);
      expect([got.status, got.stderr, frames(got.stdout)]).toEqual([0, "", ["20", "21", "22"]]);
    }
  },
);

test("every worker gets the whole data set", async () => {
  const { status, stdout, stderr } = await place.spawn(place.path("workers.mjs"), []).ended;
  expect([status, stderr]).toEqual([0, ""]);
  expect(stdout.toString()).toBe("a worker's sum: 499999500000\n".repeat(2));
});

test("every worker sums its half of the shared batch", async () => {
  const { status, stdout, stderr } = await place.spawn(place.path("share.mjs"), []).ended;
  expect([status, stderr]).toEqual([0, ""]);
  expect(stdout.toString().split("\n").sort()).toEqual([
    "",
    "a half's sum: 124999750000",
    "a half's sum: 374999750000",
  ]);
});

test("the server's example serves the client's until Enter is pressed", async () => {
  const server = place.spawn(place.path("serve.mjs"), []);
  await server.says("serving at grpc+tcp://127.0.0.1:8815\n");
  const client = await place.spawn(place.path("fetch.mjs"), []).ended;
  expect([client.status, client.stderr]).toEqual([0, ""]);
  expect(client.stdout.toString()).toBe("1000000 rows by shm zero copy: true the last 9999.99\n");
  server.child.stdin?.write("\n");
  const { status, stderr } = await server.ended;
  expect([status, stderr]).toEqual([0, ""]);
});

test("it names every error code, and no other", () => {
  const codes = (text: string) => [...new Set(text.match(/ERR_[A-Z_]+/g))].sort();
  const declared = codes(/export type ErrorCode = [^;]+;/.exec(read("index.d.ts"))?.[0] ?? "");
  expect(declared.length).toBeGreaterThan(30);
  expect(codes(readme)).toEqual(declared);
});

test("the versions that it asks for are those of the manifests", () => {
  const { engines, peerDependencies } = JSON.parse(read("package.json"));
  expect(readme).toContain(`Node ≥ ${/[\d.]+/.exec(engines.node)}`);
  expect(readme).toContain(
    `\`apache-arrow\` ${/\d+/.exec(peerDependencies["apache-arrow"])} is a peer dependency`,
  );
  expect(readme).toContain(`Rust (≥ ${/rust-version = "([\d.]+)"/.exec(read("Cargo.toml"))?.[1]})`);
});

test("the commands and benchmarks that it lists are those there are", async () => {
  const listed = [...readme.matchAll(/^ {4}npx arrowlane (\w+)/gm)].map(([, name]) => name);
  const { stdout } = await place.spawn(join(dist, "cli", "main.js"), ["--help"]).ended;
  const commands = stdout.toString().split("Commands:")[1] ?? "";
  const there = [...commands.matchAll(/^ {2}(\w+)/gm)].map(([, name]) => name);
  expect(there.filter((name) => name !== "help").sort()).toEqual([...listed].sort());
  const { stderr } = await place.spawn(join(dist, "cli", "main.js"), ["bench", "nonsense"]).ended;
  for (const name of ["dissociated", "fanout", "flight", "handoff", "python", "rate", "recycle"])
    expect(stderr).toContain(name);
  expect(readme).toContain("dissociated, fanout, flight, handoff, python, rate or recycle");
});
