"""`tcp:` as docs/wire.md describes it: one connection, tagged and untagged messages."""

import collections
import socket
import struct

import pyarrow as pa

UNTAGGED, TAGGED = 0xFFFFFFFF, 0xFFFFFFFE
DEADLINE = 20


class Link:
    """One connection. `untagged` and `tagged` wait for a message; both raise EOFError when the other side has ended."""

    def __init__(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(DEADLINE)
        self.connection = connection
        self.metadata = collections.deque()
        self.bodies = []
        self.closed = False

    @staticmethod
    def connect(host, port):
        return Link(socket.create_connection((host, port), DEADLINE))

    def send(self, *parts):
        for part in parts:
            self.connection.sendall(part)

    def send_untagged(self, message):
        self.send(struct.pack("<Ii", UNTAGGED, len(message)) + message + bytes(-len(message) % 8))

    def send_tagged(self, tag, message):
        self.send(struct.pack("<IIQQ", TAGGED, 0, tag, len(message)), message, bytes(-len(message) % 8))

    send_awaited = send_tagged

    def flush(self):
        pass

    def exactly(self, count):
        buffer = bytearray(count)
        view = memoryview(buffer)
        while view:
            got = self.connection.recv_into(view)
            if got == 0:
                raise EOFError
            view = view[got:]
        return buffer

    def read(self):
        marker, second = struct.unpack("<II", self.exactly(8))
        if marker == UNTAGGED:
            message = self.exactly(second)
            assert not any(self.exactly(-second % 8)), "padding is not zero"
            self.metadata.append(bytes(message))
            return
        assert (marker, second) == (TAGGED, 0), f"a message begins with {marker:#x}, {second:#x}"
        tag, length = struct.unpack("<QQ", self.exactly(16))
        message = self.exactly(length)
        assert not any(self.exactly(-length % 8)), "padding is not zero"
        self.bodies.append((tag, pa.py_buffer(message)))

    def untagged(self):
        while not self.metadata:
            self.read()
        return self.metadata.popleft()

    def tagged(self, tag=0, mask=0):
        while True:
            for at, (one, _) in enumerate(self.bodies):
                if (one ^ tag) & mask == 0:
                    return self.bodies.pop(at)
            self.read()

    def ended(self):
        """Waits until the other side ends, after what it still sends."""
        try:
            while not self.closed:
                self.read()
        except (EOFError, ConnectionResetError):
            pass

    def close(self):
        self.closed = True
        self.connection.close()


class Listener:
    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(DEADLINE)
        self.port = self.socket.getsockname()[1]

    def accept(self):
        return Link(self.socket.accept()[0])

    def asked(self, count):
        """So many connections, each with what it says first."""
        links = [self.accept() for _ in range(count)]
        return [(link, *link.tagged()) for link in links]

    def close(self):
        self.socket.close()
