"""A publisher and a subscriber that send bodies inside messages against the rules, written from docs/wire.md."""

import os
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "process"))
from hostile_wire import GREETING, TAGGED, Peer, frame, parameters, say, u64  # noqa: E402

BODY = 9
URI = "unix:///nowhere?want_data=1&free_data=2&want_data_ext=3&topic=t"
MIB = 1 << 20


def announce(length, serial=1):
    return frame(BODY, serial, u64(length))


CASES = {
    "half-of-it": lambda: announce(8 * MIB) + bytes(3 * MIB),
    "nothing-of-1-TiB": lambda: announce(1 << 40),
    "more-than-any-body-has": lambda: announce((1 << 40) + 1),
    "length-of-four-bytes": lambda: frame(BODY, 1, b"\0\0\0\1"),
    "length-of-nine-bytes": lambda: frame(BODY, 1, u64(8) + b"\0"),
    "more-than-it-announced": lambda: announce(10_000) + b"\xff" * 20_000,
    "body-twice": lambda: 2 * (announce(10_000) + bytes(10_000)),
    "beyond-the-window": lambda: announce(10_000, 1 << 20) + bytes(10_000),
    "no-body-at-all": lambda: announce(0, 1) + announce(0, 1),
}


def publish(path, case):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        say("ready")
        sock, _ = listener.accept()
    peer = Peer(sock)
    peer.send(frame(GREETING, 0, URI.encode()))
    kind, tag, _ = peer.frame()
    assert (kind, tag) == (TAGGED, 3), (kind, tag)
    try:
        peer.send(CASES[case]())
    except (BrokenPipeError, ConnectionResetError):
        pass
    say("sent")
    time.sleep(60)


def subscribe(path, case):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    peer = Peer(sock)
    kind, _, payload = peer.frame()
    assert kind == GREETING
    uri = payload.decode()
    tags = parameters(uri)
    if case == "sends-a-body":
        peer.send(frame(TAGGED, int(tags["want_data_ext"]), tags["topic"].encode()) + announce(100) + bytes(100))
        say(peer.fate(10))
    elif case == "reads-one-byte-at-a-time":
        # Frames as they are cut: the stream is the same however little is read at a time.
        peer.send(frame(TAGGED, int(tags["want_data"]), tags["topic"].encode()))
        say("asked")
        total = 0
        while total == 0:
            kind, tag, payload = peer.frame()
            if kind == BODY:
                total = struct.unpack("<Q", payload)[0]
        body = bytearray(peer.buffer)
        while len(body) < total:
            body += sock.recv(min(total - len(body), 1 + len(body) % 5000))
        say(total, sum(body[:80]), sum(body[80:]))
    sock.close()


if __name__ == "__main__":
    if sys.argv[1] == "cases":
        say(*CASES)
    else:
        {"publish": publish, "subscribe": subscribe}[sys.argv[1]](*sys.argv[2:])
