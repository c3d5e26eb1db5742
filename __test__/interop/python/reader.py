"""Clients of a Dissociated IPC server, as somebody else would write them."""

import struct

from links import connect
from wire import BATCH, DICTIONARY, END, ERROR, HEARTBEAT, MESSAGE, NOTICE, SCHEMA, SEQUENCE, Assembler, Uri, body_length, header_type


class Refused(Exception):
    """The error that the extension sends."""


class Reader:
    """Reads one ticket's stream over one connection, or one for metadata and one for bodies."""

    def __init__(self, metadata, data, ticket, extended=False):
        self.uris = [Uri(metadata)] if data is None else [Uri(metadata), Uri(data)]
        self.links = [connect(uri) for uri in self.uris]
        self.extended = extended
        self.assembler = Assembler()
        self.expected = 0
        self.consumed = 0
        self.counts = {"schemas": 0, "dictionaries": 0, "batches": 0, "empty": 0, "heartbeats": 0, "notices": 0}
        want = "want_data_ext" if extended else "want_data"
        for uri, link in zip(self.uris, self.links):
            # The example waits for each to be taken before it does anything else.
            link.send_awaited(uri.tag(want), ticket)

    @property
    def control(self):
        return self.links[0]

    @property
    def data(self):
        return self.links[-1]

    def message(self):
        """The next message of the metadata stream; its type."""
        raw = self.control.untagged()
        kind, sequence = struct.unpack_from("<BI", raw)
        if kind == HEARTBEAT:
            assert self.extended and len(raw) == 5
            self.counts["heartbeats"] += 1
            return kind
        if kind == NOTICE:
            raise AssertionError("a notice that nobody asked for")
        assert sequence == self.expected, f"number {sequence} comes, {self.expected} is next"
        if kind == ERROR:
            assert self.extended, "an error that a plain client does not know"
            raise Refused(raw[5:].decode())
        if kind == END:
            assert len(raw) == 5, f"an end of {len(raw)} bytes"
            return kind
        assert kind == MESSAGE, kind
        self.expected = (self.expected + 1) & SEQUENCE
        flatbuffer = raw[5:]
        header = header_type(flatbuffer)
        assert (header == SCHEMA) == (sequence == 0), f"message {sequence} is of type {header}"
        self.counts[{SCHEMA: "schemas", DICTIONARY: "dictionaries", BATCH: "batches"}[header]] += 1
        self.last = (sequence, header, body_length(flatbuffer))
        self.assembler.header(sequence, flatbuffer)
        return kind

    def body(self):
        """The body of the last message."""
        sequence, header, length = self.last
        if header == SCHEMA:
            return
        if length == 0 and self.extended:
            self.consumed += 1
            return
        # Matched as the example does, on the number alone; a plain client waits for one without bytes too.
        tag, body = self.data.tagged(sequence, SEQUENCE)
        assert tag == sequence, f"the tag of body {sequence} is {tag:#x}"
        assert body.size == length, f"body {sequence} has {body.size} bytes, its header says {length}"
        self.counts["empty"] += length == 0
        self.consumed += body.size
        if length:
            self.assembler.body(sequence, body)

    def credit(self):
        self.control.send_tagged(self.uris[0].tag("want_data_ext"), struct.pack("<Q", self.consumed))

    def cancel(self):
        self.control.send_tagged(self.uris[0].tag("want_data_ext"), b"")

    def close(self):
        for link in self.links:
            link.close()


def plainly(reader):
    """Body by body."""
    while reader.message() != END:
        reader.body()


def metadata_first(reader):
    """As the example: metadata is read as it comes, bodies are awaited by what it said, and the end ends the rest at once."""
    waiting = []
    while reader.message() != END:
        if reader.last[1] != SCHEMA:
            waiting.append(reader.last)
    # Nothing more is read of metadata; each message that can have a body is waited for, those without bytes too.
    for last in reversed(waiting):
        reader.last = last
        reader.body()


def with_credits(reader):
    """The extension: a credit for each body."""
    while (kind := reader.message()) != END:
        if kind == MESSAGE:
            reader.body()
            reader.credit()


def miserly(reader):
    """Gives no credit until nothing but heartbeats comes: what came by then is all that may be under way."""
    came, silence = 0, 0
    while silence < 2:
        if reader.message() == HEARTBEAT:
            silence += 1
            continue
        reader.body()
        came, silence = reader.counts["batches"], 0
    reader.counts["without credit"] = came
    reader.credit()
    with_credits(reader)


def cancelling(reader):
    """Has enough after three batches."""
    while reader.counts["batches"] < 3:
        if reader.message() == MESSAGE:
            reader.body()
    reader.cancel()
    while reader.message() != END:
        pass
    reader.counts["cancelled"] = 1


MANNERS = {f.__name__: f for f in (plainly, metadata_first, with_credits, miserly, cancelling)}
