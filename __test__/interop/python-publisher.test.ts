/**
 * Python publishes, Node.js subscribes; and Python to Python. Batches that were built in the publisher's memory are read there,
 * blocks are used again, nothing is lost.
 */
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "@jest/globals";
import { socketOf } from "../process/raw.js";
import { codeOf, first, freshTopic, isPending, Stage, settle, take, until } from "../support.js";
import { plain } from "../unit/arrow-support.js";
import { describePython, endPython, OBEY, Python } from "./python-support.js";

const stage = new Stage();
afterEach(async () => {
  await endPython();
  await stage.clear();
});

/** Batches of every type that pyarrow can make. */
const EVERY = `
import datetime, decimal
def every(rows=37):
    at = range(rows)
    some = lambda make, kind: pa.array([None if n % 5 == 3 else make(n) for n in at], kind)
    text = lambda n: f"a rather long string, number {n}, åäö" if n % 4 == 0 else f"s{n}"
    out = {"null": pa.nulls(rows), "bool": some(lambda n: n % 3 == 0, pa.bool_())}
    for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float32(),
                 pa.float64(), pa.date32(), pa.time32("s"), pa.time64("ns"), pa.timestamp("us", "UTC"), pa.duration("ms")):
        out[str(kind)] = some(lambda n: n, pa.int64()).cast(kind) if not pa.types.is_temporal(kind) else some(
            lambda n: n, pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)
    out["half"] = some(lambda n: n / 2, pa.float32()).cast(pa.float16())
    for kind in (pa.utf8(), pa.large_utf8(), pa.string_view()):
        out[str(kind)] = some(text, kind)
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        out[str(kind)] = some(lambda n: text(n).encode(), kind)
    out["fixed"] = some(lambda n: bytes([n, 1, 2]), pa.binary(3))
    out["decimal"] = some(lambda n: decimal.Decimal(n) / 4, pa.decimal128(30, 2))
    out["decimal256"] = some(lambda n: decimal.Decimal(n) / 4, pa.decimal256(60, 2))
    out["list"] = some(lambda n: list(range(n % 4)), pa.list_(pa.int32()))
    out["large_list"] = some(lambda n: [text(n)] * (n % 3), pa.large_list(pa.utf8()))
    out["fixed_list"] = some(lambda n: [n, n + 0.5], pa.list_(pa.float64(), 2))
    out["struct"] = some(lambda n: {"a": n, "b": text(n)}, pa.struct([("a", pa.int32()), ("b", pa.utf8())]))
    out["map"] = some(lambda n: [(f"k{i}", i) for i in range(n % 3)], pa.map_(pa.utf8(), pa.int32()))
    out["dictionary"] = some(lambda n: ["red", "green", "blue"][n % 3], pa.utf8()).dictionary_encode()
    out["nested"] = pa.array([[["x", "y"][n % 2]] * (n % 3) for n in at], pa.list_(pa.dictionary(pa.int8(), pa.utf8())))
    out["sparse"] = pa.UnionArray.from_sparse(pa.array([n % 2 for n in at], pa.int8()), [pa.array(at, pa.int32()), pa.array(map(text, at))])
    return out
def beyond(rows=37):
    at = range(rows)
    return {"list_view": pa.array([[n] * (n % 3) for n in at], pa.list_view(pa.int16())),
            "large_list_view": pa.array([[n] * (n % 3) for n in at], pa.large_list_view(pa.int16())),
            "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2, 9, rows], pa.int32()), pa.array(["p", None, "q"])),
            "interval": pa.array([(1, n, 3) for n in at], pa.month_day_nano_interval()),
            "uuid": pa.array([bytes([n] * 16) for n in at], pa.uuid()),
            "extended": pa.array([bytes([n] * 3) for n in at], pa.opaque(pa.binary(), "t", "v"))}
`;

function obeying(script = "", env = {}) {
  const topic = freshTopic();
  const python = new Python(topic, `${EVERY}${script}\nsay("ready")\n${OBEY}`, env);
  const does = (line: string) => python.does(line);
  return { topic, python, does };
}

