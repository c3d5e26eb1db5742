"""A subscriber that breaks one rule at a time, and an honest one that captures a batch."""

import json
import mmap
import socket
import struct
import sys
import time

from hostile_wire import (FUTURE_WRITE, GREETING, GROW, METADATA, PAGE, RETIRE, RETIRED, RETURNS, SEAL, SEGMENT, SEGMENT_ACK,
                          SHRINK, TAGGED, Peer, frame, memfd, parameters, say, sealed, u64)

NOTED, FIRST = 64, 128  # where a page for returns has its count, and its addresses


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
    asks = lambda name, fields: raw("asks-for-" + name, lambda p: frame(TAGGED, p.ext, p.topic + b"\0" + fields))
    asks("an-unknown-policy", b"overflow=explode")
    asks("no-queue-at-all", b"queue_batches=0")
    asks("a-queue-below-zero", b"queue_batches=-1")
    asks("a-queue-of-too-many-digits", b"queue_bytes=99999999999999999999")
    asks("a-queue-that-is-no-number", b"queue_bytes=1e9")
    asks("the-last-but-one", b"last=2")
    asks("a-name-without-a-value", b"last")
    asks("the-same-twice", b"last=0\0last=0")
    asks("what-is-not-text", b"\xff\xfe=1")
    asks("what-is-not-permitted", b"last=1")
    asks("far-too-much", b"x=" + b"y" * (1 << 20))
    asks("a-thousand-things", b"\0".join(b"x%d=" % n for n in range(1000)))
    raw("asks-with-the-plain-tag", lambda p: frame(TAGGED, p.want, p.topic + b"\0last=0"))
    raw("asks-an-unknown-question", lambda p: frame(TAGGED, p.ext, b"\0secrets"))
    raw("asks-for-figures-with-the-plain-tag", lambda p: frame(TAGGED, p.want, b"\0statistics"))
    raw("asks-for-figures-and-then-for-more", lambda p: frame(TAGGED, p.ext, b"\0statistics") * 2)
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

    def hand_page(p, **how):
        fd = memfd(how.pop("length", 4096), **{"seals": SHRINK | GROW, **how})
        p.send(frame(RETURNS), [fd])
        return fd

    def look(p):
        p.send(frame(TAGGED, p.ext, u64(p.got["total"])))

    def note(p, count, *addresses):
        fd = hand_page(p)
        page = mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        for n, address in enumerate(addresses):
            struct.pack_into("<Q", page, FIRST + 8 * n, address)
        struct.pack_into("<Q", page, NOTED, count)
        look(p)
        return page

    raw("page-without-a-descriptor", frame(RETURNS), served=True)
    cases["page-that-could-shrink"] = (True, lambda p: hand_page(p, seals=GROW))
    cases["page-without-seals"] = (True, lambda p: hand_page(p, seals=0))
    cases["page-that-nobody-may-write"] = (True, lambda p: hand_page(p, seals=SHRINK | GROW | FUTURE_WRITE | SEAL))
    cases["page-of-two-pages"] = (True, lambda p: hand_page(p, length=8192))
    cases["page-of-no-bytes"] = (True, lambda p: hand_page(p, length=0))
    cases["page-with-a-hole"] = (True, lambda p: hand_page(p, allocate=False))
    cases["page-that-is-a-socket"] = (True, lambda p: p.send(frame(RETURNS), [p.sock.fileno()]))
    cases["two-pages-for-returns"] = (True, lambda p: (hand_page(p), hand_page(p)))
    cases["notes-more-than-there-is-room"] = (True, lambda p: note(p, 497))
    cases["notes-everything"] = (True, lambda p: note(p, 2**64 - 1))
    cases["notes-what-was-never-sent"] = (True, lambda p: note(p, 1, 1 << 48 | 0x123456789))
    cases["notes-null"] = (True, lambda p: note(p, 1, 0))

    @case("notes-twice", served=True)
    def _(p):
        addresses = [a for a, n in p.got["pairs"] if n]
        note(p, 2 * len(addresses), *addresses, *addresses)

    @case("notes-and-sends", served=True)
    def _(p):
        addresses = [a for a, n in p.got["pairs"] if n]
        note(p, len(addresses), *addresses)
        p.send(frame(TAGGED, p.free, u64(*addresses)))

    @case("notes-and-takes-it-back", served=True)
    def _(p):
        addresses = [a for a, n in p.got["pairs"] if n]
        page = note(p, len(addresses), *addresses)
        time.sleep(0.2)
        struct.pack_into("<Q", page, NOTED, 0)
        look(p)

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

    @case("open:asks-for-everything-and-what-does-not-exist")
    def _(p):
        fields = [b"queue_batches=18446744073709551615", b"queue_bytes=18446744073709551615", b"overflow=drop-newest", b"colour=red"]
        p.send(frame(TAGGED, p.ext, p.topic + b"".join(b"\0" + f for f in fields)))
        kind, _, notice = p.frame()
        assert kind == METADATA and notice[0] == 0xE2, (kind, notice)
        told = dict(field.split(b"=") for field in notice[5:].split(b"\0"))
        assert told[b"queue_batches"] == b"64" and told[b"overflow"] == b"drop-newest", told
        p.got = p.batch()

    @case("open:flood-of-credits", served=True)
    def _(p):
        one = frame(TAGGED, p.ext, u64(0)) * 1000
        for _ in range(200):
            p.send(one)

    @case("open:a-page-with-nothing-in-it", served=True)
    def _(p):
        p.page = note(p, 0)

    @case("open:notes-honestly", served=True)
    def _(p):
        addresses = [a for a, n in p.got["pairs"] if n]
        p.page = note(p, len(addresses), *addresses)

    @case("open:writes-all-over-what-is-not-its-own", served=True)
    def _(p):
        p.page = note(p, 0)
        p.page[:64] = b"\xff" * 64

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
