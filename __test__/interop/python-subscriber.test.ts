/**
 * Node.js publishes, Python subscribes: the arrays of pyarrow lie where Node wrote them, and the memory comes back when
 * Python's last reference goes.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { codeOf, freshTopic, numbers, numbersSchema, Stage, take, until } from "../support.js";
import { batchOf, esm, plain, samples } from "../unit/arrow-support.js";
import { describePython, endPython, OBEY, Python } from "./python-support.js";

const stage = new Stage();
afterEach(async () => {
  await endPython();
  await stage.clear();
});

/** Subscribes, and sends every batch back on another topic. */
const ECHO = `
with arrowlane.publish(topic + "-back") as back:
    for batch in arrowlane.subscribe(topic):
        say("at", json.dumps([batch.num_rows, place(batch)]))
        back.send(batch)
say("over")
`;

/** Takes as many batches as it is told into a list, and does what it is told with them. */
const HOLD = `
held = []
stream = arrowlane.subscribe(topic).connect()
say("connected")
${OBEY}`;

async function echo() {
  const topic = freshTopic();
  const publisher = await stage.publish(topic, { minSubscribers: 2 });
  const python = new Python(topic, ECHO);
  const [direct, back] = [stage.subscribe(topic), stage.subscribe(`${topic}-back`)];
  return { publisher, python, direct, back };
}

async function holding(script = HOLD, options: Parameters<typeof stage.publish>[1] = {}) {
  const topic = freshTopic();
  const publisher = await stage.publish(topic, options);
  const python = new Python(topic, script);
  await python.said("connected");
  await until(() => publisher.subscribers === 1, "it takes part");
  const does = (line: string) => python.does(line);
  return { publisher, python, does };
}

describePython("Python reads what Node published", () => {
  test("every type, where Node wrote it, and sends it back the same", async () => {
    const { publisher, python, direct, back } = await echo();
    const { intervalyearmonth: _, intervaldaytime: __, ...columns } = samples(esm);
    const [mine, echoed] = [take(direct), take(back)];
    await publisher.send(batchOf(esm, columns), { metadata: { day: "2026-03-01" } });
    const [batch, again] = await Promise.all([mine, echoed]);
    const [rows, at] = await python.told<[number, [string, string]]>("at");
    expect([rows, ...at]).toEqual([batch.length, batch.location?.memory, String(batch.location?.offset)]);
    for (const name of Object.keys(columns)) {
      expect([name, plain(again.column(name))]).toEqual([name, plain(columns[name])]);
    }
    batch.dispose();
    again.dispose();
    await until(() => publisher.statistics().leases <= 8, "the batch came back; dictionaries stay");
    await publisher.close();
    await python.said("over");
  });

  test("says which types pyarrow cannot hold", async () => {
    const topic = freshTopic();
    const publisher = await stage.publish(topic);
    const python = new Python(
      topic,
      `
try: next(arrowlane.subscribe(topic))
except arrowlane.UnsupportedType as error: say("code", error.code)`,
    );
    const { intervalyearmonth, intervaldaytime } = samples(esm);
    await publisher.send(batchOf(esm, { intervalyearmonth, intervaldaytime }));
    await python.said("code ERR_UNSUPPORTED_TYPE");
    await python.fate();
  });

  test("zero rows, no columns' values, and dictionaries that are replaced", async () => {
    const { publisher, python, direct, back } = await echo();
    const type = new arrow.Dictionary(new arrow.Utf8(), new arrow.Int8() as never);
    const words = (values: string[]) => batchOf(esm, { word: arrow.vectorFromArray(values, type) as never });
    for (const values of [["a", "b", "a"], [], ["c", "d", "e", "c"], ["c"]]) {
      const pending = [take(direct), take(back)] as const;
      await publisher.send(words(values));
      const [batch, again] = await Promise.all(pending);
      expect([plain(batch.column("word")), plain(again.column("word"))]).toEqual([values, values]);
      batch.dispose();
      again.dispose();
    }
    await publisher.close();
    await python.said("over");
  });

  test("100 MB in place, its first and last value, and the same block again", async () => {
    const script = `
stream = arrowlane.subscribe(topic)
for batch in stream:
    x = batch.column("x")
    say("got", json.dumps([batch.num_rows, x[0].as_py(), x[len(x) - 1].as_py(), place(batch)]))
    del x
say("over")`;
    const topic = freshTopic();
    const publisher = await stage.publish(topic, { memory: 256 << 20 });
    const python = new Python(topic, script);
    const schema = new arrow.Schema([new arrow.Field("x", new arrow.Float64(), false)]);
    const rows = 12_500_000;
    const at = new Set<string>();
    for (let n = 0; n < 5; n++) {
      const writer = await publisher.allocate(schema, rows);
      const x = writer.column("x");
      [x[0], x[rows - 1]] = [n, n + 0.5];
      python.lines.length = 0;
      await publisher.send(writer);
      const [length, first, last, place] = await python.told<[number, number, number, string[]]>("got");
      expect([length, first, last]).toEqual([rows, n, n + 0.5]);
      at.add(place.join());
    }
    // 256 MiB hold two such blocks: five were sent.
    expect(at.size).toBeLessThanOrEqual(2);
    await publisher.close();
    await python.said("over");
    await python.fate();
  });
});

