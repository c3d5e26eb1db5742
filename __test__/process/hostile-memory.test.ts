import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { connected, first, numbers, ROOT, Stage, take, until } from "../support.js";
import { Raw, socketOf } from "./raw.js";

const hasCompiler = spawnSync("cc", ["--version"]).status === 0;
if (!hasCompiler) console.warn("no C compiler found: the hostile client is not tested");

const stage = new Stage();
let client: string;
let running: Raw | undefined;

beforeAll(() => {
  if (!hasCompiler) return;
  client = join(mkdtempSync(join(tmpdir(), "arrowlane-client-")), "client");
  const source = join(ROOT, "__test__", "process", "client.c");
  execFileSync("cc", ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-o", client, source]);
});
afterEach(async () => {
  running?.kill();
  await stage.clear();
});

(hasCompiler ? describe : describe.skip)("a consumer that is a C program", () => {
  test("cannot write, truncate, punch or reopen what it was lent, and its scribbling reaches nobody", async () => {
    const { publisher, subscriptions, pending } = await connected(stage, { memory: 1 << 20 });
    running = new Raw(client, [socketOf(publisher), publisher.topic]);
    await running.said("ready");
    await until(() => publisher.subscribers === 2, "it takes part");
    await publisher.send(numbers(1));
    const held = await pending[0];
    // A neighbour in the same segment, there before it scribbles.
    const neighbourComes = take(subscriptions[0]);
    await publisher.send(numbers(2));
    const neighbour = await neighbourComes;
    await running.said("scribbled");
    const { lines } = running;
    expect(lines).toContain("read 1000");
    expect(lines.filter((line) => line.startsWith("SUCCEEDED"))).toEqual([]);
    // It did try, through the descriptor and through one that it reopened.
    expect(lines.filter((line) => line.startsWith("refused")).length).toBeGreaterThanOrEqual(24);
    for (const [batch, b] of [
      [held, 1],
      [neighbour, 2],
    ] as const) {
      expect([...batch.column("i").toArray()]).toEqual(Array.from({ length: 10 }, (_, n) => b * 1000 + n));
      batch.dispose();
    }
    // What follows, in this block and in others, is intact as well.
    for (let b = 3; b < 40; b++) {
      const comes = take(subscriptions[0]);
      await publisher.send(numbers(b));
      const batch = await comes;
      expect(first(batch)).toBe(b * 1000);
      batch.dispose();
    }
    expect(publisher.statistics().leases).toBeGreaterThan(0);
    running.process.stdin?.end();
    expect(await running.ended).toBe(0);
    await until(() => publisher.statistics().leases === 0, "its leases ended with it");
    expect(publisher.statistics().bytesInUse).toBe(0);
  });
});
