"""Dissociated IPC servers, as somebody else would write them, with the quirks of Arrow's C++ example; and some that lie."""

import struct

import samples
from links import listen
from wire import BATCH, END, ERROR, body_length, header_type, messages, metadata

# Numbers that need all of their 64 bits, and one that is small.
COMBINED, EXTENDED, CONTROL, DATA = 2**64 - 3, 2**63 + 1, 2**33, 7


def uris(scheme, port, split, extended=False):
    base = f"{scheme}://127.0.0.1:{port}"
    if split:
        return [f"{base}?want_data={CONTROL}", f"{base}?want_data={DATA}"]
    return [f"{base}?want_data={COMBINED}" + (f"&want_data_ext={EXTENDED}" if extended else "")]


def parts_of(name):
    """Message after message: flatbuffer and body (`None` of the schema)."""
    schema, batches, options = samples.dataset(name)
    return messages(schema, batches, options)


class Server:
    """Serves one transfer at a time."""

    def __init__(self, scheme, split=False, extended=False):
        self.scheme, self.split = scheme, split
        self.listener = listen(scheme)
        self.uris = uris(scheme, self.listener.port, split, extended)

    def accept(self):
        """The connections of one client, metadata's first; and its ticket."""
        asked = self.listener.asked(2 if self.split else 1)
        tags = [tag for _, tag, _ in asked]
        assert sorted(tags) == [DATA, CONTROL] if self.split else tags[0] in (COMBINED, EXTENDED), f"asked with the tags {tags}"
        tickets = {ticket.to_pybytes().decode() for _, _, ticket in asked}
        assert len(tickets) == 1, tickets
        control, data = (asked[-1][0], asked[0][0]) if tags[0] == DATA else (asked[0][0], asked[-1][0])
        return control, data, tickets.pop()

    def serve(self, order):
        control, data, ticket = self.accept()
        try:
            ORDERS[order](control, data, parts_of(ticket))
            # The example leaves it to the client to close.
            control.ended()
        except (EOFError, ConnectionError):
            pass  # The client is gone.
        except KeyError:
            pass  # All that a plain server can say of a ticket that it does not know: it closes.
        finally:
            control.close()
            if data is not control:
                data.close()


def send_body(data, sequence, body):
    if body is not None:
        data.send_tagged(sequence, body)


def finish(*links):
    """Hands over what was sent last, unless the client has it all and is gone already."""
    try:
        for link in links:
            link.flush()
    except EOFError:
        pass


def interleaved(control, data, parts):
    for sequence, (header, body) in enumerate(parts):
        control.send_untagged(metadata(sequence, header))
        send_body(data, sequence, body)
    data.flush()
    control.send_untagged(metadata(len(parts), kind=END))
    finish(control)


def metadata_first(control, data, parts):
    """The end as well, before any body."""
    for sequence, (header, _) in enumerate(parts):
        control.send_untagged(metadata(sequence, header))
    control.send_untagged(metadata(len(parts), kind=END))
    control.flush()
    for sequence, (_, body) in enumerate(parts):
        send_body(data, sequence, body)
    finish(data)


def bodies_first(control, data, parts):
    """Backwards, and before any metadata."""
    for sequence, (_, body) in reversed(list(enumerate(parts))):
        send_body(data, sequence, body)
    # No flush: over UCX it would wait for a client that has nothing to match them with.
    for sequence, (header, _) in enumerate(parts):
        control.send_untagged(metadata(sequence, header))
    control.send_untagged(metadata(len(parts), kind=END))
    finish(data, control)


def without_empty_bodies(control, data, parts):
    """As the specification has it: no message where there are no bytes."""
    interleaved(control, data, [(header, body if body is not None and body.size else None) for header, body in parts])


def end_is_zero(control, data, parts):
    """An end of stream without a number to speak of."""
    for sequence, (header, body) in enumerate(parts):
        control.send_untagged(metadata(sequence, header))
        send_body(data, sequence, body)
    data.flush()
    control.send_untagged(metadata(0, kind=END))
    finish(control)


def padded(control, data, parts):
    """Metadata with zeros behind it."""
    interleaved(control, data, [(header + bytes(24), body) for header, body in parts])


def failing(control, data, parts):
    """The extension's error, after the first batch."""
    sequence = 0
    for sequence, (header, body) in enumerate(parts):
        control.send_untagged(metadata(sequence, header))
        send_body(data, sequence, body)
        if header_type(header) == BATCH:
            break
    control.send_untagged(metadata(sequence + 1, b"ERR_DISK: the disk is gone", ERROR))
    finish(control)


def leaving(control, data, parts):
    """Gone after the first batch, without a word."""
    interleaved_until(control, data, parts, 2)
    data.flush()
    control.close()


def interleaved_until(control, data, parts, count):
    for sequence, (header, body) in enumerate(parts[:count]):
        control.send_untagged(metadata(sequence, header))
        send_body(data, sequence, body)


