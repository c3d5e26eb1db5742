"""The Python halves of `arrowlane bench python`: a batch there and one back, and what people build by hand for it.

    handoff.py ask|answer NAME PAYLOAD WARM ROUNDS      over arrowlane; says "ready" when the other half may start
    handoff.py by-hand MODE PAYLOAD WARM ROUNDS CPU     multiprocessing.shared_memory and a Pipe, both halves

`ask` and `by-hand` print what they found: {"p50": …, "p99": …}, microseconds one way. Each half writes two fresh values and reads
two through pyarrow; both are checked. MODE `copy`: a half has its batch in memory of its own, as people have, and copies it
in. `in-place`: it writes those two values into the shared memory, as arrowlane's halves do.
"""

import json
import multiprocessing
import os
import random
import sys
import time

import pyarrow as pa

SCHEMA = pa.schema([pa.field("x", pa.float64(), False)])


def say(what):
    print(what, flush=True)


def outcome(times, warm):
    times = sorted(times[warm:])
    one_way = lambda part: times[min(len(times) - 1, int(len(times) * part))] * 1e6 / 2
    return json.dumps({"p50": one_way(0.5), "p99": one_way(0.99)})


def checked(first, second, expected):
    if first != expected or second != -expected:
        raise SystemExit(f"a hand-off returned {first} and {second}, not {expected}")


def ask(name, payload, warm, rounds):
    import arrowlane

    rows, times = payload // 8, []
    back = arrowlane.subscribe(name + "-back")
    with arrowlane.publish(name + "-there") as out:
        say("ready")
        for _ in range(warm + rounds):
            started = time.perf_counter()
            a, b = random.random(), random.random()
            writer = out.allocate(SCHEMA, rows)
            x = writer["x"]
            x[0], x[rows - 1] = a, b
            out.send(writer)
            x = next(back).column(0)
            checked(x[0].as_py(), x[rows - 1].as_py(), a + b)
            x = None
            times.append(time.perf_counter() - started)
    back.close()
    say(outcome(times, warm))


def answer(name, payload, *_):
    import arrowlane

    rows = payload // 8
    with arrowlane.publish(name + "-back") as out:
        there = arrowlane.subscribe(name + "-there")
        say("ready")
        for batch in there:
            x = batch.column(0)
            total = x[0].as_py() + x[rows - 1].as_py()
            x = batch = None
            writer = out.allocate(SCHEMA, rows)
            x = writer["x"]
            x[0], x[rows - 1] = total, -total
            out.send(writer)
    say("{}")


class ByHand:
    """One half's shared memory and the other's, and the pipe between them."""

    def __init__(self, mode, rows, pipe, mine, theirs):
        self.pipe, self.copies, self.rows = pipe, mode == "copy", rows
        self.mine, self.shared = mine.buf, mine.buf.cast("d")
        self.own = memoryview(bytearray(rows * 8)).cast("d") if self.copies else self.shared
        self.theirs = pa.py_buffer(theirs.buf)

    def send(self, first, last):
        self.own[0], self.own[self.rows - 1] = first, last
        if self.copies:
            self.mine[:] = self.own.cast("B")
        self.pipe.send(self.rows)

    def receive(self):
        rows = self.pipe.recv()
        x = pa.RecordBatch.from_arrays([pa.Array.from_buffers(pa.float64(), rows, [None, self.theirs])], schema=SCHEMA).column(0)
        return x[0].as_py(), x[rows - 1].as_py()


def by_hand_answer(mode, rows, pipe, mine, theirs, total, cpu):
    if cpu >= 0:
        os.sched_setaffinity(0, [cpu])
    half = ByHand(mode, rows, pipe, mine, theirs)
    for _ in range(total):
        a, b = half.receive()
        half.send(a + b, -(a + b))
    pipe.recv()
    os._exit(0)  # views of the memory are left: it goes with the process


def by_hand(mode, payload, warm, rounds, cpu):
    from multiprocessing import shared_memory

    there, back = (shared_memory.SharedMemory(create=True, size=payload) for _ in range(2))
    try:
        near, far = multiprocessing.Pipe()
        other = multiprocessing.get_context("fork").Process(
            target=by_hand_answer, args=(mode, payload // 8, far, back, there, warm + rounds, cpu))
        other.start()
        half, times = ByHand(mode, payload // 8, near, there, back), []
        for _ in range(warm + rounds):
            started = time.perf_counter()
            a, b = random.random(), random.random()
            half.send(a, b)
            checked(*half.receive(), a + b)
            times.append(time.perf_counter() - started)
        near.send(0)
        other.join()
        say(outcome(times, warm))
    finally:
        there.unlink()
        back.unlink()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    kind, first, *numbers = sys.argv[1:]
    {"ask": ask, "answer": answer, "by-hand": by_hand}[kind](first, *map(int, numbers))
