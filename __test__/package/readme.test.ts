/** What README.md shows is what examples/ holds, and it runs as it stands. */
import { cpSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { type Ended, root, Workplace } from "./cli-support.js";

const place = new Workplace();
afterAll(() => place.leave());

const dist = process.env.ARROWLANE_DIST as string;
const readme = readFileSync(join(root, "README.md"), "utf8");
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
  expect([...shown.keys()]).toEqual(["hello.mjs", "publish.mjs", "subscribe.mjs", "workers.mjs"]);
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