describePython("Node reads what Python published", () => {
  test("every type that both can hold, sliced or whole", async () => {
    const { topic, does } = obeying("p = arrowlane.publish(topic)");
    const subscription = stage.subscribe(topic);
    const pending = take(subscription);
    await does("columns = every(); b = pa.record_batch(columns)");
    await does("p.send(b, metadata={'day': '2026-03-01'})");
    const batch = await pending;
    expect([batch.length, batch.zeroCopy, [...batch.metadata]]).toEqual([37, true, [["day", "2026-03-01"]]]);
    await does("p.send(b.slice(5, 20)); p.send(b.slice(0, 0)); p.send(b)");
    const [slice, none, whole] = [
      await take(subscription),
      await take(subscription),
      await take(subscription),
    ];
    expect([slice.length, none.length]).toEqual([20, 0]);
    for (const { name } of batch.schema.fields) {
      const values = plain(batch.column(name));
      expect([name, plain(slice.column(name))]).toEqual([name, values.slice(5, 25)]);
      expect([name, plain(whole.column(name))]).toEqual([name, values]);
    }
    const int32 = Array.from({ length: 37 }, (_, n) => (n % 5 === 3 ? null : n));
    expect(plain(batch.column("int32"))).toEqual(int32);
    expect(plain(batch.column("dictionary"))).toEqual(
      int32.map((n) => (n === null ? null : ["red", "green", "blue"][n % 3])),
    );
    await does("p.close()");
    expect((await subscription.next()).done).toBe(true);
  });

  test("where it was written: allocated, and built over the publisher's memory in several segments", async () => {
    const { topic, python, does } = obeying("p = arrowlane.publish(topic, strict_zero_copy=True)");
    const subscription = stage.subscribe(topic);
    let pending = take(subscription);
    await does("schema = pa.schema([('i', pa.int32()), ('x', pa.float64())]); w = p.allocate(schema, 1000)");
    await does("[w['i'].__setitem__(n, n) for n in range(1000)]; w['x'][0], w['x'][999] = 1.5, 2.5");
    await does(
      "at = arrowlane.location(w.batch()); p.send(w); say('at', json.dumps([at.memory, str(at.offset)]))",
    );
    const batch = await pending;
    const location = () => [batch.location?.memory, String(batch.location?.offset)];
    expect(await python.told("at")).toEqual(location());
    expect([batch.column("i").get(999), batch.column("x").get(0), batch.column("x").get(999)]).toEqual([
      999, 1.5, 2.5,
    ]);
    expect(batch.zeroCopy).toBe(true);
    // Two buffers of one's own, in segments of their own: addresses that lie apart.
    pending = take(subscription);
    await does("u, far = p.buffer(40), p.buffer(8 << 20); v = far[:80]");
    await does("u.cast('i')[3] = 33; v.cast('d')[9] = 9.5");
    await does(
      `arrays = [pa.Array.from_buffers(f.type, 10, [None, pa.py_buffer(m)]) for f, m in zip(schema, (u, v))]`,
    );
    await does("b = pa.record_batch(arrays, schema=schema); p.send(b); del b, arrays, u, v, far, at, w");
    const apart = await pending;
    expect([apart.column("i").get(3), apart.column("x").get(9), apart.zeroCopy]).toEqual([33, 9.5, true]);
    // And what lies elsewhere would have to be copied.
    python.tell("p.send(pa.record_batch([pa.array([1], pa.int32()), pa.array([1.0])], schema=schema))");
    await python.said("failed ERR_COPY_REQUIRED");
    batch.dispose();
    apart.dispose();
    await does("until(lambda: p.statistics()[1:3] == (0, 0))");
  });

  test("in the same memory again and again, and no more of it", async () => {
    const { topic, python, does } = obeying("p = arrowlane.publish(topic, memory=64 << 20)");
    const subscription = stage.subscribe(topic);
    const reading = (async () => {
      const seen: number[] = [];
      for await (const batch of subscription) {
        seen.push(first(batch));
        batch.dispose();
      }
      return seen;
    })();
    await does("for n in range(50): p.send(numbers(n, 500_000))");
    await does("say('took', p.statistics().capacity)");
    expect(Number((await python.said("took")).split(" ")[1])).toBeLessThanOrEqual(64 << 20);
    await does("until(lambda: p.statistics()[1:3] == (0, 0)); p.close()");
    expect(await reading).toEqual(Array.from({ length: 50 }, (_, n) => n * 1000));
  });

  test("a segment makes way for a batch that is larger than what is left beside it", async () => {
    const { topic, does } = obeying("p = arrowlane.publish(topic, memory=32 << 20)");
    const subscription = stage.subscribe(topic);
    let pending = take(subscription);
    await does("p.send(numbers(1))");
    (await pending).dispose();
    pending = take(subscription);
    await does("p.send(numbers(2, 2_600_000), timeout=20)");
    expect(first(await pending)).toBe(2000);
    await does("assert p.statistics().capacity <= 32 << 20");
    await does("p.close()");
  });

  test("and nothing is lost: it waits for a subscriber, for room, and for memory, or gives up in time", async () => {
    const { topic, python, does } = obeying("p = arrowlane.publish(topic, memory=1 << 20, queue_batches=4)");
    python.tell("p.send(numbers(0), timeout=0.05)");
    await python.said("failed ERR_TIMEOUT");
    const subscription = stage.subscribe(topic);
    const one = take(subscription);
    await does("p.send(numbers(1))");
    const held = await one;
    await does("for n in range(2, 6): p.send(numbers(n))");
    python.tell("p.send(numbers(6), timeout=0.05)");
    await python.said("failed ERR_TIMEOUT");
    python.tell("p.send(numbers(7))");
    const rest = [];
    for (let n = 0; n < 5; n++) rest.push(await take(subscription));
    expect([held, ...rest].map(first)).toEqual([1000, 2000, 3000, 4000, 5000, 7000]);
    for (const batch of [held, ...rest]) batch.dispose();
    const big = take(subscription);
    await does("p.send(numbers(8, 60_000))");
    const kept = await big;
    python.tell("p.send(numbers(9, 60_000), timeout=0.05)");
    await python.said("failed ERR_TIMEOUT");
    python.lines.length = 0;
    const next = take(subscription);
    python.tell("p.send(numbers(10, 60_000))");
    expect(await isPending(next)).toBe(true);
    kept.dispose();
    expect(first(await next)).toBe(10_000);
    await python.said("done");
    python.tell("p.send(numbers(11, 600_000))");
    await python.said("failed ERR_OUT_OF_MEMORY");
  });

  test("to many at once, whoever comes late gets the schema and the dictionaries", async () => {
    const { topic, does } = obeying("p = arrowlane.publish(topic)");
    const early = stage.subscribe(topic);
    let pending = [take(early)];
    await does("b = pa.record_batch({'w': pa.array(['a', 'b', 'a']).dictionary_encode()}); p.send(b)");
    expect(plain((await pending[0]).column("w"))).toEqual(["a", "b", "a"]);
    const late = Array.from({ length: 7 }, () => stage.subscribe(topic));
    pending = [early, ...late].map(take);
    await does("until(lambda: p.subscribers == 8); p.send(b)");
    for (const one of pending) {
      const batch = await one;
      expect(plain(batch.column("w"))).toEqual(["a", "b", "a"]);
      batch.dispose();
    }
    for (const one of late) one.close();
    await does("until(lambda: p.subscribers == 1)");
  });

  test("under a name that is taken while it lives, and taken over when it died", async () => {
    const { topic, python, does } = obeying("p = arrowlane.publish(topic)");
    await python.said("ready");
    expect(await codeOf(stage.publish(topic))).toBe("ERR_TOPIC_TAKEN");
    const second = new Python(topic, `say("ready")\n${OBEY}`);
    second.tell("arrowlane.publish(topic)");
    await second.said("failed ERR_TOPIC_TAKEN");
    python.kill();
    await python.ended;
    second.tell("p = arrowlane.publish(topic)");
    await second.said("done");
    const subscription = stage.subscribe(topic);
    const pending = take(subscription);
    second.tell("p.send(numbers(4))");
    expect(first(await pending)).toBe(4000);
    const other = await stage.publish(freshTopic());
    const folder = dirname(socketOf(other));
    expect(existsSync(`${folder}/${topic}`)).toBe(true);
    second.tell("p.close()");
    await until(() => !existsSync(`${folder}/${topic}`), "the name is free");
    expect(readdirSync(folder).filter((name) => name.startsWith("."))).toEqual([]);
    void does;
  });

  test("refuses another schema, and what it cannot send", async () => {
    const { topic, python, does } = obeying("p = arrowlane.publish(topic, min_subscribers=0)");
    await does("assert p.send(numbers(1)) == 0");
    for (const [line, code] of [
      ["p.send(pa.record_batch({'y': [1]}))", "ERR_SCHEMA_MISMATCH"],
      ["p.send([1, 2])", "ERR_INVALID_ARGUMENT"],
      ["p.allocate(pa.schema([('s', pa.utf8())]), 3)", "ERR_UNSUPPORTED_TYPE"],
      ["w = p.allocate(numbers(1).schema, 3); p.send(w); p.send(w)", "ERR_CLOSED"],
      ["arrowlane.publish('')", "ERR_BAD_NAME"],
      ["p.close(); p.send(numbers(1))", "ERR_CLOSED"],
    ]) {
      python.lines.length = 0;
      python.tell(line);
      expect([line, await python.said("failed")]).toEqual([line, `failed ${code}`]);
    }
    void topic;
  });

  test("ends with an error when the block that publishes fails", async () => {
    const topic = freshTopic();
    const python = new Python(
      topic,
      `
try:
    with arrowlane.publish(topic) as p:
        p.send(numbers(1))
        raise ValueError("no more")
except ValueError: say("raised")`,
    );
    const subscription = stage.subscribe(topic);
    expect(first(await take(subscription))).toBe(1000);
    expect(await codeOf(subscription.next())).toBe("ERR_REMOTE");
    await python.fate();
  });

  test("to 200 subscriptions that come and go, without a descriptor more", async () => {
    const { topic, python, does } = obeying("p = arrowlane.publish(topic)");
    const one = async () => {
      const subscription = stage.subscribe(topic);
      const pending = take(subscription);
      await does("p.send(numbers(1))");
      (await pending).dispose();
      subscription.close();
      await does("until(lambda: p.subscribers == 0)");
    };
    await one();
    const open = () =>
      readdirSync(`/proc/${python.process.pid}/fd`).filter((fd) => {
        try {
          return readlinkSync(`/proc/${python.process.pid}/fd/${fd}`) !== "";
        } catch {
          return false;
        }
      }).length;
    const before = open();
    for (let n = 0; n < 200; n++) await one();
    await settle();
    expect(open()).toBeLessThanOrEqual(before);
  });
});

