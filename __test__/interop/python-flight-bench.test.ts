/** The Python halves of `arrowlane bench flight` do what they are timed for: every batch is checked on the way. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, expect, test } from "@jest/globals";
import { describePython, MODULE } from "./python-support.js";

const running: ChildProcess[] = [];
afterEach(() => {
  for (const one of running.splice(0)) one.kill("SIGKILL");
});

function half(...args: string[]) {
  const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1" };
  const command = [join(MODULE, "flight.py"), ...args];
  const child = spawn(process.env.ARROWLANE_PYTHON ?? "python3", command, {
    env,
    stdio: ["pipe", "pipe", "inherit"],
  });
  running.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const hear = async () => JSON.parse((await lines.next()).value ?? "null");
  const ask = (line: string) => {
    child.stdin.write(`${line}\n`);
    return hear();
  };
  return { hear, ask, child };
}

describePython("the Python halves of the benchmark of Flight", () => {
  test("one serves what the other fetches", async () => {
    const server = half("serve", "4096", "5");
    const { uri } = await server.hear();
    const client = half("fetch");
    await client.hear();
    const found = await client.ask(`${uri} 4096x5 512`);
    expect([found.count, found.bytes]).toEqual([5, 4 * 4096]);
    expect((await server.ask("cpu")).cpu).toBeGreaterThan(0);
    expect((await client.ask("cpu")).cpu).toBeGreaterThan(0);
  });

  test("a batch that is not as long as it should be ends the fetching half", async () => {
    const server = half("serve", "4096", "2");
    const { uri } = await server.hear();
    const client = half("fetch");
    await client.hear();
    const ended = once(client.child, "exit");
    expect(await client.ask(`${uri} 4096x2 511`)).toBeNull();
    expect((await ended)[0]).not.toBe(0);
  });
});
