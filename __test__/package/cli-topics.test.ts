/** `arrowlane topics`: what is seen from outside, without disturbing anybody. */
import { createServer } from "node:net";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { type Child, Stage, until } from "../support.js";
import { Workplace } from "./cli-support.js";

let place: Workplace;
const stage = new Stage();

beforeEach(() => {
  place = new Workplace();
});
afterEach(async () => {
  await stage.clear();
  await place.leave();
});

function child(topic: string, script: string): Child {
  return stage.child(topic, script, { ARROWLANE_RUNTIME_DIR: place.path("sockets") });
}

const SENDING = `
const out = await publish(topic, { minSubscribers: 0 });
say("listening");
for (let b = 0; ; b++) { await out.send(numbers(b)); await sleep(1); }`;

test("lists publishers, subscribers, rates and lease ages, and the stream goes on undisturbed", async () => {
  const publisher = child("camera/frames ü", SENDING);
  await publisher.said("listening");
  const reader = child(
    "camera/frames ü",
    `const all = subscribe(topic, { overflow: "drop-oldest" });
     const { value: held } = await all.next();
     say("holding");
     let last = held.column("i").get(0);
     for await (const batch of all) {
       const i = batch.column("i").get(0);
       if (i !== last + 1000) say("disturbed");
       last = i;
       batch.dispose();
     }`,
  );
  await reader.said("holding");
  const { status, events } = await place.run("topics", "--json", "--sample", "100");
  expect(status).toBe(0);
  const [topic, subscriber, end] = events;
  expect(topic).toMatchObject({
    event: "topic",
    topic: "camera/frames ü",
    state: "live",
    pid: publisher.process.pid,
    subscribers: 1,
  });
  expect(topic.batchesPerSecond).toBeGreaterThan(0);
  expect(subscriber).toMatchObject({
    event: "subscriber",
    pid: reader.process.pid,
    overflow: "drop-oldest",
    state: "active",
  });
  expect(subscriber.leases).toBeGreaterThan(0);
  expect(subscriber.oldestMs).toBeGreaterThan(0);
  expect(end).toEqual({ event: "end", topics: 1, live: 1 });
  const { stdout } = await place.run("topics", "--sample", "50");
  expect(stdout.toString()).toContain(`process ${publisher.process.pid}, 1 subscriber`);
  expect(reader.stdout).not.toContain("disturbed");
});

test("a dead publisher's socket is shown once and removed, a stopped one's is shown as silent", async () => {
  const dead = child("dead", SENDING);
  const stopped = child("stopped", SENDING);
  await Promise.all([dead.said("listening"), stopped.said("listening")]);
  dead.kill();
  await dead.ended;
  stopped.kill("SIGSTOP");
  const { events } = await place.run("topics", "--json", "--patience", "300");
  expect(events).toEqual([
    { event: "topic", topic: "dead", state: "stale", pid: null, problem: null },
    { event: "topic", topic: "stopped", state: "silent", pid: stopped.process.pid, problem: null },
    { event: "end", topics: 2, live: 0 },
  ]);
  stopped.kill("SIGCONT");
  const again = await place.run("topics", "--json", "--sample", "50");
  expect(again.events.map(({ topic, state }) => [topic, state])).toEqual([
    ["stopped", "live"],
    [undefined, undefined],
  ]);
});

test("whatever else listens there is named and survived", async () => {
  const strange = createServer((socket) => {
    socket.on("error", () => {});
    socket.end("HTTP/1.1 200 OK\r\n\r\nhello, this is somebody else entirely");
  });
  strange.listen(place.path("sockets/strange"));
  await until(() => strange.listening, "it listens");
  const { status, events } = await place.run("topics", "--json");
  strange.close();
  expect([status, events[0].state, typeof events[0].problem]).toEqual([0, "strange", "string"]);
});

test("there may be none", async () => {
  const { status, stdout } = await place.run("topics");
  expect([status, stdout.toString()]).toEqual([0, "there are no topics\n"]);
});
