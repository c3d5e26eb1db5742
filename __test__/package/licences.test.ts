/** `node tools/check-licences.mjs`: what may be shipped, and what may only build. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "@jest/globals";

const folder = mkdtempSync(join(tmpdir(), "arrowlane-licences-"));
afterAll(() => rmSync(folder, { recursive: true }));

function check(packages?: Record<string, object>): { status: number | null; lines: string[] } {
  const args = ["tools/check-licences.mjs"];
  if (packages !== undefined) {
    const file = join(folder, "lock.json");
    writeFileSync(file, JSON.stringify({ packages: { "": { license: "Apache-2.0" }, ...packages } }));
    args.push(file);
  }
  const { status, stdout } = spawnSync(process.execPath, args, { cwd: process.cwd(), encoding: "utf8" });
  return { status, lines: stdout.trim().split("\n") };
}

test("the packages that are used now are allowed", () => {
  const { status, lines } = check();
  expect([status, lines]).toEqual([0, [expect.stringMatching(/^\d+ packages, 0 not allowed$/)]]);
});

test.each([
  ["MIT", true, true],
  ["MIT OR GPL-3.0-only", true, true],
  ["(MIT AND BSD-3-Clause)", true, true],
  ["(MIT AND GPL-3.0-only)", false, false],
  ["(MIT OR Apache-2.0) AND GPL-3.0-only", false, false],
  ["BlueOak-1.0.0", false, true],
  ["GPL-3.0-only", false, false],
  ["UNLICENSED", false, false],
  [undefined, false, false],
])("%s: shipped %s, for building %s", (license, shipped, building) => {
  expect(check({ "node_modules/a": { license } }).status).toBe(shipped ? 0 : 1);
  const { status, lines } = check({ "node_modules/a": { license, dev: true } });
  expect(status).toBe(building ? 0 : 1);
  if (!building) expect(lines[0]).toMatch(/^node_modules\/a: licence /);
});
