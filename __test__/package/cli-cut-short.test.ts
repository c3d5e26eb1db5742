/**
 * A stream that is cut short is never taken for a complete one: not when the publisher is stopped, and not when its file
 * turns out to be broken.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { Table, tableFromArrays, tableToIPC } from "apache-arrow";
import { python, runPython, Workplace } from "./cli-support.js";

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
  // Whole at both ends, and garbage in between: the first batch's header.
  const file = Buffer.from(tableToIPC(one, "file"));
  const footer = file.length - 10 - file.readInt32LE(file.length - 10);
  writeFileSync(place.path("garbage.arrow"), file.fill(0xab, 16, footer));
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

describe("a file that is broken before its first batch", () => {
  test.each(["first-cut.arrows", "garbage.arrow"])("%s: no topic is opened", async (file) => {
    for (const hold of [[], ["--hold"]]) {
      const { status, stderr, stdout } = await place.run("publish", "broken", file, "--json", ...hold);
      expect(stderr).toMatch(/^arrowlane: ERR_DAMAGED_DATA: /);
      expect([status, stdout.toString()]).toEqual([1, ""]);
      expect(readdirSync(place.path("sockets"))).not.toContain("broken");
    }
  });

  test("Parquet with a broken page as well (needs pyarrow: ARROWLANE_PYTHON)", async () => {
    if (python === undefined) return;
    runPython(
      place.folder,
      `pq.write_table(pa.table({"id": list(range(4000))}), "x.parquet", compression="zstd", use_dictionary=False)
at = pq.ParquetFile("x.parquet").metadata.row_group(0).column(0).data_page_offset
data = bytearray(open("x.parquet", "rb").read()); data[at:at + 64] = bytes([0xab]) * 64
open("page.parquet", "wb").write(data)`,
    );
    const { status, stderr, stdout } = await place.run("publish", "broken", "page.parquet", "--json");
    expect(stderr).toMatch(/^arrowlane: ERR_DAMAGED_DATA: /);
    expect([status, stdout.toString()]).toEqual([1, ""]);
  });

  test("through a pipe, where the topic is open by then: its subscriber gets the error", async () => {
    const publisher = place.start("publish", "pipe", "-", "--json");
    const bytes = readFileSync(place.path("first-cut.arrows"));
    // The schema first, so that the topic opens.
    const schema = 8 + bytes.readInt32LE(4);
    publisher.child.stdin?.write(bytes.subarray(0, schema));
    await publisher.says('"open"');
    const subscriber = place.start("subscribe", "pipe", "--out", "none.arrow");
    const script = place.spawn(place.path("slow.mjs"), ["pipe"]);
    // Both take part: who has only just come would wait for the next publisher.
    while (!/"subscribers":2/.test((await place.run("topics", "--json")).stdout.toString())) await sleep(20);
    publisher.child.stdin?.end(bytes.subarray(schema));
    const failed = await publisher.ended;
    expect([failed.status, failed.stderr]).toEqual([1, expect.stringContaining("ERR_DAMAGED_DATA")]);
    const told = /ERR_REMOTE.*ERR_DAMAGED_DATA|ERR_PUBLISHER_LOST/;
    const received = await subscriber.ended;
    expect([received.status, received.stderr]).toEqual([1, expect.stringMatching(told)]);
    expect((await script.ended).stdout.toString()).toMatch(told);
    expect(readdirSync(place.folder)).not.toContain("none.arrow");
  });
});