describePython("Python reads what Python published", () => {
  test("every type that pyarrow knows, at the same place, many times over", async () => {
    const { topic, python, does } = obeying("p = arrowlane.publish(topic)");
    const reader = new Python(
      topic,
      `${EVERY}
expected = pa.record_batch({**every(), **beyond()})
for n, batch in enumerate(arrowlane.subscribe(topic, validate="full")):
    whole = expected.slice(n, 37 - n)
    assert batch.equals(whole), [name for name in whole.schema.names if not batch.column(name).equals(whole.column(name))]
    assert arrowlane.location(batch) is not None
say("all", n + 1)`,
    );
    await does("b = pa.record_batch({**every(), **beyond()})");
    await does("for n in range(30): p.send(b.slice(n, 37 - n))");
    await does("until(lambda: p.statistics().leases <= 4); p.close()");
    await reader.said("all 30");
    await reader.fate();
    void python;
  });

  test("where it was written, and a reader in the same process", async () => {
    const { does } = obeying("p = arrowlane.publish(topic); s = arrowlane.subscribe(topic).connect()");
    await does("w = p.allocate(numbers(1).schema, 5); w['i'][0] = 7; at = arrowlane.location(w.batch())");
    await does("p.send(w); batch = next(s)");
    await does(
      "there = arrowlane.location(batch); assert (at.memory, at.offset) == (there.memory, there.offset)",
    );
    await does("assert there.address != at.address and batch.column('i')[0].as_py() == 7");
    await does("del batch; until(lambda: p.statistics()[1:3] == (0, 0))");
    await does("p.close(); s.close(); del p, s, at, there, w; until(lambda: mappings() == 0)");
    await sleep(0);
  });
});
