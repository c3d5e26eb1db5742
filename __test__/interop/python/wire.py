"""Dissociated IPC from the specification: pyarrow makes and reads the IPC messages, this takes them apart and puts them together."""

import io
import struct
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa

END, MESSAGE, ERROR, HEARTBEAT, NOTICE = 0, 1, 0xE0, 0xE1, 0xE2
SEQUENCE = 0x0000_0000_FFFF_FFFF
BODY_TYPE = 56
SCHEMA, DICTIONARY, BATCH = 1, 2, 3


class Uri:
    """`scheme://host:port?want_data=…`."""

    def __init__(self, text):
        parts = urlsplit(text)
        self.scheme, self.host, self.port = parts.scheme, parts.hostname, parts.port
        self.query = dict(parse_qsl(parts.query))

    def tag(self, name):
        return int(self.query[name])


def field(flatbuffer, index, kind):
    """A scalar of a flatbuffer's root table; 0 where it is left out."""
    root = struct.unpack_from("<I", flatbuffer, 0)[0]
    table = root - struct.unpack_from("<i", flatbuffer, root)[0]
    size = struct.unpack_from("<H", flatbuffer, table)[0]
    at = struct.unpack_from("<H", flatbuffer, table + 4 + 2 * index)[0] if 4 + 2 * index < size else 0
    return struct.unpack_from(kind, flatbuffer, root + at)[0] if at else 0


def header_type(flatbuffer):
    return field(flatbuffer, 1, "<B")


def body_length(flatbuffer):
    return field(flatbuffer, 3, "<q")


def messages(schema, batches, options=None):
    """The messages of an IPC stream: bare flatbuffers and bodies (None where there cannot be one)."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    out = []
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(sink.getvalue()))
    for message in reader:
        out.append((message.metadata.to_pybytes(), None if message.type == "schema" else message.body))
    return out


def metadata(sequence, flatbuffer=None, kind=MESSAGE):
    return struct.pack("<BI", kind, sequence) + (flatbuffer or b"")


class Assembler:
    """Puts messages together again, in order of their numbers."""

    def __init__(self):
        self.stream = io.BytesIO()
        self.next = 0
        self.headers = {}
        self.bodies = {}

    def header(self, sequence, flatbuffer):
        assert sequence not in self.headers and sequence >= self.next, f"metadata {sequence} twice"
        self.headers[sequence] = flatbuffer
        self.join()

    def body(self, sequence, body):
        assert sequence not in self.bodies and sequence >= self.next, f"body {sequence} twice"
        self.bodies[sequence] = body
        self.join()

    def join(self):
        while self.next in self.headers:
            flatbuffer = self.headers[self.next]
            length = body_length(flatbuffer)
            if length and self.next not in self.bodies:
                return
            body = self.bodies.pop(self.next, b"")
            assert len(body) == length, f"body {self.next} has {len(body)} bytes, its header says {length}"
            del self.headers[self.next]
            padding = -len(flatbuffer) % 8
            self.stream.write(struct.pack("<Ii", 0xFFFFFFFF, len(flatbuffer) + padding) + flatbuffer + bytes(padding))
            self.stream.write(body)
            self.next += 1

    def batches(self):
        reader = pa.ipc.open_stream(pa.py_buffer(self.stream.getvalue() + struct.pack("<Ii", 0xFFFFFFFF, 0)))
        batches = list(reader)
        for batch in batches:
            batch.validate(full=True)
        return reader.schema, batches
