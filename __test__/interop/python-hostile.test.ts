/** Peers that break the rules, at the Python module: an error for that connection, no crash, and nothing for anybody else. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { casesOf, hostile, keepCapture, type Raw, socketOf } from "../process/raw.js";
import { first, freshTopic, numbers, Stage, take, until } from "../support.js";
import { describePython, endPython, Python } from "./python-support.js";

const stage = new Stage();
const peers: Raw[] = [];

function attack(args: string[], env?: Record<string, string>): Raw {
  const peer = hostile(args, env);
  peers.push(peer);
  return peer;
}

afterEach(async () => {
  for (const peer of peers.splice(0)) {
    peer.kill();
    await peer.ended;
  }
  await stage.clear();
});

/** Codes that end the stream otherwise than with ERR_PROTOCOL; "" is a good end. */
const CODES: Record<string, string> = {
  "reports-an-error": "ERR_REMOTE",
  "half-a-message": "ERR_PUBLISHER_LOST",
  "one-byte-at-a-time": "",
};

describePython("a hostile publisher of Python's subscriber", () => {
  let captured: string;
  let folder: (topic: string) => string;
  let python: Python;

  beforeAll(async () => {
    const publisher = await stage.publish(freshTopic());
    const witness = attack(["capture", socketOf(publisher), publisher.topic]);
    await publisher.send(numbers(7));
    captured = keepCapture(await witness.said("{"));
    const path = socketOf(publisher);
    folder = (topic) => path.replace(publisher.topic, topic);
    await stage.clear();
    // One process for all of them: it has to survive each.
    python = new Python(
      "",
      `
for line in iter(told, ""):
    name, code = line, ""
    try:
        for batch in arrowlane.subscribe(name, timeout=20):
            assert batch.num_rows == 10 and (batch.column("i")[0].as_py() == 7000), batch
            batch.validate(full=True)
            batch = None
    except arrowlane.ArrowlaneError as error:
        code = error.code
        if code == "ERR_INTERNAL": raise
    error = batch = None
    gc.collect()
    until(lambda: mappings() == 0)
    say("end", json.dumps([name, code, descriptors()]))
`,
    );
  });
  afterAll(endPython);

  // Those have tests of their own; "side-by-side" breaks no rule.
  const others = ["any:mutations", "retires-a-segment-that-is-held", "flood-of-batches", "side-by-side"];
  const cases = casesOf("publish").filter((name) => !others.includes(name));
  let before: number | undefined;

  test.each(cases)("is an error, and leaves nothing: %s", async (name) => {
    const topic = freshTopic();
    const peer = attack(["publish", folder(topic), topic, name, captured]);
    await peer.said("ready");
    python.lines.length = 0;
    python.tell(topic);
    const [ended, code, descriptors] = await python.told<[string, string, number]>("end");
    const expected =
      CODES[name] ?? (name.startsWith("segment-") ? /^ERR_(PROTOCOL|OUT_OF_MEMORY)$/ : /^ERR_PROTOCOL$/);
    expect(ended).toBe(topic);
    expect(code).toEqual(typeof expected === "string" ? expected : expect.stringMatching(expected));
    expect(await peer.fate()).not.toBe("open");
    before ??= descriptors;
    expect(descriptors).toBe(before);
  });

  test("that retires a segment which is held changes nothing in what is held", async () => {
    const topic = freshTopic();
    const peer = attack(["publish", folder(topic), topic, "retires-a-segment-that-is-held", captured]);
    await peer.said("ready");
    const holder = new Python(
      topic,
      `
stream = arrowlane.subscribe(topic)
batch = next(stream)
try: next(stream)
except arrowlane.ArrowlaneError as error: say("code", error.code)
assert batch.column("i").to_pylist() == list(range(7000, 7010))
say("same")`,
    );
    await peer.said("retired");
    peer.kill();
    await holder.said("same");
    await holder.fate();
  });

  test("that sends for ever meets a reader that takes no more than it asked for", async () => {
    const topic = freshTopic();
    const peer = attack(["publish", folder(topic), topic, "flood-of-batches", captured]);
    await peer.said("ready");
    const reader = new Python(
      topic,
      `
import resource
stream = arrowlane.subscribe(topic)
next(stream)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
time.sleep(1)
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
for _ in range(1000): next(stream)
stream.close()
until(lambda: mappings() == 0)
say("good")`,
    );
    await reader.said("good");
    await reader.fate();
  });

  test("that changes bits of real messages is an error, or a batch, and never a crash", async () => {
    const topic = freshTopic();
    const COUNT = "400";
    const peer = attack(["publish", folder(topic), topic, "any:mutations", captured], { COUNT });
    await peer.said("ready");
    const reader = new Python(
      topic,
      `
codes = {}
for n in range(${COUNT}):
    code = "read"
    try:
        for batch in arrowlane.subscribe(topic, timeout=20, validate="full"):
            str(batch.to_pylist())
    except arrowlane.ArrowlaneError as error:
        code = error.code
    codes[code] = codes.get(code, 0) + 1
say("codes", json.dumps(codes))`,
    );
    const codes = await reader.told<Record<string, number>>("codes");
    expect(Object.keys(codes).filter((code) => code === "ERR_INTERNAL")).toEqual([]);
    expect(codes.ERR_PROTOCOL).toBeGreaterThan(50);
    await reader.fate();
  }, 120_000);
});