def lying(what):
    """Serves the schema and a first batch as they are, and then lies."""

    def serve(control, data, parts):
        interleaved_until(control, data, parts, 2)
        header, body = parts[2]
        raw = body.to_pybytes()
        what(control, data, header, raw)
        control.send_untagged(metadata(3, kind=END))
        finish(data, control)
        if what in (skipped, nowhere):
            # Over UCX what is missing might still come, as long as there is a connection.
            control.close()

    return serve


def short(control, data, header, body):
    control.send_untagged(metadata(2, header))
    data.send_tagged(2, body[:-8])


def short_by_all(control, data, header, body):
    control.send_untagged(metadata(2, header))
    data.send_tagged(2, b"")


def nowhere(control, data, header, body):
    data.send_tagged(9, body)
    control.send_untagged(metadata(2, header))
    data.send_tagged(2, body)


def beyond(control, data, header, body):
    data.send_tagged(2**31 - 1, body)


def twice(control, data, header, body):
    control.send_untagged(metadata(2, header))
    data.send_tagged(2, body)
    data.send_tagged(2, body)


def again(control, data, header, body):
    control.send_untagged(metadata(2, header))
    data.send_tagged(1, body)


def skipped(control, data, header, body):
    control.send_untagged(metadata(4, header))
    data.send_tagged(4, body)


def strange_tag(control, data, header, body):
    data.send_tagged(0x7F00_0000_0000_0002, body)


def reserved_bits(control, data, header, body):
    data.send_tagged(1 << 40 | 2, body)


def lent(control, data, header, body):
    """Addresses, where nothing is lent: of this process, to be read by another."""
    control.send_untagged(metadata(2, header))
    data.send_tagged(1 << 56 | 2, struct.pack("<QQQQ", len(body), 1, 0x1000, len(body)))


def strange_type(control, data, header, body):
    control.send_untagged(metadata(2, header, kind=77))


def no_flatbuffer(control, data, header, body):
    control.send_untagged(metadata(2, b"\xff" * len(header)))


def cut(control, data, header, body):
    control.send_untagged(metadata(2, header[: len(header) // 2]))
    data.send_tagged(2, body)


def second_schema(control, data, header, body):
    control.send_untagged(metadata(2, parts_of("numbers")[0][0]))


def other_schema(control, data, header, body):
    control.send_untagged(metadata(2, parts_of("many")[1][0].replace(b"", b"")))
    data.send_tagged(2, parts_of("every")[1][1].to_pybytes())


def body_length_changed(header, length):
    root = struct.unpack_from("<I", header, 0)[0]
    table = root - struct.unpack_from("<i", header, root)[0]
    at = root + struct.unpack_from("<H", header, table + 10)[0]
    return header[:at] + struct.pack("<q", length) + header[at + 8 :]


def longer_than_said(control, data, header, body):
    """The metadata says less than its buffers need."""
    control.send_untagged(metadata(2, body_length_changed(header, 8)))
    data.send_tagged(2, body[:8])


def negative(control, data, header, body):
    control.send_untagged(metadata(2, body_length_changed(header, -8)))
    data.send_tagged(2, body)


def enormous(control, data, header, body):
    """Says a terabyte, and sends a little."""
    control.send_untagged(metadata(2, body_length_changed(header, 1 << 40)))
    data.send_tagged(2, body)


def wrong_offsets(control, data, header, body):
    """Text whose offsets lead out of it: the body is of the right length."""
    control.send_untagged(metadata(2, header))
    data.send_tagged(2, b"\xff" * len(body))


def unknown_dictionary(control, data, header, body):
    flatbuffer, values = parts_of("replaced")[1]
    control.send_untagged(metadata(2, flatbuffer))
    data.send_tagged(2, values)


def garbage(control, data, header, body):
    control.send(bytes(range(256)) * 16)


def announced(control, data, header, body):
    """A tagged message of nearly a terabyte, a little of which comes."""
    control.send_untagged(metadata(2, header))
    control.send(struct.pack("<IIQQ", 0xFFFFFFFE, 0, 2, (1 << 40) - 8), body)
    control.connection.shutdown(1)


def too_long(control, data, header, body):
    control.send(struct.pack("<IIQQ", 0xFFFFFFFE, 0, 2, 1 << 62), body)


def negative_length(control, data, header, body):
    control.send(struct.pack("<Ii", 0xFFFFFFFF, -5))


LIES = [short, short_by_all, nowhere, beyond, twice, again, skipped, strange_tag, reserved_bits, lent, strange_type, no_flatbuffer, cut, second_schema,
        other_schema, longer_than_said, negative, enormous, wrong_offsets, unknown_dictionary]
TCP_LIES = [garbage, announced, too_long, negative_length]
HONEST = [interleaved, metadata_first, bodies_first, without_empty_bodies, end_is_zero, padded, failing, leaving]
ORDERS = {f.__name__: f for f in HONEST} | {f.__name__: lying(f) for f in LIES + TCP_LIES}
