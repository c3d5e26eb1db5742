"""A raw peer on a publisher's socket, written from docs/wire.md alone, that breaks the rules one at a time.

    hostile.py capture SOCKET TOPIC            takes part honestly; prints what one batch looked like, as JSON
    hostile.py subscribe SOCKET TOPIC CASE     breaks one rule as a subscriber
    hostile.py publish SOCKET TOPIC CASE FILE  breaks one rule as a publisher that replays a capture

Says "ready" when it has a connection (or listens), then what became of the connection: "closed" when the other side
hung up, "open" when it did not. Python's standard library is all it needs.
"""

import array
import fcntl
import json
import mmap
import os
import socket
import struct
import sys
import time

GREETING, METADATA, TAGGED, SEGMENT, SEGMENT_ACK, RETIRE, RETIRED = range(1, 8)
PAGE = mmap.PAGESIZE
F_ADD_SEALS, SEAL, SHRINK, GROW, WRITE, FUTURE_WRITE = 1033, 1, 2, 4, 8, 16
PATIENCE = 10.0


def say(*words):
    print(*words, flush=True)


def frame(kind, tag=0, payload=b""):
    return struct.pack("<IBBHQ", len(payload), kind, 0, 0, tag) + payload


def u64(*numbers):
    return struct.pack("<%dQ" % len(numbers), *numbers)


