"""What both hostile peers speak, written from docs/wire.md alone: frames, a connection, memory that can be lent."""

import array
import fcntl
import mmap
import os
import socket
import struct

GREETING, METADATA, TAGGED, SEGMENT, SEGMENT_ACK, RETIRE, RETIRED, RETURNS = range(1, 9)
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
