"""A publisher that replays a captured batch and breaks one rule at a time."""

import json
import os
import socket
import struct

from hostile_wire import (FUTURE_WRITE, GREETING, GROW, METADATA, PAGE, RETIRE, RETIRED, SEAL, SEGMENT, SEGMENT_ACK, SHRINK,
                          TAGGED, Peer, frame, memfd, parameters, say, sealed, u64)


class Publisher(Peer):
    def __init__(self, listener, captured):
        sock, _ = listener.accept()
        super().__init__(sock)
        self.c = captured
        self.uri = captured["uri"]
        tags = parameters(self.uri)
        self.free, self.ext = int(tags["free_data"]), int(tags["want_data_ext"])
        self.schema, self.header = (bytes.fromhex(m) for m in captured["metadata"])

    def greet(self):
        self.send(frame(GREETING, 0, self.uri.encode()))
        kind, tag, _ = self.frame()
        assert (kind, tag) == (TAGGED, self.ext), (kind, tag)

    def body(self, segment=1, at=0):
        """The captured buffers as they lie in our own segment, 64-byte aligned."""
        pairs, offset = [], at
        for text in self.c["bytes"]:
            n = len(text) // 2
            pairs.append((segment << 48 | offset, n) if n else (0, 0))
            offset += -(-n // 64) * 64
        return pairs

    def bytes(self):
        out = b""
        for text in self.c["bytes"]:
            data = bytes.fromhex(text)
            out += data + bytes(-len(data) % 64)
        return out

    def lend(self, number=1):
        self.send(frame(SEGMENT, number, u64(PAGE)), [sealed(PAGE, self.bytes())])

    def batch(self, serial=1, pairs=None, header=None):
        self.send(self.batch_bytes(serial, pairs, header))

    def batch_bytes(self, serial=1, pairs=None, header=None):
        pairs = self.body() if pairs is None else pairs
        body = u64(sum(n for _, n in pairs) & 2**64 - 1, len(pairs), *[x for pair in pairs for x in pair])
        return self.meta(header or self.header, serial) + frame(TAGGED, 1 << 56 | serial % 2**32, body)

    def meta(self, message, serial):
        return frame(METADATA, 0, message[:1] + struct.pack("<I", serial % 2**32) + message[5:])

    def start(self):
        self.greet()
        self.send(self.meta(self.schema, 0))

    def good(self):
        self.start()
        self.lend()
        self.batch()


def publisher_cases():
    cases = {}

    def case(name):
        def keep(function):
            cases[name] = function
            return function

        return keep

    def greeted(name, data, before=Publisher.start):
        def act(p):
            before(p)
            p.send(data(p) if callable(data) else data)

        cases[name] = act

    nothing = lambda p: None
    # Frames and the greeting.
    greeted("unknown-kind", struct.pack("<IBBHQ", 0, 99, 0, 0, 0))
    greeted("reserved-bits", struct.pack("<IBBHQ", 0, METADATA, 0, 1, 0))
    greeted("length-over-the-limit", struct.pack("<IBBHQ", (64 << 20) + 1, METADATA, 0, 0, 0))
    greeted("greets-twice", lambda p: frame(GREETING, 0, p.uri.encode()))
    greeted("greeting-is-not-text", frame(GREETING, 0, b"\xff\xfe"), nothing)
    greeted("greeting-is-no-uri", frame(GREETING, 0, b"hello"), nothing)
    greeted("greeting-without-tags", frame(GREETING, 0, b"shm:///x"), nothing)
    greeted("does-not-greet", lambda p: p.meta(p.schema, 0), nothing)
    # Metadata.
    greeted("metadata-of-three-bytes", frame(METADATA, 0, b"\1\0\0"))
    greeted("metadata-without-a-message", frame(METADATA, 0, b"\1\1\0\0\0"))
    greeted("metadata-of-unknown-type", frame(METADATA, 0, b"\7\1\0\0\0x"))
    notice = lambda text, serial=1: frame(METADATA, 0, b"\xe2" + struct.pack("<I", serial) + text)
    greeted("notice-that-is-not-text", notice(b"\xff\xfe=1"))
    greeted("notice-without-a-value", notice(b"dropped"))
    greeted("notice-of-no-number", notice(b"dropped=-1"))
    greeted("notice-of-drops-that-run-backwards", notice(b"dropped=2") + notice(b"dropped=1"))
    greeted("notice-that-is-too-long", notice(b"x=" + b"y" * (1 << 20)))
    greeted("flood-of-notices", lambda p: p.meta(p.header, 1) + notice(b"x=1", 2) * 40_000)
    greeted("a-batch-before-the-schema", lambda p: p.meta(p.header, 0), Publisher.greet)
    greeted("two-schemas", lambda p: p.meta(p.schema, 1))
    greeted("a-gap", lambda p: p.meta(p.header, 2))
    greeted("a-number-twice", lambda p: p.meta(p.header, 1) * 2)
    greeted("end-with-a-gap", frame(METADATA, 0, b"\0\7\0\0\0"))
    greeted("end-with-something-behind", frame(METADATA, 0, b"\0\1\0\0\0more"))
    greeted("flatbuffer-of-noise", frame(METADATA, 0, b"\1\1\0\0\0" + bytes(range(256)) * 4))
    greeted("flatbuffer-cut-short", lambda p: p.meta(p.header[: len(p.header) // 2], 1))
    greeted("schema-cut-short", lambda p: p.meta(p.schema[: len(p.schema) // 2], 0), Publisher.greet)
    # Bodies.
    greeted("unknown-body-type", frame(TAGGED, 9 << 56 | 1, b"x"))
    greeted("tag-with-reserved-bits", frame(TAGGED, 1 << 40 | 1, b"x"))
    greeted("body-beyond-the-window", frame(TAGGED, 1 << 56 | 1 << 30, u64(0, 0)))
    greeted("body-twice", lambda p: (p.lend(), frame(TAGGED, 1 << 56 | 1, u64(0, 0)) * 2)[1])
    greeted("count-that-lies", lambda p: p.meta(p.header, 1) + frame(TAGGED, 1 << 56 | 1, u64(0, 2**60)))
    greeted("count-of-one-more", lambda p: p.meta(p.header, 1) + frame(TAGGED, 1 << 56 | 1, u64(0, 2, 1 << 48, 8)))
    greeted("lengths-that-overflow", lambda p: p.batch_bytes(pairs=[(1 << 48, 2**63)] * 4))
    greeted("packed-body-too-short", lambda p: p.meta(p.header, 1) + frame(TAGGED, 1, b"1234567"))

    def placed(name, pairs):
        def act(p):
            p.start()
            p.lend()
            p.batch(pairs=pairs(p.body()))

        cases[name] = act

    placed("address-in-a-segment-never-lent", lambda b: [(a + (8 << 48) if n else 0, n) for a, n in b])
    placed("address-in-segment-zero", lambda b: [(a & (1 << 48) - 1, n) for a, n in b])
    placed("address-beyond-the-end", lambda b: [(a + PAGE if n else 0, n) for a, n in b])
    placed("end-of-the-address-space", lambda b: [(2**64 - 8 if n else 0, n) for a, n in b])
    placed("largest-offset", lambda b: [(1 << 48 | (1 << 48) - 1 if n else 0, n) for a, n in b])
    placed("pair-shorter-than-its-buffer", lambda b: [(a, n - 1 if n else 0) for a, n in b])
    placed("too-few-pairs", lambda b: [p for p in b if p[1]][:-1] + [(0, 0)] * 7)

    # Segments and descriptors.
    def segment(name, fds, length=PAGE, number=1, payload=None, more=None):
        def act(p):
            p.start()
            p.send(frame(SEGMENT, number, u64(length) if payload is None else payload), fds())
            if more:
                more(p)

        cases[name] = act

    file = lambda: [os.open(__file__, os.O_RDONLY)]
    segment("segment-without-a-descriptor", lambda: [])
    segment("segment-is-a-file", file)
    segment("segment-is-a-folder", lambda: [os.open("/", os.O_RDONLY | os.O_DIRECTORY)])
    segment("segment-is-a-pipe", lambda: [os.pipe()[0]])
    segment("segment-is-a-socket", lambda: [socket.socketpair()[0].detach()])
    segment("segment-is-a-device", lambda: [os.open("/dev/zero", os.O_RDWR)])
    segment("segment-is-not-sealed", lambda: [memfd(PAGE, seals=0)])
    segment("segment-may-shrink", lambda: [memfd(PAGE, seals=GROW | FUTURE_WRITE | SEAL)])
    segment("segment-may-be-written", lambda: [memfd(PAGE, seals=SHRINK | GROW | SEAL)])
    segment("segment-is-write-only", lambda: [os.open("/proc/self/fd/%d" % memfd(PAGE, seals=0), os.O_WRONLY)])
    segment("segment-is-smaller-than-said", lambda: [sealed(PAGE)], length=2 * PAGE)
    segment("segment-is-larger-than-said", lambda: [sealed(2 * PAGE)])
    segment("segment-of-nothing", lambda: [sealed(0)], length=0)
    segment("segment-of-half-a-page", lambda: [sealed(PAGE // 2)], length=PAGE // 2)
    segment("segment-of-holes", lambda: [memfd(1 << 40, allocate=False)], length=1 << 40)
    segment("segment-of-everything", lambda: [sealed(PAGE)], length=2**64 - 1)
    segment("segment-number-zero", lambda: [sealed(PAGE)], number=0)
    segment("segment-number-too-large", lambda: [sealed(PAGE)], number=1 << 16)
    segment("segment-with-a-torn-length", lambda: [sealed(PAGE)], payload=b"1234567")
    counts = lambda own, passed: u64(PAGE) + struct.pack("<II", own, passed)
    keeper = lambda: os.pipe()[0]
    segment("segment-with-half-of-its-keepers-counted", lambda: [sealed(PAGE), keeper()], payload=counts(1, 0)[:12])
    segment("segment-with-two-keepers-of-its-own", lambda: [sealed(PAGE), keeper(), keeper()], payload=counts(2, 0))
    segment("segment-with-more-keepers-than-any-has", lambda: [sealed(PAGE)] + [keeper() for _ in range(9)], payload=counts(0, 9))
    segment("segment-without-the-keepers-that-were-said", lambda: [sealed(PAGE), keeper()], payload=counts(1, 1))
    segment("segment-with-a-keeper-that-is-none", lambda: [sealed(PAGE), sealed(PAGE)], payload=counts(1, 0))
    segment("segment-with-a-keeper-that-is-a-socket", lambda: [sealed(PAGE), socket.socketpair()[0].detach()], payload=counts(0, 1))
    segment("segment-lent-twice", lambda: [sealed(PAGE)], more=lambda p: p.lend())
    segment("more-descriptors-than-any-frame-has", lambda: [sealed(PAGE) for _ in range(11)])
    greeted("retires-what-it-never-lent", frame(RETIRE, 3))
    greeted("acknowledges-what-was-not-lent", frame(SEGMENT_ACK, 3))
    greeted("was-not-asked-to-retire", frame(RETIRED, 3))

    @case("address-in-a-retired-segment")
    def _(p):
        p.start()
        p.lend()
        p.send(frame(RETIRE, 1))
        p.batch()

    # Floods.
    @case("flood-of-batches")
    def _(p):
        p.good()
        p.sock.settimeout(60)
        for serial in range(2, 140_000, 100):
            p.send(b"".join(p.batch_bytes(s) for s in range(serial, serial + 100)))

    @case("flood-of-segments")
    def _(p):
        p.start()
        for number in range(1, 2000):
            p.lend(number)

    @case("flood-of-questions")
    def _(p):
        p.start()
        fd = sealed(PAGE)
        p.sock.settimeout(60)
        for _ in range(200_000):
            p.send(frame(SEGMENT, 1, u64(PAGE)) + frame(RETIRE, 1), [fd])

    # Ends.
    @case("half-a-message")
    def _(p):
        p.good()
        p.send(p.batch_bytes(2)[:-5])
        p.sock.close()

    @case("reports-an-error")
    def _(p):
        p.good()
        p.send(frame(METADATA, 0, b"\xe0\2\0\0\0ERR_BOOM: it broke: badly"))

    @case("one-byte-at-a-time")
    def _(p):
        data = frame(GREETING, 0, p.uri.encode())
        for byte in data:
            p.send(bytes([byte]))
        p.frame()
        p.send(p.meta(p.schema, 0))
        p.lend()
        for byte in p.batch_bytes() + frame(METADATA, 0, b"\0\2\0\0\0"):
            p.send(bytes([byte]))

    @case("retires-a-segment-that-is-held")
    def _(p):
        p.good()
        # The credit says that the batch was taken: now its memory is held.
        while p.frame()[:2] != (TAGGED, p.ext):
            pass
        p.send(frame(RETIRE, 1))
        while p.frame()[0] != RETIRED:
            pass
        # The same number, other memory: what is held must not change.
        p.send(frame(SEGMENT, 1, u64(PAGE)), [sealed(PAGE, b"\x55" * PAGE)])
        say("retired")

    @case("side-by-side")
    def _(p):
        # Two segments, one buffer at the end of the one and one at the start of the other, both ways round.
        p.start()
        p.lend(1)
        p.lend(2)
        lengths = [n for _, n in p.body()]
        filled = [i for i, n in enumerate(lengths) if n]
        for serial, (low, high) in enumerate([(1, 2), (2, 1)], 1):
            pairs = [(0, 0)] * len(lengths)
            for i, place in zip(filled, [low << 48 | PAGE - -(-lengths[filled[0]] // 64) * 64, high << 48]):
                pairs[i] = (place, lengths[i])
            p.batch(serial, pairs)
        p.send(frame(METADATA, 0, b"\0\3\0\0\0"))

    # Real messages with a bit flipped, a byte cut off, a word replaced: any of them may still be valid.
    @case("any:mutations")
    def _(p):
        step = int(os.environ["STEP"])
        which, header = ("schema", p.schema) if step % 2 else ("header", p.header)
        at = 5 + step // 2 % (len(header) - 5)
        kind = step // 2 // (len(header) - 5) % 3
        changed = bytearray(header)
        if kind == 0:
            changed[at] ^= 1 << step % 8
        elif kind == 1:
            del changed[at:]
        else:
            changed[at : at + 4] = b"\xff\xff\xff\x7f"
        p.greet()
        p.send(p.meta(bytes(changed) if which == "schema" else p.schema, 0))
        p.lend()
        p.batch(header=bytes(changed) if which == "header" else None)
        p.send(frame(METADATA, 0, b"\0\2\0\0\0"))

    return cases


def listen(path):
    while True:
        try:
            return listen_once(path)
        except FileNotFoundError:
            pass  # it holds no lock, so another publisher that took its name just then swept the hidden one away


def listen_once(path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    hidden = os.path.join(os.path.dirname(path), ".hostile-%d" % os.getpid())
    listener.bind(hidden)
    listener.listen(64)
    os.rename(hidden, path)
    return listener


def publish(path, topic, name, capture):
    with open(capture) as file:
        captured = json.load(file)
    captured["uri"] = captured["uri"].replace(captured["topic"], topic)
    act = publisher_cases()[name]
    if name == "any:mutations":
        return mutate(path, captured, act)
    listener = listen(path)
    say("ready")
    peer = Publisher(listener, captured)
    try:
        act(peer)
        say(peer.fate() if peer.sock.fileno() >= 0 else "gone")
    except (BrokenPipeError, ConnectionResetError, EOFError):
        say("closed")
    os.unlink(path)


def mutate(path, captured, act):
    """A connection per mutation; the subscriber comes again and again."""
    count = int(os.environ["COUNT"])
    listener = listen(path)
    say("ready")
    for n in range(count):
        os.environ["STEP"] = str(n * 7919 % 99991)
        peer = Publisher(listener, captured)
        try:
            act(peer)
            peer.fate(0.3)
        except (BrokenPipeError, ConnectionResetError, EOFError):
            pass
        peer.sock.close()
    os.unlink(path)
    say("done")