class Peer:
    """A connection, with frames read as the other side cuts them and descriptors as they come."""

    def __init__(self, sock):
        self.sock, self.buffer, self.fds = sock, b"", []
        sock.settimeout(PATIENCE)

    def send(self, data, fds=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        if fds:
            sent = self.sock.sendmsg([data], ancillary)
            data = data[sent:]
        self.sock.sendall(data)

    def fill(self):
        data, ancillary, _, _ = self.sock.recvmsg(1 << 16, socket.CMSG_SPACE(64))
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
                self.fds.extend(fds)
        self.buffer += data
        return bool(data)

    def frame(self):
        while len(self.buffer) < 16 or len(self.buffer) < 16 + struct.unpack_from("<I", self.buffer)[0]:
            if not self.fill():
                raise EOFError
        length, kind, _, _, tag = struct.unpack_from("<IBBHQ", self.buffer)
        payload, self.buffer = self.buffer[16 : 16 + length], self.buffer[16 + length :]
        return kind, tag, payload

    def fate(self, patience=1.5):
        """What the other side does with us: reads and ignores everything until it hangs up or is silent."""
        self.sock.settimeout(patience)
        try:
            while self.fill():
                self.buffer = b""
            return "closed"
        except (ConnectionResetError, BrokenPipeError):
            return "closed"
        except (TimeoutError, socket.timeout):
            return "open"


def parameters(uri):
    from urllib.parse import parse_qsl, urlsplit

    return dict(parse_qsl(urlsplit(uri).query))


# ------------------------------------------------------------------------------------------------ as a subscriber


class Subscriber(Peer):
    def __init__(self, path, topic):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
        super().__init__(sock)
        self.topic = topic.encode()
        kind, _, uri = self.frame()
        assert kind == GREETING, kind
        self.uri = uri.decode()
        tags = parameters(self.uri)
        self.want, self.free, self.ext = (int(tags[t]) for t in ("want_data", "free_data", "want_data_ext"))
        self.segments = {}

    def ask(self):
        self.send(frame(TAGGED, self.ext, self.topic))

    def batch(self):
        """Honestly, up to the first batch: its metadata, its pairs and its bytes."""
        metadata = []
        while True:
            kind, tag, payload = self.frame()
            if kind == SEGMENT:
                fd = self.fds.pop(0)
                (length,) = struct.unpack("<Q", payload)
                self.segments[tag] = mmap.mmap(fd, length, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
                self.send(frame(SEGMENT_ACK, tag))
            elif kind == METADATA:
                metadata.append(payload)
            elif kind == TAGGED:
                total, count = struct.unpack_from("<QQ", payload)
                numbers = struct.unpack_from("<%dQ" % (2 * count), payload, 16)
                pairs = list(zip(numbers[::2], numbers[1::2]))
                at = lambda a, n: self.segments[a >> 48][a & (1 << 48) - 1 :][:n] if n else b""
                return {"metadata": metadata, "tag": tag, "total": total, "pairs": pairs, "bytes": [at(*p) for p in pairs]}


def capture(path, topic):
    peer = Subscriber(path, topic)
    peer.ask()
    say("ready")
    got = peer.batch()
    peer.send(frame(TAGGED, peer.free, u64(*[a for a, n in got["pairs"] if n])))
    got["metadata"] = [m.hex() for m in got["metadata"]]
    got["bytes"] = [b.hex() for b in got["bytes"]]
    got["uri"], got["topic"] = peer.uri, topic
    say(json.dumps(got))


def subscriber_cases():
    """name -> (whether it has to be served a batch first, what it does)"""
    cases = {}

    def case(name, served=False):
        def keep(function):
            cases[name] = (served, function)
            return function

        return keep

    def raw(name, data, served=False):
        cases[name] = (served, lambda p: p.send(data(p) if callable(data) else data))

    raw("unknown-kind", struct.pack("<IBBHQ", 0, 9, 0, 0, 0))
    raw("kind-zero", bytes(16))
    raw("reserved-bits", struct.pack("<IBBHQ", 0, TAGGED, 1, 0, 0))
    raw("length-of-everything", struct.pack("<IBBHQ", 0xFFFFFFFF, TAGGED, 0, 0, 0))
    raw("length-over-the-limit", struct.pack("<IBBHQ", (8 << 20) + 1, TAGGED, 0, 0, 0))
    raw("greets", frame(GREETING, 0, b"shm:///x?want_data=1"))
    raw("sends-metadata", lambda p: frame(TAGGED, p.ext, p.topic) + frame(METADATA, 0, b"\1\0\0\0\0x"))
    raw("sends-a-body", lambda p: frame(TAGGED, p.ext, p.topic) + frame(TAGGED, 1 << 56 | 1, u64(0, 0)))
    raw("another-topic", lambda p: frame(TAGGED, p.ext, b"another"))
    raw("a-long-ticket", lambda p: frame(TAGGED, p.ext, p.topic * 1000))
    raw("no-ticket", lambda p: frame(TAGGED, p.ext))
    raw("frees-before-it-asks", lambda p: frame(TAGGED, p.free, u64(1 << 48)))
    raw("unknown-tag", lambda p: frame(TAGGED, 12345, p.topic))
    raw("unknown-tag-later", lambda p: frame(TAGGED, p.ext, p.topic) + frame(TAGGED, 12345, b"x"))
    raw("frees-nothing", lambda p: frame(TAGGED, p.free), served=True)
    raw("frees-half-an-address", lambda p: frame(TAGGED, p.free, u64(1 << 48)[:5]), served=True)
    raw("frees-what-was-never-sent", lambda p: frame(TAGGED, p.free, u64(1 << 48 | 0x123456789)), served=True)
    raw("frees-null", lambda p: frame(TAGGED, p.free, u64(0)), served=True)
    raw("credit-beyond-what-was-sent", lambda p: frame(TAGGED, p.ext, u64(2**63)), served=True)
    raw("credit-of-nine-bytes", lambda p: frame(TAGGED, p.ext, b"123456789"), served=True)
    raw("acknowledges-what-was-not-lent", frame(SEGMENT_ACK, 7), served=True)
    raw("acknowledges-twice", frame(SEGMENT_ACK, 1), served=True)
    raw("acknowledges-a-number-too-large", frame(SEGMENT_ACK, 1 << 16), served=True)
    raw("retires-what-it-did-not-lend", frame(RETIRE, 1))
    raw("was-not-asked-to-retire", frame(RETIRED, 1), served=True)

    @case("frees-twice", served=True)
    def _(p):
        addresses = u64(*[a for a, n in p.got["pairs"] if n])
        p.send(frame(TAGGED, p.free, addresses) + frame(TAGGED, p.free, addresses))

    @case("credit-that-runs-backwards", served=True)
    def _(p):
        p.send(frame(TAGGED, p.ext, u64(p.got["total"])) + frame(TAGGED, p.ext, u64(p.got["total"] - 1)))

    @case("lends-memory")
    def _(p):
        p.send(frame(SEGMENT, 1, u64(PAGE)), [sealed(PAGE)])

    @case("sends-more-descriptors-than-any-frame-has")
    def _(p):
        p.send(frame(TAGGED, p.ext, p.topic), [0, 0, 0, 0, 0, 0])

    @case("hoards-descriptors")
    def _(p):
        p.ask()
        for _ in range(6):
            p.send(frame(TAGGED, p.ext, u64(0)), [0])

    # What follows is no error: slowness, noise and silence are allowed.
    @case("open:one-byte-at-a-time")
    def _(p):
        for byte in frame(TAGGED, p.ext, p.topic):
            p.send(bytes([byte]))
            time.sleep(0.001)
        p.got = p.batch()

    @case("open:half-a-message")
    def _(p):
        p.send(frame(TAGGED, p.ext, p.topic)[:-3])

    @case("open:silence")
    def _(p):
        pass

    @case("open:flood-of-credits", served=True)
    def _(p):
        one = frame(TAGGED, p.ext, u64(0)) * 1000
        for _ in range(200):
            p.send(one)

    return cases


def subscribe(path, topic, name):
    served, act = subscriber_cases()[name]
    peer = Subscriber(path, topic)
    if served:
        peer.ask()
        say("ready")
        peer.got = peer.batch()
    else:
        say("ready")
    try:
        act(peer)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it was faster
    say(peer.fate())


def crowd(path, count):
    """Many connections that say nothing."""
    peers = []
    for _ in range(count):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)  # waits while the queue of connections is full
        peers.append(sock)
    say("ready")
    sys.stdin.read()


# ------------------------------------------------------------------------------------------------- as a publisher


def memfd(length, seals=SHRINK | GROW | FUTURE_WRITE | SEAL, allocate=True, fill=b""):
    fd = os.memfd_create("hostile", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, length)
    if allocate and length:
        os.posix_fallocate(fd, 0, length)
    if fill:
        os.pwrite(fd, fill, 0)
    if seals:
        fcntl.fcntl(fd, F_ADD_SEALS, seals)
    return fd


def sealed(length, fill=b""):
    return memfd(length, fill=fill)


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
    segment("segment-lent-twice", lambda: [sealed(PAGE)], more=lambda p: p.lend())
    segment("more-descriptors-than-any-frame-has", lambda: [sealed(PAGE) for _ in range(7)])
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


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    {
        "capture": capture,
        "subscribe": subscribe,
        "publish": publish,
        "crowd": lambda path, count: crowd(path, int(count)),
        "cases": lambda role: say(json.dumps(sorted(subscriber_cases() if role == "subscribe" else publisher_cases()))),
    }[mode](*rest)
