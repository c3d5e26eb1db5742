/**
 * Python at the other end, where this process cannot share its memory: it reads what comes through the socket, and what it
 * lends itself is read in place as ever.
 *
 * @jest-environment-options {"memory": "heap"}
 */
import { afterEach, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { describePython, endPython, Python } from "../interop/python-support.js";
import { first, freshTopic, numbers, Stage, take, until } from "../support.js";

const stage = new Stage();
afterEach(async () => {
  await endPython();
  await stage.clear();
});

describePython("Python", () => {
  test("reads batches of every size through the socket, and they are its own", async () => {
    const publisher = await stage.publish(freshTopic());
    const python = new Python(
      publisher.topic,
      `
for batch in arrowlane.subscribe(topic):
    say("got", batch.num_rows, batch.column(0)[0], pc.sum(batch.column(0)), place(batch), batch.column(0).buffers()[1].address % 8)
say("ended")
`,
    );
    await until(() => publisher.subscribers === 1, "it takes part");
    await publisher.send(numbers(3));
    expect(await python.said("got ")).toBe("got 10 3000 30045 None 0");
    python.lines.length = 0;
    const many = Int32Array.from({ length: 20_000_000 }, (_, n) => n % 7);
    const x = new Float64Array(many.length);
    const table = new arrow.Table({
      i: arrow.makeVector(many),
      x: arrow.makeVector(x),
    });
    await publisher.send(table.batches[0] as arrow.RecordBatch);
    expect(await python.said("got ")).toBe(`got 20000000 0 ${many.reduce((sum, n) => sum + n, 0)} None 0`);
    await until(() => publisher.statistics().bytesInUse === 0, "nothing is held");
    await publisher.close();
    await python.said("ended");
    expect(await python.fate()).toBe("ended");
  });

  test("is read in place all the same when it publishes", async () => {
    const topic = freshTopic();
    new Python(topic, "with arrowlane.publish(topic) as out: out.send(numbers(5)); told()");
    const batch = await take(stage.subscribe(topic));
    expect([first(batch), batch.zeroCopy, batch.via]).toEqual([5000, true, "shm"]);
    batch.dispose();
  });
});
