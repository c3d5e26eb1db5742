/** A closed publisher no longer knows who reads what: it must write nothing from then on. */
import { afterEach, expect, test } from "@jest/globals";
import type { SubscriberStream } from "../../ts/index.js";
import { codeOf, freshTopic, numbers, Stage, take, until } from "../support.js";

const stage = new Stage();
afterEach(() => stage.clear());

test("a batch that is held is not overwritten by what is sent while the publisher closes", async () => {
  const topic = freshTopic();
  const served: SubscriberStream[] = [];
  const publisher = await stage.publish(topic, {
    onSubscriber: async (stream) => {
      await stream.send(numbers(1));
      served.push(stream);
      await new Promise(() => {});
    },
  });
  const batch = await take(stage.subscribe(topic));
  await until(() => served.length === 1, "the batch was sent");
  const held = batch.column("i");
  expect(held.get(3)).toBe(1003);
  const closed = publisher.close();
  const codes: unknown[] = [];
  // Before the event loop turns: what the publisher learns of its end comes later than its end.
  for (let b = 2; b < 20; b++) codes.push(await codeOf(served[0].send(numbers(b))));
  expect(held.toArray()).toEqual(Int32Array.from({ length: 10 }, (_, n) => 1000 + n));
  expect(codes.at(-1)).toBe("ERR_CLOSED");
  batch.dispose();
  await closed;
});
