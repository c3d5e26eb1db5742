/**
 * A stream that is cut short is never taken for a complete one: not when the publisher is stopped, and not when its file
 * turns out to be broken.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { Table, tableFromArrays, tableToIPC } from "apache-arrow";
import { Workplace } from "./cli-support.js";

const place = new Workplace();
afterAll(() => place.leave());

/** More than a publisher sends ahead. */
const BATCHES = 200;

beforeAll(() => {
  const one = tableFromArrays({ id: Int32Array.from({ length: 1000 }, (_, i) => i) });
  const many = new Table(Array.from({ length: BATCHES }, () => one.batches).flat());
  writeFileSync(place.path("many.arrows"), tableToIPC(many, "stream"));
  const bytes = tableToIPC(one, "stream");
  // Its first batch is there but for the end of its body.
  writeFileSync(place.path("first-cut.arrows"), bytes.subarray(0, bytes.length - 1000));
  // Takes a batch, waits for a word, and then says how the stream ended.
  writeFileSync(
    place.path("slow.mjs"),
    `import { once } from "node:events";
     import { subscribe } from ${JSON.stringify(`${process.env.ARROWLANE_DIST}/index.js`)};
     let count = 0;
     try {
       for await (const batch of subscribe(process.argv[2])) {
         batch.dispose();
         if (++count > 1) continue;
         console.log("first");
         await once(process.stdin, "data");
       }
       console.log("complete", count);
     } catch (error) {
       console.log(error.code, error.message);
     }
     process.exit();`,
  );
});

describe("a publisher that is stopped in the middle", () => {
  test.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("by %s: its subscriber gets an error, and writes no file", async (signal, status) => {
    const publisher = place.start("publish", "pipe", "-", "--json");
    const subscriber = place.start("subscribe", "pipe", "--out", "cut.arrows", "--json");
    // All but the end: more may come.
    publisher.child.stdin?.write(readFileSync(place.path("many.arrows")).subarray(0, -8));
    await subscriber.says(`"batch":${BATCHES}`);
    publisher.child.kill(signal);
    const [stopped, received] = await Promise.all([publisher.ended, subscriber.ended]);
    // A publisher that reads a pipe ends by the signal itself.
    expect([signal, status]).toContain(stopped.status);
    expect(stopped.events.at(-1)).toEqual({ event: "stopped", signal });
    expect(received.status).toBe(1);
    expect(received.stderr).toMatch(
      new RegExp(`ERR_REMOTE: .*ERR_CLOSED: ${signal}.*cut.arrows was not written`),
    );
    expect(readdirSync(place.folder).filter((name) => name.includes("cut.arrows"))).toEqual([
      "first-cut.arrows",
    ]);
  });

  test("with --hold: streams under way end with an error", async () => {
    const publisher = place.start("publish", "held", "many.arrows", "--hold", "--json");
    await publisher.says('"open"');
    const slow = place.spawn(place.path("slow.mjs"), ["held"]);
    await slow.says("first");
    publisher.child.kill("SIGTERM");
    expect((await publisher.ended).status).toBe(143);
    slow.child.stdin?.write("go on\n");
    expect((await slow.ended).stdout.toString()).toMatch(/^first\nERR_REMOTE .*ERR_CLOSED/);
  });

  test("after everything was sent: the stream is complete", async () => {
    const few = tableFromArrays({ id: Int32Array.from([1, 2, 3]) });
    writeFileSync(place.path("few.arrows"), tableToIPC(few, "stream"));
    const publisher = place.start("publish", "few", "few.arrows", "--hold", "--json");
    await publisher.says('"open"');
    const slow = place.spawn(place.path("slow.mjs"), ["few"]);
    await slow.says("first");
    await publisher.says('"served"');
    publisher.child.kill("SIGTERM");
    await publisher.ended;
    slow.child.stdin?.write("go on\n");
    expect((await slow.ended).stdout.toString()).toBe("first\ncomplete 1\n");
  });
});