describePython("a hostile subscriber of Python's publisher", () => {
  // It answers no questions.
  const cases = casesOf("subscribe").filter((name) => !name.includes("asks-for-everything"));

  /** What is right with publishers that greet with `returns=1` and `policies=1`, which Python's does not. */
  const beyondPython = new Set([
    "open:a-page-with-nothing-in-it",
    "open:notes-honestly",
    "open:writes-all-over-what-is-not-its-own",
  ]);

  describe("harms nobody but itself", () => {
    let python: Python;
    let topic: string;
    beforeAll(async () => {
      topic = freshTopic();
      python = new Python(
        topic,
        `
p = arrowlane.publish(topic, min_subscribers=0)
p.send(numbers(0))
alone = descriptors()
say("path", json.dumps(p.uri))
sent = 0
for line in iter(told, ""):
    if line == "send":
        sent += 1
        p.send(numbers(sent))
        say("sent", sent)
    else:
        until(lambda: p.statistics()[:3] == (0, 0, 0) and descriptors() == alone)
        say("clean")
`,
      );
      await python.said("path");
    });
    afterAll(endPython);

    test.each(cases)("%s", async (name) => {
      const uri = await python.told<string>("path");
      const path = decodeURIComponent(new URL(uri.replace(/^shm:/, "file:")).pathname);
      const honest = stage.subscribe(topic);
      const peer = attack(["subscribe", path, topic, name]);
      await peer.said("ready");
      let next = take(honest);
      let last = 0;
      const fate = await (async () => {
        for (;;) {
          const ended = await Promise.race([peer.fate(), sleep(20, undefined)]);
          if (ended !== undefined) return ended;
          python.lines = python.lines.filter((line) => line.startsWith("path"));
          python.tell("send");
          await python.said("sent");
          // It may have been sent before the honest one took part.
          const batch = await Promise.race([next, sleep(200, undefined)]);
          if (batch === undefined) continue;
          expect(first(batch)).toBeGreaterThan(last);
          last = first(batch);
          batch.dispose();
          next = take(honest);
        }
      })();
      expect(fate).toBe(name.startsWith("open:") && !beyondPython.has(name) ? "open" : "closed");
      next.catch(() => {});
      honest.close();
      python.lines = python.lines.filter((line) => line.startsWith("path"));
      python.tell("look");
      await python.said("clean");
    });
  });

  test("a crowd that says nothing cannot keep an honest subscriber out", async () => {
    const topic = freshTopic();
    const python = new Python(
      topic,
      `p = arrowlane.publish(topic); say("path", json.dumps(p.uri)); told(); p.send(numbers(1)); say("sent"); told()`,
    );
    const uri = await python.told<string>("path");
    const path = decodeURIComponent(new URL(uri.replace(/^shm:/, "file:")).pathname);
    const crowd = attack(["crowd", path, "1500"]);
    await crowd.said("ready");
    const next = take(stage.subscribe(topic));
    python.tell();
    expect(first(await next)).toBe(1000);
    await until(() => python.lines.includes("sent"), "it was sent");
    python.tell();
    await python.fate();
  });
});