describePython("a lease of Python's", () => {
  test("ends with the last view of one column, and not before", async () => {
    const { publisher, does } = await holding();
    await publisher.send(numbers(7));
    await does("held.append(next(stream))");
    await does("view = memoryview(held[0].column('x').buffers()[1])");
    await does("held.clear(); gc.collect()");
    await sleep(100);
    expect(publisher.statistics().leases).toBe(1);
    for (let n = 0; n < 5; n++) await publisher.send(numbers(n));
    await does("assert view.cast('d')[9] == 7009 / 2");
    await does("for _ in range(5): next(stream)");
    await until(() => publisher.statistics().leases === 1, "the others came back");
    await does("view = None");
    await until(() => publisher.statistics().leases === 0, "and this one");
    expect(publisher.statistics().bytesInUse).toBe(0);
  });

  test("ends with a numpy array over it, where there is numpy", async () => {
    const { publisher, does } = await holding();
    await publisher.send(numbers(7));
    await does("held.append(next(stream))");
    await does("import importlib.util as u; numpy = u.find_spec('numpy') and __import__('numpy')");
    await does("view = numpy.asarray(held[0].column('x').to_numpy()) if numpy else held[0]");
    await does("held.clear(); gc.collect()");
    await sleep(50);
    expect(publisher.statistics().leases).toBe(1);
    await does("view = None");
    await until(() => publisher.statistics().leases === 0, "it came back");
  });

  test("ends on the thread that drops it, while another one waits for the next batch", async () => {
    const { publisher, does } = await holding();
    await publisher.send(numbers(1));
    await does("held.append(next(stream))");
    await does(
      "reader = threading.Thread(target=lambda: held.append(next(stream)), daemon=True); reader.start()",
    );
    await does("held.pop(0)");
    await until(() => publisher.statistics().leases === 0, "it came back while the reader waits");
    await publisher.send(numbers(2));
    await does("reader.join(); assert held[0].column('i')[0].as_py() == 2000");
  });

  test("outlives its subscription, and the publisher", async () => {
    const { publisher, does } = await holding();
    await publisher.send(numbers(1));
    await publisher.send(numbers(2));
    await does("held += [next(stream), next(stream)]");
    await does("stream.close()");
    await until(() => publisher.subscribers === 0, "it has left");
    expect(publisher.statistics().leases).toBe(2);
    await does("held.pop()");
    await until(() => publisher.statistics().leases === 1, "one came back after the end");
    await publisher.close();
    await does("assert held[0].column('i')[9].as_py() == 1009");
    await does("held.clear(); del stream; until(lambda: mappings() == 0)");
  });

  test("does not keep others from being sent: what is held counts as taken", async () => {
    const { publisher, does } = await holding(HOLD, { queue: { batches: 1 } });
    const sending = (async () => {
      for (let n = 0; n < 20; n++) await publisher.send(numbers(n));
    })();
    await does("held += [next(stream) for _ in range(20)]");
    await sending;
    expect(publisher.statistics().leases).toBe(20);
    await does("held.clear()");
    await until(() => publisher.statistics().leases === 0, "all came back");
  });

  test("of a batch that is kept for long makes one warning that says which", async () => {
    const script = `
import warnings
stream = arrowlane.subscribe(topic, lease_warning=0.05).connect()
say("connected")
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    kept, short = next(stream), next(stream)
    del short
    until(lambda: seen)
    time.sleep(0.3)
say("warned", json.dumps([[w.message.topic == topic, w.message.sequence, w.message.age >= 0.05, str(w.message)] for w in seen]))
assert issubclass(arrowlane.LeaseWarning, Warning)`;
    const { publisher, python } = await holding(script);
    await publisher.send(numbers(1));
    await publisher.send(numbers(2));
    const warned = await python.told<[boolean, number, boolean, string][]>("warned");
    expect(warned.map((one) => one.slice(0, 3))).toEqual([[true, 1, true]]);
    expect(warned[0][3]).toMatch(/batch 1 of topic .* has been held for 0\.\d s/);
    await python.fate();
  });
});

describePython("a subscription of Python's", () => {
  test("waits for a publisher that comes later, and says when it may not", async () => {
    const topic = freshTopic();
    const python = new Python(
      topic,
      `
try: next(arrowlane.subscribe(topic, wait=False))
except arrowlane.TopicNotFound as error: say("code", error.code)
try: next(arrowlane.subscribe(topic, timeout=0.05))
except TimeoutError as error: say("late", error.code)
say("first", next(arrowlane.subscribe(topic)).column("i")[0].as_py())`,
    );
    await python.said("code ERR_TOPIC_NOT_FOUND");
    await python.said("late ERR_TIMEOUT");
    const publisher = await stage.publish(topic);
    await publisher.send(numbers(3));
    await python.said("first 3000");
    await python.fate();
  });

  test("is opened and closed 200 times, and no descriptor, mapping or thread is left", async () => {
    const script = `
def one(n):
    stream = arrowlane.subscribe(topic).connect()
    say("connected") if n == 0 else None
    batch = next(stream)
    if n % 3 == 0: stream.close()
    elif n % 3 == 1: del batch; stream.close()
one(0)
before = descriptors(), threading.active_count()
for n in range(1, 200): one(n)
until(lambda: (descriptors(), threading.active_count()) == before and mappings() == 0)
say("good")
told()`;
    const { publisher, python } = await holding(script);
    let over = false;
    const sending = (async () => {
      while (!over) await publisher.send(numbers(1));
    })();
    const ended = codeOf(sending);
    await python.said("good");
    over = true;
    python.tell();
    await python.fate();
    const last = stage.subscribe(publisher.topic);
    (await take(last)).dispose();
    await ended;
    last.close();
    await until(() => publisher.statistics().leases === 0, "every lease ended");
  });

  test("ends from another thread while it waits", async () => {
    const { publisher, does } = await holding();
    await does(
      "reader = threading.Thread(target=lambda: held.extend(stream)); reader.start(); time.sleep(0.05)",
    );
    await does("stream.close(); reader.join(); assert held == []");
    await until(() => publisher.subscribers === 0, "it has left");
  });

  test("says that its publisher was lost, and that it failed", async () => {
    const topic = freshTopic();
    const python = new Python(
      topic,
      `
stream = arrowlane.subscribe(topic)
held = next(stream)
say("one")
try: next(stream)
except arrowlane.PublisherLost as error: say("code", error.code)
assert held.column("i")[0].as_py() == 5000 and list(stream) == []`,
    );
    const other = new Python(
      topic,
      `p = arrowlane.publish(topic); p.send(numbers(5)); told(); os.kill(os.getpid(), 9)`,
    );
    await python.said("one");
    other.tell();
    await python.said("code ERR_PUBLISHER_LOST");
    await python.fate();
  });

  test("survives a fork: the child's end does not end the parent's leases", async () => {
    const { publisher, does } = await holding();
    await publisher.send(numbers(1));
    await does("held.append(next(stream))");
    await does("child = os.fork(); child or os._exit(len(arrowlane._links))");
    await does("assert os.waitpid(child, 0)[1] == 0");
    await sleep(50);
    expect([publisher.subscribers, publisher.statistics().leases]).toEqual([1, 1]);
    const writer = await publisher.allocate(numbersSchema, 1);
    writer.column("i")[0] = 8;
    await publisher.send(writer);
    await does("held.append(next(stream)); assert held[1].column('i')[0].as_py() == 8");
    await does("held.clear()");
    await until(() => publisher.statistics().leases === 0, "all came back");
  });
});
