"""arrowlane in Python: Arrow record batches through shared memory, read where they were written.

One file on pyarrow and the standard library, for Linux and Python >= 3.9; copy it beside your program.

    import arrowlane

    for batch in arrowlane.subscribe("camera/frames"):     # pyarrow.RecordBatch, over the publisher's own bytes
        print(batch.num_rows, batch.column("temperature")[0])

    with arrowlane.publish("camera/frames") as p:
        p.send(batch)                                      # one copy into shared memory
        writer = p.allocate(schema, 1_000_000)             # or none: written where it will be read
        writer["temperature"][0] = 20.5
        p.send(writer)

Lifetimes are Python's own: a batch's memory goes back to its publisher when the last buffer, array or view over it is
gone, on whatever thread. It can be read until then, also after `close()` and after the publisher's death.

Everything here is written from docs/wire.md. Sections: errors, flatbuffers, arrays, memory, the folder, frames,
subscribing, publishing, forks.
"""

import array
import bisect
import collections
import ctypes
import errno
import fcntl
import functools
import hashlib
import itertools
import mmap
import os
import queue
import select
import socket
import stat
import struct
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
import warnings
import weakref

import pyarrow as pa

__all__ = ["subscribe", "publish", "location", "Subscription", "Publisher", "Writer", "Location", "LeaseWarning",
           "Statistics", "ArrowlaneError", "Closed", "TopicTaken", "TopicNotFound", "PublisherLost", "SchemaMismatch",
           "OutOfMemory", "CopyRequired", "UnsupportedType", "BadName", "InvalidArgument", "UnsafeFolder", "OtherUser",
           "ProtocolError", "TransportError", "RemoteError", "UnsupportedPlatform", "TimedOut"]

# ---------------------------------------------------------------------------------------------------------- errors


class ArrowlaneError(Exception):
    """An error of arrowlane. `code` is stable, and the same as in the Node.js package."""

    code = "ERR_INTERNAL"


class Closed(ArrowlaneError):
    """The publisher or subscription was closed."""

    code = "ERR_CLOSED"


class TopicTaken(ArrowlaneError):
    """A live publisher has the topic."""

    code = "ERR_TOPIC_TAKEN"


class TopicNotFound(ArrowlaneError):
    """No publisher, and `wait=False`."""

    code = "ERR_TOPIC_NOT_FOUND"


class PublisherLost(ArrowlaneError):
    """The publisher died in the middle of its stream. Batches that are held stay valid."""

    code = "ERR_PUBLISHER_LOST"


class SchemaMismatch(ArrowlaneError):
    """Another schema than the topic's."""

    code = "ERR_SCHEMA_MISMATCH"


class OutOfMemory(ArrowlaneError):
    """The batch can never fit, or the machine has no more."""

    code = "ERR_OUT_OF_MEMORY"


class CopyRequired(ArrowlaneError):
    """`strict_zero_copy`, and this would copy."""

    code = "ERR_COPY_REQUIRED"


class UnsupportedType(ArrowlaneError):
    """A column that cannot be written in place."""

    code = "ERR_UNSUPPORTED_TYPE"


class BadName(ArrowlaneError):
    """A topic's name that cannot be one."""

    code = "ERR_BAD_NAME"


class InvalidArgument(ArrowlaneError, ValueError):
    """An argument that cannot be."""

    code = "ERR_INVALID_ARGUMENT"


class UnsafeFolder(ArrowlaneError):
    """Others can enter the folder of sockets."""

    code = "ERR_UNSAFE_FOLDER"


class OtherUser(ArrowlaneError):
    """The peer runs as somebody else."""

    code = "ERR_OTHER_USER"


class ProtocolError(ArrowlaneError):
    """The peer broke a rule; that connection ended."""

    code = "ERR_PROTOCOL"


class TransportError(ArrowlaneError):
    """The system refused something."""

    code = "ERR_TRANSPORT"


class RemoteError(ArrowlaneError):
    """The publisher ended its stream with an error."""

    code = "ERR_REMOTE"


class UnsupportedPlatform(ArrowlaneError):
    """Not Linux, or too old a one."""

    code = "ERR_UNSUPPORTED_PLATFORM"


class TimedOut(ArrowlaneError, TimeoutError):
    """What was waited for did not happen in time. (Node.js has abort signals instead.)"""

    code = "ERR_TIMEOUT"


class LeaseWarning(UserWarning):
    """A batch is kept for long: its publisher cannot use the memory again. Once for each batch.

    `topic`, `sequence` (the batch's number on its connection) and `age` in seconds say which. Not a ResourceWarning, which
    Python hides unless asked.
    """

    def __init__(self, topic, sequence, age):
        super().__init__(topic, sequence, age)
        self.topic, self.sequence, self.age = topic, sequence, age

    def __str__(self):
        return (f"batch {self.sequence} of topic {self.topic!r} has been held for {self.age:.1f} s, and its publisher waits for "
                "the memory: drop every array, buffer and view over it, or copy what must live on")


# ----------------------------------------------------------------------------------------------------- flatbuffers

_U16, _U32, _I32, _U64 = (struct.Struct(code) for code in ("<H", "<I", "<i", "<Q"))
_MAX_METADATA, _MAX_FIELDS, _MAX_LEVELS, _MAX_BUFFERS = 16 << 20, 65_536, 64, 262_144
_MAX_BODY, _MAX_DICTIONARY = 1 << 40, 1 << 30
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3


class _Table:
    """A table of a flatbuffer from outside. Reads beyond its bytes are a struct.error, never anything else."""

    __slots__ = ("data", "at", "slots")

    def __init__(self, data, at):
        vtable = at - _I32.unpack_from(data, at)[0]
        if vtable < 0:
            raise ProtocolError("a flatbuffer points before its start")
        self.data, self.at = data, at
        self.slots = struct.unpack_from("<%dH" % (max(4, _U16.unpack_from(data, vtable)[0]) // 2), data, vtable)

    def _place(self, field):
        offset = self.slots[field + 2] if field + 2 < len(self.slots) else 0
        return self.at + offset if offset else None

    def number(self, field, code, default=0):
        at = self._place(field)
        return default if at is None else struct.unpack_from(code, self.data, at)[0]

    def _follow(self, field):
        at = self._place(field)
        return None if at is None else at + _U32.unpack_from(self.data, at)[0]

    def table(self, field):
        at = self._follow(field)
        return None if at is None else _Table(self.data, at)

    def numbers(self, field, per_item=1):
        """A vector of 64-bit integers, or of structs of `per_item` of them, flat."""
        at = self._follow(field)
        if at is None:
            return ()
        count = _U32.unpack_from(self.data, at)[0] * per_item
        if count * 8 > len(self.data) - at:
            raise ProtocolError("a vector is longer than its message")
        return struct.unpack_from("<%dq" % count, self.data, at + 4)

    def tables(self, field):
        at = self._follow(field)
        if at is None:
            return []
        count = _U32.unpack_from(self.data, at)[0]
        if count * 4 > len(self.data) - at:
            raise ProtocolError("a vector is longer than its message")
        places = range(at + 4, at + 4 + 4 * count, 4)
        return [_Table(self.data, place + _U32.unpack_from(self.data, place)[0]) for place in places]

    def text(self, field):
        at = self._follow(field)
        if at is None:
            return ""
        return struct.unpack_from("%ds" % _U32.unpack_from(self.data, at)[0], self.data, at + 4)[0].decode()


class _Header:
    """A decoded Message: what is read of a schema, a dictionary or a batch."""

    __slots__ = ("kind", "body_length", "metadata", "rows", "nodes", "offsets", "lengths", "variadic", "fields", "id",
                 "delta", "filled")


def _decode(data):
    """The header of an IPC message; ProtocolError when it is none."""
    try:
        return _decode_message(data)
    except (struct.error, UnicodeDecodeError, MemoryError) as error:
        raise ProtocolError(f"a message's header cannot be read: {error}") from None


def _decode_message(data):
    if len(data) > _MAX_METADATA:
        raise ProtocolError("a message's header is over 16 MiB")
    message = _Table(data, _U32.unpack_from(data, 0)[0])
    header, table = _Header(), message.table(2)
    header.kind, header.body_length = message.number(1, "<B"), message.number(3, "<q")
    header.metadata = {pair.text(0): pair.text(1) for pair in message.tables(4)}
    if table is None or message.number(0, "<h") not in (3, 4) or not 0 <= header.body_length <= _MAX_BODY:
        raise ProtocolError("a message has no header, another version than V4 or V5, or an impossible length")
    if header.kind == _SCHEMA:
        if table.number(0, "<h") != 0 or header.body_length:
            raise ProtocolError("a schema is big-endian or has a body")
        header.fields = _fields(table.tables(1), itertools.count(1), 1)
        return header
    if header.kind == _DICTIONARY:
        header.id, header.delta = table.number(0, "<q"), bool(table.number(2, "<B"))
        table = table.table(1)
    if header.kind not in (_DICTIONARY, _BATCH) or table is None:
        raise ProtocolError(f"a message of kind {header.kind} is none of schema, dictionary and batch")
    if table.table(3) is not None:
        raise ProtocolError("compressed bodies are not supported")
    header.rows, header.variadic = table.number(0, "<q"), table.numbers(4)
    nodes, buffers = table.numbers(1, 2), table.numbers(2, 2)
    header.nodes, header.offsets, header.lengths = list(zip(nodes[::2], nodes[1::2])), buffers[::2], buffers[1::2]
    if len(header.lengths) > _MAX_BUFFERS or len(header.nodes) > _MAX_FIELDS or header.rows < 0:
        raise ProtocolError("a batch has too many buffers or columns, or a length below 0")
    if any(not 0 <= nulls <= length for length, nulls in header.nodes):
        raise ProtocolError("a column has more nulls than rows, or less than none")
    for offset, length in zip(header.offsets, header.lengths):
        if offset < 0 or length < 0 or offset + length > header.body_length:
            raise ProtocolError("a buffer does not lie in its body")
    header.filled = sum(1 for length in header.lengths if length)
    return header


class _Field:
    """What pyarrow's schema does not tell of a field: the ids of dictionaries, in its tree."""

    __slots__ = ("id", "children")


def _fields(tables, count, level):
    if level > _MAX_LEVELS:
        raise ProtocolError("a schema is nested more than 64 levels deep")
    found = []
    for table in tables:
        if next(count) > _MAX_FIELDS:
            raise ProtocolError("a schema has more than 65,536 fields")
        field, dictionary = _Field(), table.table(4)
        field.id = None if dictionary is None else dictionary.number(0, "<q")
        field.children = _fields(table.tables(5), count, level + 1)
        found.append(field)
    return found


# ---------------------------------------------------------------------------------------------------------- arrays

_EMPTY = pa.py_buffer(b"")


class _Cursor:
    """Walks through the nodes and buffers of one batch, and makes buffers over its memory."""

    __slots__ = ("nodes", "node_at", "lengths", "at", "variadic", "places", "owner", "dictionaries")

    def __init__(self, header, places, owner, dictionaries):
        self.nodes, self.node_at, self.lengths, self.at = header.nodes, 0, header.lengths, 0
        self.variadic = iter(header.variadic)
        self.places, self.owner, self.dictionaries = places, owner, dictionaries

    def node(self):
        at = self.node_at
        self.node_at = at + 1
        return self.nodes[at]

    def buffer(self):
        at = self.at
        self.at = at + 1
        length = self.lengths[at]
        if not length:
            return _EMPTY
        address = self.places[at]
        if address & 7:
            return pa.py_buffer(ctypes.string_at(address, length))
        return pa.foreign_buffer(address, length, self.owner)

    def validity(self, nulls):
        if not nulls:
            self.at += 1
            return None
        buffer = self.buffer()
        if not buffer.size:
            raise ProtocolError("a column has nulls and no bitmap that says which")
        return buffer


class _Plan:
    """How the batches of a schema become arrays."""

    def __init__(self, header, flatbuffer):
        try:
            padded = bytes(flatbuffer) + b"\0" * (-len(flatbuffer) % 8)
            self.schema = pa.ipc.read_schema(pa.py_buffer(struct.pack("<Ii", 0xFFFFFFFF, len(padded)) + padded))
            self.readers, self.dictionaries = [], {}
            if len(self.schema) != len(header.fields):
                raise ProtocolError("the schema has another number of fields than its header")
            plain = all(field.type.num_fields == 0 and field.type.num_buffers == 2 and not field.type.has_variadic_buffers and not
                        isinstance(field.type, (pa.BaseExtensionType, pa.DictionaryType)) for field in self.schema)
            self.flat = [field.type for field in self.schema] if plain else None
            self.readers = [self._reader(field.type, ours) for field, ours in zip(self.schema, header.fields)]
        except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
            raise ProtocolError(f"the schema cannot be read: {error}") from error

    def quick(self, header, places, owner):
        """As `batch`, for schemas of columns with two buffers and no more, and a header that was read before."""
        arrays, lengths, at = [], header.lengths, 0
        foreign, make = pa.foreign_buffer, pa.Array.from_buffers
        for kind, (rows, nulls) in zip(self.flat, header.nodes):
            validity = foreign(places[at], lengths[at], owner) if nulls else None
            arrays.append(make(kind, rows, [validity, foreign(places[at + 1], lengths[at + 1], owner)], nulls))
            at += 2
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def batch(self, header, places, owner, dictionaries):
        cursor = _Cursor(header, places, owner, dictionaries)
        return self._run(lambda: self._record_batch(header, cursor), cursor)

    def _record_batch(self, header, cursor):
        arrays = [reader(cursor) for reader in self.readers]
        if not arrays:
            empty = pa.StructArray.from_buffers(pa.struct([]), header.rows, [None], 0)
            return pa.RecordBatch.from_struct_array(empty).replace_schema_metadata(self.schema.metadata)
        if len(arrays[0]) != header.rows:
            raise ProtocolError(f"a column has {len(arrays[0])} rows, and its batch {header.rows}")
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def dictionary(self, header, places, owner, dictionaries):
        if header.id not in self.dictionaries:
            raise ProtocolError(f"no field of the schema has dictionary {header.id}")
        cursor = _Cursor(header, places, owner, dictionaries)
        values = self._run(lambda: self.dictionaries[header.id](cursor), cursor)
        if header.delta and header.id in dictionaries:
            known = dictionaries[header.id]
            if known.nbytes + values.nbytes > _MAX_DICTIONARY:
                raise ProtocolError(f"dictionary {header.id} and its deltas are over 1 GiB")
            values = self._run(lambda: pa.concat_arrays([known, values]))
        return values

    @staticmethod
    def _run(make, cursor=None):
        try:
            made = make()
        except KeyError as error:
            raise UnsupportedType(f"pyarrow {pa.__version__} has no class for arrays of type number {error} (intervals of months, and of days "
                                  "and milliseconds, are such): send another type") from error
        except (IndexError, StopIteration, RuntimeError) as error:
            raise ProtocolError("a batch has fewer columns or buffers than its schema") from error
        except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, NotImplementedError) as error:
            raise ProtocolError(f"a batch does not fit its schema: {error}") from error
        if cursor is not None and (cursor.node_at != len(cursor.nodes) or cursor.at != len(cursor.lengths)):
            raise ProtocolError("a batch has more columns or buffers than its schema")
        return made

    def _reader(self, kind, field):
        """What makes an array of a type; `field` has the ids of dictionaries in it."""
        if isinstance(kind, pa.BaseExtensionType):
            storage = self._reader(kind.storage_type, field)
            return lambda cursor: kind.wrap_array(storage(cursor))
        if pa.types.is_dictionary(kind):
            return self._dictionary_reader(kind, field)
        if len(field.children) != kind.num_fields:
            raise ProtocolError(f"a field of type {kind} has {len(field.children)} children")
        make, types = pa.Array.from_buffers, pa.types
        children = [self._reader(kind.field(i).type, child) for i, child in enumerate(field.children)]
        if types.is_null(kind):
            return lambda cursor: make(kind, cursor.node()[0], [None])
        if types.is_union(kind) or types.is_run_end_encoded(kind):
            plain = kind.num_buffers - 1  # no bitmap travels for these

            def read(cursor):
                rows, _ = cursor.node()
                buffers = [None] + [cursor.buffer() for _ in range(plain)]
                return make(kind, rows, buffers, 0, 0, [child(cursor) for child in children])

            return read
        if kind.has_variadic_buffers:
            def read(cursor):
                rows, nulls = cursor.node()
                buffers = [cursor.validity(nulls), cursor.buffer()]
                count = next(cursor.variadic)
                if not 0 <= count <= len(cursor.lengths) - cursor.at:
                    raise ProtocolError("a column of views has more buffers than its batch")
                return make(kind, rows, buffers + [cursor.buffer() for _ in range(count)], nulls)

            return read
        if not children and kind.num_buffers == 2:
            def read(cursor):
                rows, nulls = cursor.node()
                return make(kind, rows, [cursor.validity(nulls), cursor.buffer()], nulls)

            return read
        plain = kind.num_buffers - 1

        def read(cursor):
            rows, nulls = cursor.node()
            buffers = [cursor.validity(nulls)] + [cursor.buffer() for _ in range(plain)]
            return make(kind, rows, buffers, nulls, 0, [child(cursor) for child in children])

        return read

    def _dictionary_reader(self, kind, field):
        if field.id is None:
            raise ProtocolError("a dictionary-encoded field has no dictionary")
        values = kind.value_type
        within = _Field()
        within.id, within.children = None, field.children
        # What is inside a dictionary's values: for extension types and nested dictionaries too.
        self.dictionaries.setdefault(field.id, self._reader(values, within))

        def read(cursor):
            rows, nulls = cursor.node()
            buffers = [cursor.validity(nulls), cursor.buffer()]
            known = cursor.dictionaries.get(field.id)
            if known is None:
                if nulls < rows:
                    raise ProtocolError(f"a batch came before dictionary {field.id}")
                known = pa.array([], values)
            if known.type != values:
                raise ProtocolError(f"dictionary {field.id} stands for two types")
            return pa.DictionaryArray.from_buffers(kind, rows, buffers, known, nulls)

        return read


# ---------------------------------------------------------------------------------------------------------- memory

_PAGE = mmap.PAGESIZE
_F_GETPIPE_SZ, _F_ADD_SEALS, _F_GET_SEALS = 1032, 1033, 1034
_SEALS = 1 | 2 | 4 | 16  # SEAL, SHRINK, GROW, FUTURE_WRITE
_TMPFS = 0x01021994
_MADV_POPULATE_WRITE = 23
_ADDRESS_BITS = 48
_OFFSET_MASK = (1 << _ADDRESS_BITS) - 1

if not sys.platform.startswith("linux"):
    raise UnsupportedPlatform("arrowlane hands batches over through Linux's memfds: this system has none")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.fstatfs.argtypes = [ctypes.c_int, ctypes.c_void_p]

_mappings = {}  # address -> weak reference; what `location` looks through


class _Mapping:
    """A memfd's bytes in this process; unmapped with the last reference. Not Python's mmap, which keeps a descriptor."""

    __slots__ = ("address", "length", "device", "inode", "keepers", "__weakref__")

    def __init__(self, fd, length, protection, flags):
        self.keepers = ()   # what keeps the bytes as they are, while this is read, whoever of those in between dies
        address = _libc.mmap(None, length, protection, flags, fd, 0)
        if address in (None, ctypes.c_void_p(-1).value):
            number = ctypes.get_errno()
            self.length = 0
            raise OutOfMemory(f"{length} bytes of shared memory cannot be mapped: {os.strerror(number)}")
        self.address, self.length = address, length
        about = os.fstat(fd)
        self.device, self.inode = about.st_dev, about.st_ino
        _mappings[address] = weakref.ref(self)

    def __del__(self, munmap=_libc.munmap, mappings=_mappings):
        if self.length:
            mappings.pop(self.address, None)
            munmap(self.address, self.length)


class _Kept:
    """A keeper: the end of a pipe, which is held and nothing else."""

    __slots__ = ("fd",)

    def __init__(self, fd):
        self.fd = fd
        try:
            fcntl.fcntl(fd, _F_GETPIPE_SZ)
        except OSError:
            raise ProtocolError("a keeper is not the end of a pipe") from None

    def __del__(self, close=os.close):
        close(self.fd)


def _map_received(fd, expected):
    """A publisher's segment, checked and mapped.

    PROT_READ, where a Node.js subscriber needs a writable private mapping: pyarrow's buffers are immutable and nothing here
    hands out a writable view, so no page can ever be this process's stale copy, and none has to be dropped before a lease ends.
    """
    try:
        seals = fcntl.fcntl(fd, _F_GET_SEALS)
    except OSError:
        seals = 0
    if seals & _SEALS != _SEALS:
        raise ProtocolError("a segment is not sealed: its publisher could take its bytes away while they are read")
    system = (ctypes.c_ulong * 32)()
    if _libc.fstatfs(fd, system) or system[0] & 0xFFFFFFFF != _TMPFS:
        raise ProtocolError("a segment is not an ordinary memfd")
    about = os.fstat(fd)
    if about.st_size != expected or not expected or expected % _PAGE:
        raise ProtocolError(f"a segment has {about.st_size} bytes, and {expected} were announced")
    if about.st_blocks * 512 < expected:
        raise ProtocolError("a segment has holes")
    return _Mapping(fd, expected, mmap.PROT_READ, mmap.MAP_PRIVATE)


Location = collections.namedtuple("Location", "memory device inode offset address")
Location.__doc__ = """Where a batch's first byte lies: `memory` and `offset` are the same in every process, `address` is this one's.

`memory` reads as in Node.js, `memfd:DEVICE:INODE`."""


def location(batch):
    """Where a RecordBatch, Array or Buffer lies in shared memory: a `Location`, or None for memory of this process alone."""
    addresses = [buffer.address for buffer in _buffers_of(batch) if buffer is not None and buffer.size]
    if not addresses:
        return None
    for start, reference in list(_mappings.items()):
        mapping = reference()
        if mapping is None:
            continue
        within = [address for address in addresses if start <= address < start + mapping.length]
        if within:
            memory = f"memfd:{mapping.device}:{mapping.inode}"
            return Location(memory, mapping.device, mapping.inode, min(within) - start, min(within))
    return None


def _buffers_of(thing):
    if isinstance(thing, pa.Buffer):
        return [thing]
    if isinstance(thing, pa.Array):
        return thing.buffers()
    return [buffer for column in thing.columns for buffer in column.buffers()]


# ------------------------------------------------------------------------------------------------------ the folder


def _patiently(deadline):
    """Seconds left until a deadline, or None for ever; TimedOut when it has passed."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimedOut("it did not happen in time: raise the timeout, or see whether the other side runs")
    return left


def _readable(fd, timeout):
    """Whether a descriptor becomes readable within so many seconds; None: waits for ever. Any descriptor, as `select` does not."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if timeout is None else max(1, round(timeout * 1000))))


def _deadline(timeout):
    return None if timeout is None else time.monotonic() + timeout


def _file_name(topic):
    spelled = topic.encode() if isinstance(topic, str) else b""
    if not 1 <= len(spelled) <= 1024 or b"\0" in spelled:
        raise BadName("a topic is a text of 1 to 1024 bytes, none of them NUL")
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
    name = "".join(chr(byte) if byte in plain or (byte == 46 and at) else "%%%02X" % byte for at, byte in enumerate(spelled))
    return name if len(name) <= 180 else "~" + hashlib.sha256(spelled).hexdigest()


class _Folder:
    """This user's folder of sockets, opened."""

    def __init__(self):
        configured = os.environ.get("ARROWLANE_RUNTIME_DIR")
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        if configured:
            self.path = configured
        elif runtime:
            self.path = os.path.join(runtime, "arrowlane")
        else:
            self.path = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"arrowlane-{os.geteuid()}")
        self.fd = -1
        try:
            os.mkdir(self.path, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise TransportError(f"the folder of sockets {self.path} cannot be made: {error.strerror}") from error
        try:
            self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise UnsafeFolder(f"{self.path} cannot be opened as a folder: {error.strerror}") from error
        about = os.fstat(self.fd)
        if about.st_uid != os.geteuid() or about.st_mode & 0o077:
            self.close()
            raise UnsafeFolder(f"others may enter {self.path}: remove it, or set ARROWLANE_RUNTIME_DIR to a folder of mode 0700")

    def close(self):
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def __del__(self):
        self.close()

    def address(self, file):
        path = f"/proc/self/fd/{self.fd}/{file}"
        if len(path) > 107:
            raise BadName("the topic's name does not fit into a socket's address: take a shorter one, or a much longer one")
        return path

    def connect(self, file):
        """A connected socket; None where nobody listens; BlockingIOError where the queue is full."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(self.address(file))
            sock.setblocking(True)
            return sock
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        except BaseException:
            sock.close()
            raise

    def watch(self):
        """A descriptor that is readable when a socket was named in the folder."""
        fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if fd < 0 or _libc.inotify_add_watch(fd, f"/proc/self/fd/{self.fd}".encode(), 0x80) < 0:
            number = ctypes.get_errno()
            if fd >= 0:
                os.close(fd)
            raise TransportError(f"the folder of sockets cannot be watched: {os.strerror(number)}")
        return fd

    def lock(self):
        """A descriptor that holds the folder's lock until it is closed; opened anew, so that threads exclude each other."""
        fd = os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return fd

    def listen(self, topic):
        """A socket that listens under the topic's name, and the inode of that name."""
        file, lock, temporary = _file_name(topic), self.lock(), "." + uuid.uuid4().hex
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            try:
                other = self.connect(file)
            except BlockingIOError:
                raise TopicTaken(f"a live publisher has the topic {topic!r}") from None
            if other is not None:
                other.close()
                raise TopicTaken(f"a live publisher has the topic {topic!r}: close it, or take another name")
            for name in os.listdir(self.fd):
                if name.startswith(".") and self.is_socket(name):
                    os.unlink(name, dir_fd=self.fd)
            listener.bind(self.address(temporary))
            listener.listen(1024)
            listener.setblocking(False)
            inode = os.stat(temporary, dir_fd=self.fd, follow_symlinks=False).st_ino
            os.rename(temporary, file, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            return listener, inode
        except BaseException:
            listener.close()
            raise
        finally:
            os.close(lock)

    def is_socket(self, file):
        try:
            return stat.S_ISSOCK(os.stat(file, dir_fd=self.fd, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def forget(self, topic, inode):
        """Removes the topic's name, if it is still this inode's."""
        lock = self.lock()
        try:
            file = _file_name(topic)
            if os.stat(file, dir_fd=self.fd, follow_symlinks=False).st_ino == inode:
                os.unlink(file, dir_fd=self.fd)
        except FileNotFoundError:
            pass
        finally:
            os.close(lock)


# ---------------------------------------------------------------------------------------------------------- frames

_GREETING, _METADATA, _TAGGED, _LEND, _LENT, _RETIRE, _RETIRED = range(1, 8)
_LONG = 9  # a tagged message whose bytes follow the frame; the payload is their number
_FRAME = struct.Struct("<IB3sQ")
_CREDIT = struct.Struct("<IB3sQQ")
_NONE = b"\0\0\0"
_FROM_SERVER, _FROM_CLIENT = 64 << 20, 8 << 20
# As plain numbers: combining the enumerations takes longer than a system call.
_AT_ONCE_QUIETLY = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_CLOEXEC, _CLOEXEC_AT_ONCE = int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
_CUT = int(socket.MSG_CTRUNC)
_MAX_SEGMENTS, _MAX_AHEAD, _MAX_BEHIND = 1024, 16_384, 4096
_MAX_KEEPERS, _MAX_FIELDS_TEXT = 8, 64 << 10
_BEFORE = struct.pack("<B3sQB", _METADATA, _NONE, 0, 1)     # what follows the length of a metadata frame with a message
_BETWEEN = struct.pack("<B3s", _TAGGED, _NONE)              # and that of a tagged frame


def _frame(kind, tag=0, payload=b""):
    return _FRAME.pack(len(payload), kind, _NONE, tag) + payload


def _boot_id():
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _check_peer(sock):
    user = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    if user != os.geteuid():
        raise OtherUser(f"the other side runs as user {user}")


class _Frames:
    """Cuts a stream of bytes into frames."""

    __slots__ = ("data", "at", "limit", "kinds")

    def __init__(self, limit, kinds):
        self.data, self.at, self.limit, self.kinds = b"", 0, limit, kinds

    def feed(self, data):
        if self.at == len(self.data):
            self.data, self.at = data, 0
            return
        # Joined in place: a long frame that comes in many pieces is not copied once for each of them.
        if not isinstance(self.data, bytearray):
            self.data = bytearray(self.data)
        if self.at:
            del self.data[:self.at]
            self.at = 0
        self.data += data

    def next(self):
        """(kind, tag, payload), or None until more has come."""
        data, at = self.data, self.at
        left = len(data) - at
        if left < 16:
            return None
        length, kind, zeros, tag = _FRAME.unpack_from(data, at)
        if length > self.limit or zeros != _NONE or kind not in self.kinds:
            raise ProtocolError(f"a frame of kind {kind} and {length} bytes is not allowed here")
        if left < 16 + length:
            return None
        if kind == _LONG:
            return self._long(tag, length)
        self.at = end = at + 16 + length
        return kind, tag, bytes(data[at + 16:end])

    def _long(self, tag, length):
        """A body that is longer than a frame, as the tagged message that it stands for. Memory grows as it comes."""
        begin = self.at + 16 + length
        total = _U64.unpack_from(self.data, begin - 8)[0] if length == 8 else _MAX_BODY + 1
        if total > _MAX_BODY:
            raise ProtocolError("a body is announced that cannot be")
        if len(self.data) < begin + total:
            return None
        self.at = begin + total
        body = pa.allocate_buffer(total)
        memoryview(body).cast("B")[:] = memoryview(self.data)[begin:self.at]
        return _TAGGED, tag, body


# ----------------------------------------------------------------------------------------------------- subscribing

_AT_ONCE = 256     # leases that ended and are told without waiting for others
_TICK = 0.005      # how long an ended lease waits for company while nobody reads
_IDLE_TICKS = 25
_GONE = (BrokenPipeError, ConnectionError)


class _Lease:
    """The right to read one body. It ends when the last buffer over the body is gone, on whatever thread that happens."""

    __slots__ = ("link", "addresses", "mappings", "number")

    def __init__(self, link, addresses, mappings, number, born):
        self.link, self.addresses, self.mappings, self.number = link, addresses, mappings, number
        link.held[number] = born

    def __del__(self):
        self.link.give_back(self)


class _Link:
    """A connection to a publisher, kept by its subscription and by every lease that came over it.

    Whoever drops the last reference to a batch runs `give_back`, perhaps inside of a garbage collection that interrupted
    this very code: so it takes no lock that it would have to wait for.
    """

    def __init__(self, sock, topic, lease_warning):
        self.sock, self.topic, self.lease_warning = sock, topic, lease_warning
        self.free_tag = self.ext_tag = None
        self.held = {}                          # leases by number, and since when; None: not to be warned of
        self.returned = collections.deque()
        self.out = b""
        self.consumed = self.credited = self.behind = 0
        self.waiting = self.closed = self.gone = self.drained = False
        self.cancelled = False
        self.lock = threading.Lock()
        self.frames = _Frames(_FROM_SERVER, frozenset((_GREETING, _METADATA, _TAGGED, _LEND, _RETIRE, _LONG)))
        self.fds, self.keeper = collections.deque(), None
        _links[id(self)] = weakref.ref(self)

    # Leases.

    def give_back(self, lease):
        self.held.pop(lease.number, None)
        if self.gone:
            return
        self.returned.append(lease.addresses)
        if self.waiting or self.closed or len(self.returned) >= _AT_ONCE:
            self.flush()
        if self.returned or self.out:
            _keeper.soon()

    def flush(self):
        """Sends what is gathered, unless somebody is at it: who is, looks again."""
        while (self.returned or self.out or self.consumed > self.credited or self.finished()) and not self.gone:
            if not self.lock.acquire(blocking=False):
                return
            try:
                self._flush()
            finally:
                self.lock.release()
            if self.out:
                return

    def finished(self):
        return self.closed and not self.held and not self.returned and not self.waiting

    def _flush(self):
        out = self.out
        while self.returned:
            freed = self.returned.popleft()
            if self.returned:
                freed = list(freed)
                while self.returned and len(freed) < 65_536:
                    freed.extend(self.returned.popleft())
            if freed:
                out += struct.pack("<IB3sQ%dQ" % len(freed), 8 * len(freed), _TAGGED, _NONE, self.free_tag, *freed)
        if self.consumed > self.credited and not self.closed:
            self.credited = self.consumed
            out += _CREDIT.pack(8, _TAGGED, _NONE, self.ext_tag, self.credited)
        self.send(out)
        if self.closed:
            self.credited = self.consumed
            if self.finished():
                self.hang_up()  # which says all that could still be said

    def send(self, data):
        """Sends what the socket takes at once, and keeps the rest. The lock is held, or nobody else has the link yet."""
        try:
            sent = self.sock.send(data, _AT_ONCE_QUIETLY) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            # Nobody is left to be told. What it sent before can still be read.
            sent, self.gone = len(data), True
            if self.closed and not self.waiting:
                self.hang_up()
        self.out = data[sent:]

    def say(self, data):
        with self.lock:
            self.behind = self.behind + 1 if self.out else 0
            if self.behind > _MAX_BEHIND:
                raise ProtocolError("the publisher does not read its acknowledgements")
            if not self.gone:
                self.send(self.out + data)

    def hang_up(self):
        self.gone, self.keeper = True, None     # what is read still has it as well
        self.returned.clear()
        self.sock.close()
        while self.fds:
            os.close(self.fds.popleft())
        _links.pop(id(self), None)

    # Reading.

    def receive(self, wait):
        """Reads what is there, or waits for it. False at the end of the connection, None when there is nothing."""
        try:
            data, ancillary, how, _ = self.sock.recvmsg(1 << 16, 64, _CLOEXEC if wait else _CLOEXEC_AT_ONCE)
        except BlockingIOError:
            return None
        except _GONE:
            return False
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
                self.fds.extend(fds)
        if how & _CUT or len(self.fds) > 2 + _MAX_KEEPERS:
            raise ProtocolError("more descriptors came than were announced")
        if not data:
            return False
        self.frames.feed(data)
        return True

    def close(self):
        """No batches any more. The connection ends now, or with its last lease: its closing is the end of all of them."""
        self.closed = True
        if self.ext_tag is not None and self.held and not self.gone and not self.cancelled:
            self.cancelled = True
            self.say(_frame(_TAGGED, self.ext_tag))
        self.flush()
        if self.gone:
            self.hang_up()
        else:
            _keeper.soon()

    def drain(self):
        """Reads and returns what came after `close`, so that the publisher's memory does not wait for it."""
        try:
            while not self.gone and not self.drained and not self.waiting:
                frame = self.frames.next()
                if frame is None:
                    came = self.receive(False)
                    if came is None:
                        return
                    if came is False:
                        self.gone = True  # nobody is left to be told
                        self.hang_up()
                    continue
                kind, tag, payload = frame
                if kind == _METADATA and payload[:1] == b"\0":
                    self.drained = True
                if kind == _TAGGED and tag >> 56 == 1:
                    addresses, lengths = _pairs(payload)
                    self.returned.append([a for a, length in zip(addresses, lengths) if length])
                elif kind == _LEND:
                    while self.fds:     # there is one such frame at a time
                        os.close(self.fds.popleft())
                    self.say(_frame(_LENT, tag))
                elif kind == _RETIRE:
                    self.say(_frame(_RETIRED, tag))
        except (ProtocolError, OSError):
            self.drained = True
        finally:
            self.flush()

    def late(self, now):
        """The batches that are held for too long, each once."""
        if self.lease_warning is None or not self.held:
            return []
        try:
            old = [(number, born) for number, born in self.held.items()
                   if born is not None and now - born >= self.lease_warning]
        except RuntimeError:  # a lease ended meanwhile
            return []
        for number, _ in old:
            if number in self.held:
                self.held[number] = None
        return [LeaseWarning(self.topic, number, now - born) for number, born in old]


def _pairs(payload):
    if len(payload) < 16 or len(payload) % 16 or len(payload) >> 4 > _MAX_BUFFERS + 1:
        raise ProtocolError("a body is not a list of pairs")
    numbers = struct.unpack("<%dQ" % (len(payload) >> 3), payload)
    if numbers[1] != (len(payload) >> 4) - 1:
        raise ProtocolError("a body has another number of pairs than it says")
    return numbers[2::2], numbers[3::2]


class _Keeper:
    """One thread of the process, asleep unless leases are held or have just ended.

    Tells publishers of leases that ended while nobody reads, reads what closed subscriptions still get, and warns of
    batches that are kept for long.
    """

    def __init__(self):
        self.pokes, self.thread, self.ticking, self.watching = queue.SimpleQueue(), None, False, False

    def soon(self):
        # SimpleQueue may be used inside of a garbage collection; locks and events may not.
        if not self.ticking:
            self.ticking = True
            self.pokes.put(None)

    def watch(self):
        if not self.watching:
            self.watching = True
            self.pokes.put(None)

    def start(self):
        if self.thread is None:
            self.thread = threading.Thread(target=self.run, name="arrowlane", daemon=True)
            self.thread.start()

    def run(self):
        idle, looked = 0, time.monotonic()
        while True:
            patience = _TICK if self.ticking else self.patience() if self.watching else None
            try:
                self.pokes.get(timeout=patience)
                if self.ticking:
                    time.sleep(_TICK)  # company may come
            except queue.Empty:
                pass
            links, stirred, now = _live_links(), False, time.monotonic()
            for link in links:
                before = len(link.returned), len(link.out)
                if before != (0, 0):
                    link.flush()
                    # A publisher that does not read is asked again, but not every few milliseconds for ever.
                    stirred = stirred or before != (len(link.returned), len(link.out))
                if link.closed and not link.gone:
                    link.drain()
            idle = 0 if stirred else idle + 1
            if idle >= _IDLE_TICKS:
                self.ticking, idle = False, 0
                if any(link.returned and not link.out for link in links):  # since we looked
                    self.ticking = True
                elif any(link.out for link in links):  # nobody reads: seldom from here on
                    self.watching = True
            if now - looked >= self.patience():
                looked = now
                self.watching = any(link.held or link.returned or link.out for link in links)
                for warning in [each for link in links for each in link.late(now)]:
                    try:
                        warnings.warn(warning, stacklevel=2)
                    except LeaseWarning as error:  # warnings are errors here: no caller is there to take it
                        sys.stderr.write(f"{type(error).__name__}: {error}\n")
            links = link = None

    @staticmethod
    def patience():
        least = min((link.lease_warning for link in _live_links() if link.lease_warning is not None), default=5.0)
        return min(1.25, max(0.01, least / 4))


_links = {}  # weak references by identity: listing them is safe beside other threads, as a WeakSet's iteration is not


def _live_links():
    return [link for link in (reference() for reference in list(_links.values())) if link is not None]


_keeper = _Keeper()


def subscribe(topic, wait=True, timeout=None, lease_warning=5.0, validate=None):
    """The batches of a topic, as an iterator and a context manager: `for batch in subscribe("camera/frames")`.

    Connects when it is first pulled, or by `connect()`; batches that are sent from then on arrive. With `wait=False`,
    TopicNotFound where no publisher is there. `timeout` bounds every wait, in seconds (TimedOut; the subscription goes on).
    A batch that is kept longer than `lease_warning` seconds makes one LeaseWarning; None for never.

    What a publisher says is checked: lengths, counts, places, seals, and that every array has the bytes it needs. Values
    (offsets in the middle, views, indices of dictionaries) are not read; with `validate="full"` they are, each.
    """
    return Subscription(topic, wait, timeout, lease_warning, validate)


class Subscription:
    """A topic's receiving side; see `subscribe`. One thread at a time pulls it; `close` may come from any."""

    def __init__(self, topic, wait=True, timeout=None, lease_warning=5.0, validate=None):
        if validate not in (None, "full"):
            raise InvalidArgument('validate is None or "full"')
        self.topic, self._file = topic, _file_name(topic)
        self._wait, self._timeout, self._lease_warning, self._validate = wait, timeout, lease_warning, validate
        self._link = self._plan = None
        self._segments, self._dictionaries = {}, {}
        self._dropped = self._notices = 0
        self._next, self._expected, self._began = 0, 0, False   # sequence numbers: to be delivered, to come
        self._headers, self._bodies = collections.deque(), {}
        self._ended = self._closed = False
        self._known = self._known_header = self._shape = None   # the header that came last, as its bytes and decoded
        #: Key/values that were sent with the batch that came last.
        self.metadata = {}

    # What everybody uses.

    @property
    def schema(self):
        """The topic's schema; None before the first batch."""
        return None if self._plan is None else self._plan.schema

    def __iter__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if hasattr(self, "_closed"):
            self.close()

    def __next__(self):
        deadline = _deadline(self._timeout)
        while True:
            if self._closed or self._ended:
                raise StopIteration
            if self._link is None:
                self._connect(deadline)
            try:
                batch = self._pull(deadline)
            except (TimedOut, KeyboardInterrupt):
                raise
            except BaseException:
                self._end()
                raise
            if batch is not None:
                return batch

    def connect(self, timeout=None):
        """Connects now, and takes part: what is sent from here on arrives."""
        if self._link is None and not self._closed:
            self._connect(_deadline(timeout))
        return self

    def close(self):
        """Ends delivery. Batches that are held stay valid, and so does the connection until the last of them ends."""
        self._closed = True
        link = self._link
        if link is not None and link.waiting:
            link.say(_frame(_TAGGED, link.ext_tag))  # the publisher's end wakes whoever reads
            link.cancelled = True
        else:
            self._end()

    # The connection.

    def _end(self):
        self._ended = True
        self._dictionaries, self._segments = {}, {}
        self._headers.clear()
        for payload in self._bodies.values():
            if isinstance(payload, tuple) and self._link is not None:
                self._link.returned.append([a for a, length in zip(*payload) if length])
        self._bodies.clear()
        if self._link is not None:
            self._link.close()

    def _connect(self, deadline):
        folder, watch = _Folder(), None
        try:
            while not self._closed:
                if self._wait and watch is None:
                    watch = folder.watch()  # before the first attempt, so that no publisher appears unseen
                try:
                    sock = folder.connect(self._file)
                except BlockingIOError:
                    time.sleep(0.001 if deadline is None else min(0.001, _patiently(deadline)))
                    continue
                if sock is None and not self._wait:
                    raise TopicNotFound(f"nobody publishes {self.topic!r}: start the publisher first, or wait")
                if sock is None:
                    self._watch(watch, deadline)
                elif self._greeted(sock, deadline):
                    return
                else:
                    time.sleep(0.005)  # it died, or had no descriptor for us
        finally:
            folder.close()
            if watch is not None:
                os.close(watch)

    def _watch(self, watch, deadline):
        # Woken now and then to see whether another thread closed this subscription.
        left = _patiently(deadline)
        if _readable(watch, 0.25 if left is None else min(0.25, left)):
            os.read(watch, 1 << 16)

    def _greeted(self, sock, deadline):
        link = _Link(sock, self.topic, self._lease_warning)
        try:
            _check_peer(sock)
            while True:
                frame = link.frames.next()
                if frame is not None:
                    break
                if _readable(sock, _patiently(deadline)) and link.receive(False) is False:
                    link.hang_up()
                    return False
            kind, _, payload = frame
            uri = urllib.parse.urlsplit(payload.decode())
            tags = dict(urllib.parse.parse_qsl(uri.query))
            if kind != _GREETING or uri.scheme not in ("shm", "unix"):
                raise ProtocolError("the publisher did not greet")
            if tags.get("boot", _boot_id()) != _boot_id():
                raise ProtocolError("the publisher's memory belongs to another boot of this machine")
            link.free_tag, link.ext_tag = int(tags["free_data"]), int(tags["want_data_ext"])
            if not (0 <= link.free_tag < 1 << 64 and 0 <= link.ext_tag < 1 << 64):
                raise ProtocolError("the greeting's tags are no tags")
            fields = b"\0keep=1" if tags.get("policies") == "1" else b""
            link.say(_frame(_TAGGED, link.ext_tag, self.topic.encode() + fields))
        except (KeyError, ValueError) as error:
            link.hang_up()
            if isinstance(error, ArrowlaneError):
                raise
            raise ProtocolError(f"the greeting cannot be read: {error}") from error
        except BaseException:
            link.hang_up()
            raise
        self._link = link
        _keeper.start()
        return True

    def _pull(self, deadline):
        """The next batch, or None to be asked again."""
        link = self._link
        while True:
            if self._shape is not None and not self._headers:
                batch = self._another()
                if batch is not None:
                    return batch
            frame = link.frames.next() if link.frames.at < len(link.frames.data) else None
            if frame is not None:
                batch = self._take(*frame)
                if batch is not None or self._ended:
                    return batch
                continue
            link.flush()
            if deadline is not None:
                if not _readable(link.sock, _patiently(deadline)):
                    continue
            link.waiting = True
            try:
                came = link.receive(deadline is None)
            finally:
                link.waiting = False
            if self._closed:
                self._end()
                return None
            if came is False:
                link.gone = True
                raise PublisherLost(f"the publisher of {self.topic!r} went away in the middle of its stream: batches that are held "
                                    "stay valid; subscribe again")

    def _another(self):
        """The next batch where it differs from the one before in its number and addresses alone, as most do: read at one go."""
        header, flatbuffer, heads, shape, given, offsets, reach = self._shape
        link = self._link
        frames = link.frames
        if len(frames.data) - frames.at < shape.size:
            return None
        before, sequence, same, between, tag, total, count, *numbers = shape.unpack_from(frames.data, frames.at)
        if ((before, between, count) != heads or same != flatbuffer or sequence != self._expected or tag != 1 << 56 | sequence
                or self._bodies or numbers[1::2] != given):
            return None
        self._expected = self._next = (sequence + 1) & 0xFFFFFFFF
        frames.at += shape.size
        addresses = numbers[::2]
        if offsets is None:
            return self._batch(header, (addresses, given), sequence)
        # The buffers lie as they did in the batch before, and only its whole place has to be looked at.
        first = addresses[offsets[0][0]]
        mapping = self._segments.get(first >> _ADDRESS_BITS)
        start = first & _OFFSET_MASK
        if mapping is None or start + reach > mapping.length or first & 63 or any(addresses[at] - first != o for at, o in offsets):
            return self._batch(header, (addresses, given), sequence)
        link.consumed += total if total == self._total else sum(given)
        lease = _Lease(link, [addresses[at] for at, _ in offsets], mapping, sequence, time.monotonic())
        if not _keeper.watching:
            _keeper.watch()
        base, places = mapping.address + start, [0] * count
        for at, offset in offsets:
            places[at] = base + offset
        try:
            batch = self._plan.quick(header, places, lease)
        except (pa.ArrowException, ValueError) as error:
            raise ProtocolError(f"a batch does not fit its schema: {error}") from error
        if self._validate is not None:
            self._check(batch)
        self.metadata = header.metadata
        return batch

    def _learn(self, header, addresses, given):
        """What the next batch has to be like to be read at one go."""
        shape = struct.Struct("<17sI%ds8sQQQ%dQ" % (len(self._known), 2 * len(given)))
        heads = (_U32.pack(5 + len(self._known)) + _BEFORE, _U32.pack(16 + 16 * len(given)) + _BETWEEN, len(given))
        offsets, reach, filled = None, 0, [at for at, length in enumerate(given) if length]
        flat = self._plan.flat is not None and filled and len(given) == len(header.lengths)
        if flat and all(header.lengths[2 * n + 1] and (header.lengths[2 * n] or not nulls) for n, (_, nulls) in enumerate(header.nodes)):
            first = addresses[filled[0]]
            apart = [(at, addresses[at] - first) for at in filled]
            if all(0 <= offset < 1 << 32 and not offset & 7 for _, offset in apart):
                offsets, reach = apart, max(offset + given[at] for at, offset in apart)
        self._total = sum(given)
        self._shape = header, self._known, heads, shape, list(given), offsets, reach

    def _take(self, kind, tag, payload):
        if kind == _METADATA:
            return self._metadata(payload)
        if kind == _TAGGED:
            return self._body(tag, payload)
        if kind == _LEND:
            self._lent(tag, payload)
        elif kind == _RETIRE:
            if self._segments.pop(tag, None) is None:
                raise ProtocolError(f"segment {tag} was retired and never lent")
            self._link.say(_frame(_RETIRED, tag))
        else:
            raise ProtocolError("the publisher greeted twice")
        return None

    def _lent(self, number, payload):
        link = self._link
        own, passed = struct.unpack("<II", payload[8:]) if len(payload) == 16 else (0, 0)
        if own > 1 or passed > _MAX_KEEPERS or len(link.fds) < 1 + own + passed or len(payload) not in (8, 16) or number in self._segments or not 0 < number < 1 << 16:
            raise ProtocolError(f"segment {number} was not lent as segments are")
        if len(self._segments) >= _MAX_SEGMENTS:
            raise ProtocolError(f"more than {_MAX_SEGMENTS} segments were lent")
        fd = link.fds.popleft()
        try:
            keepers = [_Kept(link.fds.popleft()) for _ in range(own + passed)]
            if own:
                link.keeper = keepers.pop(0)
            mapping = _map_received(fd, _U64.unpack_from(payload)[0])
            mapping.keepers = (link.keeper, *keepers)
            self._segments[number] = mapping
        finally:
            os.close(fd)
        link.say(_frame(_LENT, number))

    # Messages.

    def _metadata(self, payload):
        if len(payload) < 5:
            raise ProtocolError("a metadata message has less than 5 bytes")
        kind, sequence = payload[0], _U32.unpack_from(payload, 1)[0]
        if kind == 0xE1:
            return None
        if kind == 0xE2:
            self._notice(payload[5:])
            return None
        if kind == 0xE0:
            self._ended = True
            raise RemoteError("the publisher ended the stream: " + payload[5:].decode(errors="replace"))
        if kind == 0:
            ahead = (sequence - self._expected) & 0xFFFFFFFF
            if len(payload) != 5 or (ahead and ahead < 1 << 31) or self._headers:
                raise ProtocolError(f"the stream ended at {sequence}, and {self._expected} messages came")
            self._link.drained = self._link.cancelled = True
            self._end()
            return None
        if kind != 1 or sequence != self._expected:
            raise ProtocolError(f"message {sequence} of type {kind} came, and {self._expected} was expected")
        flatbuffer = payload[5:]
        if flatbuffer == self._known:
            header = self._known_header
        else:
            header = _decode(flatbuffer)
            if (header.kind == _SCHEMA) == self._began:
                raise ProtocolError("the schema has to come first, and once")
            if header.kind == _SCHEMA:
                self._began, self._plan = True, _Plan(header, flatbuffer)
            elif header.kind == _BATCH:
                self._known, self._known_header, self._shape = flatbuffer, header, None
        self._expected = (sequence + 1) & 0xFFFFFFFF
        if header.kind == _SCHEMA:
            self._next = self._expected
            return None
        self._headers.append(header)
        if len(self._headers) > _MAX_AHEAD:
            raise ProtocolError("bodies are missing for too many messages")
        return self._deliver()

    def _notice(self, text):
        """What the publisher says of the stream: how many batches it dropped for this subscriber, say."""
        try:
            fields = dict(field.split("=", 1) for field in text.decode().split("\0")) if text else {}
            dropped = int(fields.get("dropped", self._dropped))
        except ValueError as error:
            raise ProtocolError(f"a notice cannot be read: {error}") from error
        self._notices = self._notices + 1 if self._headers else 0
        if len(text) > _MAX_FIELDS_TEXT or dropped < self._dropped or self._notices > _MAX_AHEAD:
            raise ProtocolError("a notice is too long, runs backwards, or is one too many")
        self._dropped = dropped

    def _body(self, tag, payload):
        sequence, kind = tag & 0xFFFFFFFF, tag >> 56
        if tag >> 32 & 0xFFFFFF or kind > 1:
            raise ProtocolError("a body's tag is none")
        pairs = _pairs(payload) if kind == 1 else payload
        ahead = (sequence - self._next) & 0xFFFFFFFF
        if ahead >= 1 << 31:
            # An empty body for a message that needed none is tolerated; what came with it goes back.
            if kind == 1:
                self._link.returned.append([a for a, length in zip(*pairs) if length])
            return None
        if ahead >= _MAX_AHEAD or sequence in self._bodies:
            raise ProtocolError(f"body {sequence} came twice, or {ahead} messages too early")
        self._bodies[sequence] = pairs
        return self._deliver()

    def _deliver(self):
        """The next batch whose parts are all there."""
        while self._headers:
            header = self._headers[0]
            body = self._bodies.get(self._next)
            if body is None and header.body_length:
                return None
            number, self._next = self._next, (self._next + 1) & 0xFFFFFFFF
            self._headers.popleft()
            self._bodies.pop(number, None)
            if header.kind == _BATCH:
                if header is self._known_header and isinstance(body, tuple) and self._shape is None:
                    batch = self._batch(header, body, number)  # first, as it checks what the next one is compared with
                    self._learn(header, *body)
                    return batch
                return self._batch(header, body, number)
            places, owner, bytes_ = self._place(header, body, number, False)
            self._link.consumed += bytes_ or 1
            values = self._plan.dictionary(header, places, owner, self._dictionaries)
            self._check(values)
            self._dictionaries[header.id] = values
        return None

    def _batch(self, header, body, number):
        places, owner, bytes_ = self._place(header, body, number, True)
        # One without a body counts as one byte, so that it is waited for as well.
        self._link.consumed += bytes_ or 1
        batch = self._plan.batch(header, places, owner, self._dictionaries)
        if self._validate is not None:
            self._check(batch)
        self.metadata = header.metadata
        return batch

    def _check(self, made):
        if self._validate == "full":
            try:
                made.validate(full=True)
            except pa.ArrowException as error:
                raise ProtocolError(f"values that cannot be: {error}") from error

    def _place(self, header, body, number, is_batch):
        """The address of every buffer of a body, what keeps them, and the bytes that credits count."""
        if body is None:
            return (), None, 0
        lengths = header.lengths
        if not isinstance(body, tuple):
            if len(body) < header.body_length:
                raise ProtocolError("a body is shorter than its header says")
            own = pa.py_buffer(body)
            return [own.address + offset for offset in header.offsets], own, len(body)
        addresses, given = body
        link = self._link
        # The lease begins before anything is checked: whatever becomes of the batch, the addresses go back.
        out = [a for a, length in zip(addresses, given) if length]
        lease = _Lease(link, out, (), number, time.monotonic() if is_batch else None)
        total = sum(given)
        if total > _MAX_BODY:
            raise ProtocolError("a body is over 1 TiB")
        mappings = []
        bases = []
        segments = self._segments
        mapping = last = None
        for address, length in zip(addresses, given):
            if not length:
                bases.append(0)
                continue
            segment, offset = address >> _ADDRESS_BITS, address & _OFFSET_MASK
            if segment != last:
                mapping, last = segments.get(segment), segment
                if mapping is None:
                    raise ProtocolError(f"an address lies in segment {segment}, which was not lent")
                mappings.append(mapping)
            if offset + length > mapping.length:
                raise ProtocolError(f"an address lies outside of segment {segment}")
            bases.append(mapping.address + offset)
        lease.mappings = mappings
        if is_batch:
            _keeper.watch()
        if len(given) == len(lengths):
            if any(have < need for have, need in zip(given, lengths)):
                raise ProtocolError("a pair is shorter than its buffer")
            return bases, lease, total
        if len(given) == header.filled:
            spread, at = [], 0
            for need in lengths:
                if need and given[at] < need:
                    raise ProtocolError("a pair is shorter than its buffer")
                spread.append(bases[at] if need else 0)
                at += 1 if need else 0
            return spread, lease, total
        if len(given) == 1 and given[0] >= header.body_length:
            return [bases[0] + offset for offset in header.offsets], lease, total
        raise ProtocolError(f"a body of {len(lengths)} buffers has {len(given)} pairs")


# ------------------------------------------------------------------------------------------------------ publishing

_WANT, _FREE, _WANT_EXT = (1 << 62 | number for number in (1, 2, 3))
_ALIGN = 64
_QUEUED = 1 << 20           # bytes that wait for a full socket, beyond which a subscriber has no room
_CONNECTIONS = 1024
_UNREAD = 16                # batches that a subscriber was sent before we look what came back, if nobody has to wait
_FIRST, _LARGEST = 8 << 20, 64 << 20


class _Segment:
    """One sealed memfd of a pool, cut into blocks of whole pages."""

    __slots__ = ("number", "fd", "mapping", "size", "holes", "starts", "live", "retired")

    def __init__(self, number, size):
        self.number, self.size, self.retired = number, size, None
        self.holes = [(0, size)]            # (start, length), in order, never side by side
        self.starts, self.live = [], {}     # of blocks that live: where they start, and weak references to them
        self.fd = os.memfd_create("arrowlane", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, size)
            os.posix_fallocate(self.fd, 0, size)
            self.mapping = _Mapping(self.fd, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED)
            # After our own mapping: from here on nobody can make another writable one, this process included.
            fcntl.fcntl(self.fd, _F_ADD_SEALS, _SEALS)
        except OSError as error:
            os.close(self.fd)
            raise OutOfMemory(f"{size} bytes of shared memory cannot be had: {error.strerror}") from error
        _libc.madvise(self.mapping.address, size, _MADV_POPULATE_WRITE)

    def take(self, size):
        """The start of the best hole, or None."""
        fitting = [(length, at) for at, (_, length) in enumerate(self.holes) if length >= size]
        if not fitting:
            return None
        length, at = min(fitting)
        start = self.holes[at][0]
        if length == size:
            del self.holes[at]
        else:
            self.holes[at] = (start + size, length - size)
        bisect.insort(self.starts, start)
        return start

    def put(self, start, size):
        at = bisect.bisect_left(self.holes, (start, 0))
        if at < len(self.holes) and self.holes[at][0] == start + size:
            size += self.holes.pop(at)[1]
        if at and sum(self.holes[at - 1]) == start:
            at -= 1
            start, before = self.holes.pop(at)
            size += before
        self.holes.insert(at, (start, size))

    def is_idle(self):
        return not self.starts

    def close(self):
        os.close(self.fd)
        self.mapping = None  # unmapped with its last block's view


class _Block:
    """Whole pages of a segment, one owner's. They are free again when the last reference to this is gone."""

    __slots__ = ("segment", "mapping", "start", "size", "address", "returned", "__weakref__")

    def __init__(self, segment, start, size, returned):
        self.segment, self.mapping, self.start, self.size, self.returned = segment, segment.mapping, start, size, returned
        self.address = segment.mapping.address + start
        segment.live[start] = weakref.ref(self)

    def __del__(self):
        self.returned.append((self.segment, self.start, self.size))

    def on_the_wire(self, address):
        return self.segment.number << _ADDRESS_BITS | address - self.address + self.start


@functools.lru_cache(maxsize=256)
def _span_type(size):
    # A class of its own, as instances of the plain array type have no attributes: the span has to keep its block.
    return type("Span", (ctypes.c_ubyte * size,), {})


def _span(block, offset, size):
    """A writable view of a block that keeps it."""
    span = _span_type(size).from_address(block.address + offset)
    span.block = block
    return memoryview(span).cast("B")


class _Pool:
    """Segments of a publisher."""

    def __init__(self, memory):
        self.memory, self.segments, self.returned = memory, {}, collections.deque()
        self.capacity, self.numbers = 0, iter(range(1, 1 << 16))
        self.spare = []

    def collect(self):
        while self.returned:
            segment, start, size = self.returned.popleft()
            del segment.starts[bisect.bisect_left(segment.starts, start)]
            del segment.live[start]
            segment.put(start, size)

    def take(self, nbytes):
        """A block, or None where every hole is too small."""
        size = max(1, -(-nbytes // _PAGE)) * _PAGE
        if self.returned:
            # What came back last fits most often, and is warm: it needs no look at the holes.
            segment, start, length = last = self.returned.pop()
            if length == size and segment.retired is None:
                return _Block(segment, start, size, self.returned)
            self.returned.append(last)
        self.collect()
        for segment in self.segments.values():
            if segment.retired is None:
                start = segment.take(size)
                if start is not None:
                    return _Block(segment, start, size, self.returned)
        return None

    def grow(self, nbytes):
        """Another segment that holds so much; False where the limit forbids it."""
        need = max(1, -(-nbytes // _PAGE)) * _PAGE
        size = max(need, min(_LARGEST, max(_FIRST, self.capacity)))
        left = (self.memory - self.capacity) // _PAGE * _PAGE
        if need > left or len(self.segments) >= _MAX_SEGMENTS:
            return False
        size = min(size, left)
        _check_headroom(size)
        number = self.spare.pop() if self.spare else next(self.numbers, None)
        if number is None:
            return False
        try:
            self.segments[number] = _Segment(number, size)
        except BaseException:
            self.spare.append(number)
            raise
        self.capacity += size
        return True

    def drop(self, segment):
        del self.segments[segment.number]
        self.spare.append(segment.number)
        self.capacity -= segment.size
        segment.close()

    def find(self, address, size):
        """The block that a span lies in, if it is one of ours and lives."""
        for segment in self.segments.values():
            start = address - segment.mapping.address
            if 0 <= start < segment.size:
                at = bisect.bisect_right(segment.starts, start) - 1
                block = segment.live[segment.starts[at]]() if at >= 0 else None
                if block is not None and start + size <= block.start + block.size:
                    return block
        return None

    def in_use(self):
        self.collect()
        return sum(s.size - sum(length for _, length in s.holes) for s in self.segments.values())

    def close(self):
        for segment in self.segments.values():
            segment.close()
        self.segments.clear()


def _check_headroom(size):
    """Shared memory past a limit meets the system's killer and not an error, so the limits are read first."""
    def read(path):
        try:
            with open(path) as file:
                return file.read()
        except OSError:
            return ""

    found = [line for line in read("/proc/meminfo").splitlines() if line.startswith("MemAvailable:")]
    if found and int(found[0].split()[1]) * 1024 < size:
        raise OutOfMemory(f"{size} bytes of shared memory are more than this machine has left")
    group = [line[3:] for line in read("/proc/self/cgroup").splitlines() if line.startswith("0::")]
    folder = "/sys/fs/cgroup" + (group[0] if group else "")
    most, now = read(folder + "/memory.max").strip(), read(folder + "/memory.current").strip()
    if most.isdigit() and now.isdigit() and int(most) - int(now) < size:
        raise OutOfMemory(f"{size} bytes of shared memory are more than this cgroup has left ({folder}/memory.max)")


class _Message:
    """A dictionary or batch, encoded once for all subscribers. `holds` keeps the blocks its addresses lie in."""

    __slots__ = ("flatbuffer", "addresses", "lengths", "holds", "total", "pairs", "id", "version")

    def __init__(self, flatbuffer, addresses, lengths, holds):
        self.flatbuffer, self.addresses, self.lengths, self.holds = flatbuffer, addresses, lengths, holds
        self.total = sum(lengths)
        self.pairs = None
        if self.total:
            numbers = itertools.chain.from_iterable(zip(addresses, lengths))
            self.pairs = struct.pack("<%dQ" % (2 + 2 * len(lengths)), self.total, len(lengths), *numbers)

    def pairs_out(self):
        return [(address, length) for address, length in zip(self.addresses, self.lengths) if length]

    def frames(self, sequence):
        metadata = b"\x01" + _U32.pack(sequence) + self.flatbuffer
        if self.pairs is None:
            return _frame(_METADATA, 0, metadata)
        return _frame(_METADATA, 0, metadata) + _frame(_TAGGED, 1 << 56 | sequence, self.pairs)


class _Sink:
    """A file for pyarrow's IPC writer that keeps what is written in parts. Buffers come as they are: nothing is copied."""

    closed = False

    def __init__(self):
        self.parts = []

    def write(self, part):
        self.parts.append(part)

    def flush(self):
        pass

    def close(self):
        pass

    def messages(self):
        """[(flatbuffer, header, {place in the body: bytes or Buffer})] of what was written since."""
        parts, self.parts, found = collections.deque(self.parts), [], []

        def take(count):
            some = b""
            while len(some) < count:
                some += bytes(parts.popleft())
            if len(some) > count:
                parts.appendleft(some[count:])
            return some[:count]

        while parts:
            marker, length = struct.unpack("<Ii", take(8))
            if marker != 0xFFFFFFFF or length <= 0:
                break  # the end of the stream
            flatbuffer = take(length)
            header, at, body = _decode(flatbuffer), 0, {}
            while at < header.body_length:
                part = parts.popleft()
                body[at] = part
                at += len(part)
            found.append((flatbuffer, header, body))
        return found


class _Connection:
    """One subscriber, as its publisher sees it."""

    __slots__ = ("sock", "fd", "frames", "queue", "queued", "phase", "extended", "cancelled", "sequence", "held", "leases",
                 "sent", "freed", "credit", "window", "known", "segments", "unacknowledged", "interest", "unread", "__weakref__")

    def __init__(self, sock):
        self.sock, self.fd = sock, sock.fileno()
        self.frames = _Frames(_FROM_CLIENT, frozenset((_TAGGED, _LENT, _RETIRED)))
        self.queue, self.queued = collections.deque(), 0
        self.phase, self.extended, self.cancelled = "greeted", False, False
        self.sequence, self.held, self.leases = 0, {}, 0
        self.sent = self.freed = self.credit = 0
        self.window, self.known, self.segments = collections.deque(), {}, set()
        self.unacknowledged, self.interest, self.unread = None, 0, 0

    def put_quickly(self, message, dictionaries):
        """Sends a writer's batch where nothing has to go before it and the socket takes it whole; otherwise does nothing."""
        if dictionaries or self.queue or type(message) is not _InPlace or not self.sequence:
            return False
        held, block, base = self.held, message.block, message.base
        places = message.template.places
        if block.segment.number not in self.segments:
            return False
        for _, offset, _ in places:
            if base + offset in held:
                return False
        data = message.frames(self.sequence)
        try:
            sent = self.sock.send(data, _AT_ONCE_QUIETLY)
        except OSError:
            return False  # full, or gone: the usual way finds out
        hold = [len(places), block]
        for _, offset, length in places:
            held[base + offset] = (length, hold)
        self.leases += 1
        self.sent += message.total
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        self.window.append(self.sent)
        self.unread += 1
        if sent < len(data):
            self.write(data[sent:])
            return None
        return True

    def put(self, message):
        for block in message.holds:
            if block is not None and block.segment.number not in self.segments:
                self.segments.add(block.segment.number)
                self.write(_frame(_LEND, block.segment.number, _U64.pack(block.segment.size)), block.segment)
        if message.total:
            out, held = message.pairs_out(), self.held
            hold = [len(out), message.holds]
            for address, length in out:
                if address not in held:
                    held[address] = (length, hold)
                elif isinstance(held[address], tuple):
                    held[address] = collections.deque((held[address], (length, hold)))
                else:
                    held[address].append((length, hold))
            self.leases += 1
            self.sent += message.total
        elif self.extended:
            self.sent += 1  # counted as one byte, or no credit would ever say that it was taken
        self.write(message.frames(self.sequence))
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF

    def write(self, data, segment=None):
        self.queue.append((data, segment))
        self.queued += len(data)

    def flush(self):
        """Sends what the socket takes, up to a segment that has to wait for the one before. OSError when it is gone."""
        while self.queue:
            data, segment = self.queue[0]
            descriptors = []
            if segment is not None:
                if self.unacknowledged is not None:
                    return
                descriptors = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [segment.fd]))]
            elif len(self.queue) > 1 and len(data) < 1 << 16:
                self.join()
                data = self.queue[0][0]
            try:
                sent = self.sock.sendmsg([data], descriptors, _AT_ONCE_QUIETLY)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ETOOMANYREFS:
                    return  # this user's unread descriptors are too many; others read theirs
                raise
            if segment is not None:
                self.unacknowledged = segment.number
            self.queued -= sent
            if sent == len(data):
                self.queue.popleft()
            else:
                self.queue[0] = (data[sent:], None)

    def join(self):
        """Makes one of what stands first in the queue without a descriptor."""
        parts, size = [], 0
        while self.queue and self.queue[0][1] is None and size < 1 << 18:
            parts.append(self.queue.popleft()[0])
            size += len(parts[-1])
        self.queue.appendleft((b"".join(parts), None))

    def has_room(self, nbytes, batches, most):
        behind = self.sent - max(self.credit, self.freed)
        return len(self.window) < batches and (not self.window or behind + nbytes <= most) and self.queued < _QUEUED

    def receive(self, publisher):
        """Reads what is there. OSError when it is gone, ProtocolError when it broke a rule."""
        self.unread = 0
        while True:
            try:
                data, _, how, _ = self.sock.recvmsg(1 << 16, 0, _AT_ONCE_QUIETLY)
            except BlockingIOError:
                break
            if how & _CUT:
                raise ProtocolError("a subscriber sent descriptors")
            if not data:
                raise ConnectionResetError
            self.frames.feed(data)
            while True:
                frame = self.frames.next()
                if frame is None:
                    break
                self.take(publisher, *frame)
            if len(data) < 1 << 16:
                break
        consumed = max(self.credit, self.freed)
        while self.window and self.window[0] <= consumed:
            self.window.popleft()

    def take(self, publisher, kind, tag, payload):
        if kind == _LENT:
            if tag != self.unacknowledged:
                raise ProtocolError(f"segment {tag} was acknowledged and not lent")
            self.unacknowledged = None
        elif kind == _RETIRED:
            publisher._retired(self, tag)
        elif self.phase == "greeted":
            if payload != publisher.topic.encode() or tag not in (_WANT, _WANT_EXT):
                raise ProtocolError("the ticket is not this topic")
            self.extended, self.phase = tag == _WANT_EXT, "streaming"
        elif tag == _FREE:
            if not payload or len(payload) % 8:
                raise ProtocolError("addresses that came back are no addresses")
            for address in struct.unpack("<%dQ" % (len(payload) >> 3), payload):
                self.release(address)
        elif tag == _WANT_EXT and self.extended:
            if not payload:
                self.cancelled = True
                return
            if len(payload) != 8 or not self.credit <= _U64.unpack(payload)[0] <= self.sent:
                raise ProtocolError("a credit runs backwards, or beyond what was sent")
            self.credit = _U64.unpack(payload)[0]
        else:
            raise ProtocolError(f"tag {tag} means nothing here")

    def release(self, address):
        entry = self.held.pop(address, None)
        if entry is None:
            raise ProtocolError(f"address {address} is not out")
        if not isinstance(entry, tuple):  # sent more than once: the oldest first, as the other side does
            entries, entry = entry, entry.popleft()
            if entries:
                self.held[address] = entries
        length, hold = entry
        self.freed += length
        hold[0] -= 1
        if not hold[0]:
            self.leases -= 1

    def finish(self, failure=None):
        """Ends the stream."""
        if self.phase == "ended":
            return
        if failure is not None and self.extended:
            self.write(_frame(_METADATA, 0, b"\xe0" + _U32.pack(self.sequence) + failure.encode()[:1 << 16]))
        else:
            self.write(_frame(_METADATA, 0, b"\0" + _U32.pack(self.sequence)))
        self.phase = "ended"


class Writer:
    """A batch that is being written where it will be read. From `Publisher.allocate`; spent by `send`.

    `writer["x"]` is a writable memoryview over column x, of the column's own numbers where memoryview knows them (`d`, `q`, …),
    and of bytes otherwise; `numpy.asarray(writer["x"])` works. Memory comes as the batch before left it: write all of it.
    """

    __slots__ = ("_layout", "_block", "_views", "_spent")

    def __init__(self, layout, block):
        self._layout, self._block, self._views, self._spent = layout, block, {}, False

    @property
    def schema(self):
        return self._layout.schema

    @property
    def rows(self):
        return self._layout.rows

    def column(self, name):
        if self._spent:
            raise Closed("this writer was sent: allocate another one")
        view = self._views.get(name)
        if view is None:
            place = self._layout.columns.get(name)
            if place is None:
                raise InvalidArgument(f"the schema has no one column {name!r}")
            offset, size, code = place
            view = _span(self._block, offset, size) if size else memoryview(bytearray())
            self._views[name] = view = view.cast(code) if code else view
        return view

    __getitem__ = column

    def batch(self):
        """The RecordBatch over this memory. Sending it sends the writer's bytes, without a copy."""
        columns = []
        for field, (offset, size) in zip(self.schema, self._layout.places):
            data = pa.foreign_buffer(self._block.address + offset, size, self._block) if size else _EMPTY
            columns.append(_fixed_array(field.type, self.rows, data))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _spend(self):
        """Takes back what can be taken back. A view that numpy still has is the caller's promise not to write it."""
        self._spent = True
        for view in self._views.values():
            try:
                view.release()
            except BufferError:
                pass
        self._views, self._block = {}, None


class _Layout:
    """Where the columns of a writer lie. Depends on schema and rows alone, as does the message that is sent of it: the `template`,
    made by the first batch of its kind."""

    __slots__ = ("schema", "rows", "places", "columns", "size", "template")

    def __init__(self, schema, rows):
        self.schema, self.rows, self.places, self.columns, self.template = schema, rows, [], {}, None
        at = 0
        for field in schema:
            width = _width_of(field.type)
            if width is None:
                raise UnsupportedType(f"column {field.name!r} of type {field.type} has no fixed width: build it over buffer(nbytes), "
                                      "or send a finished batch")
            size = (width * rows + 7) // 8
            self.places.append((at, size))
            self.columns[field.name] = None if field.name in self.columns else (at, size, _code_of(field.type))
            at += -(-size // _ALIGN) * _ALIGN
        self.size = at


class _Template:
    """A message but for its number and its addresses."""

    __slots__ = ("struct", "before", "between", "numbers", "places", "total")

    def __init__(self, message, base):
        count = len(message.lengths)
        self.struct = struct.Struct("<17sI%ds8sQ%dQ" % (len(message.flatbuffer), 2 + 2 * count))
        self.before = _U32.pack(5 + len(message.flatbuffer)) + _BEFORE
        self.between = (message.flatbuffer, _U32.pack(16 + 16 * count) + _BETWEEN)
        self.numbers, self.places, self.total = [message.total, count], [], message.total
        for address, length in zip(message.addresses, message.lengths):
            if length:
                self.places.append((len(self.numbers), address - base, length))
            self.numbers += [0, length]


class _InPlace:
    """A writer's batch, as `_Message`."""

    __slots__ = ("template", "block", "base", "total")

    def __init__(self, template, block):
        self.template, self.block, self.total = template, block, template.total
        self.base = block.segment.number << _ADDRESS_BITS | block.start

    @property
    def holds(self):
        return (self.block,)

    def pairs_out(self):
        base = self.base
        return [(base + offset, length) for _, offset, length in self.template.places]

    def frames(self, sequence):
        template, base = self.template, self.base
        numbers = template.numbers[:]
        for at, offset, _ in template.places:
            numbers[at] = base + offset
        return template.struct.pack(template.before, sequence, *template.between, 1 << 56 | sequence, *numbers)


def _code_of(kind):
    """How memoryview calls a type's numbers; None for bytes."""
    types = pa.types
    if types.is_integer(kind):
        codes = {1: "bB", 2: "hH", 4: "iI", 8: "qQ"}[kind.bit_width // 8]
        return codes[types.is_unsigned_integer(kind)]
    if types.is_floating(kind):
        return {32: "f", 64: "d"}.get(kind.bit_width)
    if types.is_temporal(kind) and not types.is_interval(kind):
        return {32: "i", 64: "q"}.get(kind.bit_width)
    return None


def _width_of(kind):
    """Bits of a value; None for types that cannot be written in place."""
    if isinstance(kind, pa.BaseExtensionType):
        return _width_of(kind.storage_type)
    if pa.types.is_fixed_size_list(kind):
        within = _width_of(kind.value_type)
        return None if within is None else within * kind.list_size
    try:
        return None if pa.types.is_dictionary(kind) or kind.num_fields else kind.bit_width
    except ValueError:
        return None


def _fixed_array(kind, rows, data):
    if isinstance(kind, pa.BaseExtensionType):
        return kind.wrap_array(_fixed_array(kind.storage_type, rows, data))
    if pa.types.is_fixed_size_list(kind):
        values = _fixed_array(kind.value_type, rows * kind.list_size, data)
        return pa.Array.from_buffers(kind, rows, [None], 0, 0, [values])
    return pa.Array.from_buffers(kind, rows, [None, data], 0)


Statistics = collections.namedtuple("Statistics", "subscribers leases bytes_in_use capacity")
Statistics.__doc__ = """A publisher's figures: subscribers that take part; batches and dictionaries that they hold or have not taken
yet; bytes of blocks that are written, queued or held; bytes of shared memory taken."""


def publish(topic, memory=1 << 30, queue_batches=64, queue_bytes=256 << 20, min_subscribers=1, timeout=None,
            strict_zero_copy=False):
    """A topic's sending side, as a context manager; leaving it ends the stream.

    Takes up to `memory` bytes of shared memory, as it is needed. `send` waits while there are fewer than
    `min_subscribers`, or one of them is `queue_batches` or `queue_bytes` behind: nothing is lost. `timeout` bounds every wait, in
    seconds (TimedOut: it was not sent). With `strict_zero_copy`, CopyRequired instead of a copy.
    """
    return Publisher(topic, memory, queue_batches, queue_bytes, min_subscribers, timeout, strict_zero_copy)


class Publisher:
    """A topic's sending side; see `publish`. Any thread may use it; sends go one after the other."""

    def __init__(self, topic, memory=1 << 30, queue_batches=64, queue_bytes=256 << 20, min_subscribers=1, timeout=None,
                 strict_zero_copy=False):
        if memory < _PAGE or not 1 <= queue_batches <= 65_536 or queue_bytes < 1 or min_subscribers < 0:
            raise InvalidArgument("memory has at least a page, queue_batches is 1 to 65,536, and no number is below 0")
        self.topic, self.strict_zero_copy, self.timeout = topic, strict_zero_copy, timeout
        self._queue, self._least = (queue_batches, queue_bytes), min_subscribers
        self._schema = self._schema_message = self._writer = None
        self._sink, self._layouts = _Sink(), {}
        self._dictionaries, self._versions = {}, itertools.count(1)
        self._pool, self._connections, self._closed = _Pool(memory), {}, False
        self._lock, self._sending = threading.RLock(), threading.Lock()
        self._folder = _Folder()
        try:
            self._listener, self._inode = self._folder.listen(topic)
        except BaseException:
            self._folder.close()
            raise
        path = urllib.parse.quote(os.path.join(self._folder.path, _file_name(topic)))
        tags = f"want_data={_WANT}&free_data={_FREE}&want_data_ext={_WANT_EXT}"
        self.uri = f"shm://{path}?{tags}&boot={_boot_id()}&topic={urllib.parse.quote(topic, safe='')}"
        self._epoll = select.epoll()
        self._wake_in, self._wake_out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)    # for who waits in a call
        self._stop_in, self._stop_out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)    # for the thread
        self._epoll.register(self._listener, select.EPOLLIN)
        self._epoll.register(self._stop_in, select.EPOLLIN)
        _publishers[id(self)] = weakref.ref(self)
        self._door = _Door(self)
        self._door.start()

    # What everybody uses.

    @property
    def subscribers(self):
        """Subscribers that take part."""
        with self._lock:
            self._read_all()
            return sum(c.phase == "streaming" for c in self._connections.values())

    def statistics(self):
        """Figures at this moment: `Statistics`."""
        with self._lock:
            self._read_all()
            streaming = sum(c.phase == "streaming" for c in self._connections.values())
            leases = sum(c.leases for c in self._connections.values())
            return Statistics(streaming, leases, self._pool.in_use(), self._pool.capacity)

    def buffer(self, nbytes, timeout=None):
        """A writable memoryview of shared memory, aligned to a page. Arrays over it are sent without a copy:
        `pa.py_buffer(view)`, `numpy.frombuffer(view, …)`. It is used again when neither this process nor a subscriber refers to it;
        do not write it any more once it was sent."""
        return _span(self._block(nbytes, self._until(timeout)), 0, nbytes)

    def allocate(self, schema, rows, timeout=None):
        """A `Writer`: memory for `rows` rows without nulls, written in place. Types of fixed width, and fixed-size lists of them;
        other columns are built over `buffer(nbytes)`."""
        layout = self._layouts.get((id(schema), rows))
        if layout is None:
            layout = _Layout(schema, rows)
            if len(self._layouts) >= 64:
                self._layouts.clear()
            self._layouts[id(schema), rows] = layout  # which keeps the schema, so that its id stays its own
        return Writer(layout, self._block(layout.size, self._until(timeout)))

    def send(self, what, metadata=None, timeout=None):
        """Sends a RecordBatch, Table or `Writer` to every subscriber; returns their number when it is on its way.

        Buffers in this publisher's memory are not copied; others are, once, into one block. `metadata` are key/values that go along.
        The first batch fixes the topic's schema.
        """
        deadline = self._until(timeout)
        if isinstance(what, pa.Table):
            return max([self.send(batch, metadata, timeout) for batch in what.to_batches()], default=0)
        with self._sending:
            if isinstance(what, Writer):
                if what._spent:
                    raise Closed("this writer was sent: allocate another one")
                message = self._encode_writer(what, metadata, deadline)
            elif isinstance(what, pa.RecordBatch):
                message = self._encode(what, metadata, deadline)
            else:
                raise InvalidArgument(f"a RecordBatch, a Table or a Writer can be sent, not {type(what).__name__}")
            with self._lock:
                if self._closed or not self._is_ready(message.total):
                    self._wait(lambda: self._has_room(message.total), deadline)
                count = self._put(message)
            if isinstance(what, Writer):
                what._spend()
            return count

    def close(self, timeout=5.0):
        """Ends every subscriber's stream after what was sent, and gives the name free. What subscribers hold stays valid.

        Waits up to `timeout` seconds for subscribers that are slow to read.
        """
        self._finish(None, timeout)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        failure = None if kind is None or issubclass(kind, GeneratorExit) else f"ERR_PRODUCER: {kind.__name__}: {error}"
        self._finish(failure, 5.0)

    def __del__(self):
        if hasattr(self, "_door"):
            self._finish(None, 0)

    # Encoding.

    def _until(self, timeout):
        return _deadline(self.timeout if timeout is None else timeout)

    def _block(self, nbytes, deadline):
        with self._lock:
            block = None if self._closed else self._pool.take(nbytes)
        if block is not None:
            return block
        if nbytes > self._pool.memory:
            raise OutOfMemory(f"{nbytes} bytes can never fit into memory={self._pool.memory}: raise it, or send smaller batches")
        found = []

        def take():
            block = self._pool.take(nbytes)
            if block is None:
                self._read_all()  # frees that nobody has read yet
                block = self._pool.take(nbytes)
            if block is None and self._pool.grow(nbytes):
                block = self._pool.take(nbytes)
            if block is None:
                self._make_room()
            else:
                found.append(block)
            return block is not None

        with self._lock:
            self._wait(take, deadline, look_again=50)
        return found[0]

    def _fix(self, schema):
        if self._schema is None:
            flatbuffer = schema.serialize()
            self._schema, self._schema_message = schema, bytes(flatbuffer)[8:]
        elif not self._schema.equals(schema):
            raise SchemaMismatch(f"the topic's schema is\n{self._schema}\nand this batch's\n{schema}")

    def _encode_writer(self, writer, metadata, deadline):
        layout, block = writer._layout, writer._block
        if layout.template is not None and not metadata:
            return _InPlace(layout.template, block)
        message = self._encode(writer.batch(), metadata, deadline)
        if not metadata and message.total:
            layout.template = _Template(message, block.segment.number << _ADDRESS_BITS | block.start)
        return message

    def _encode(self, batch, metadata, deadline):
        """The message of a batch; its new dictionaries become the topic's."""
        self._fix(batch.schema)
        try:
            if self._writer is None:
                self._writer = pa.ipc.new_stream(self._sink, self._schema)
                self._sink.messages()  # the schema, which goes to each subscriber by itself
            if metadata:
                self._writer.write_batch(batch, custom_metadata=metadata)
            else:
                self._writer.write_batch(batch)
            message = None
            for flatbuffer, header, body in self._sink.messages():
                if header.kind == _SCHEMA:
                    continue
                message = self._lay(flatbuffer, header, body, deadline)
                if header.kind == _DICTIONARY:
                    message.id, message.version = header.id, next(self._versions)
                    with self._lock:
                        # Behind the others: what is inside its values was written before it.
                        self._dictionaries.pop(header.id, None)
                        self._dictionaries[header.id] = message
            return message
        except BaseException:
            # The writer may believe that a dictionary was sent: another one writes them all again.
            self._writer, self._sink = None, _Sink()
            raise

    def _lay(self, flatbuffer, header, body, deadline):
        """Finds each buffer of a body a place in shared memory: where it is, or in a block of copies."""
        addresses, holds, copies, needed = [], [], [], 0
        for offset, length in zip(header.offsets, header.lengths):
            part = body.get(offset) if length else None
            if part is None:
                if length:
                    raise UnsupportedType("this version of pyarrow writes a batch's body otherwise than is known here")
                addresses.append(0)
                holds.append(None)
                continue
            if not isinstance(part, pa.Buffer):
                part = pa.py_buffer(part)
            block = self._pool_find(part)
            if block is None or (part.address % _ALIGN and part.address % 8):
                copies.append((len(addresses), needed, part, length))
                needed += -(-length // _ALIGN) * _ALIGN
                addresses.append(0)
            else:
                addresses.append(block.on_the_wire(part.address))
            holds.append(block)
        if needed:
            if self.strict_zero_copy:
                raise CopyRequired(f"{needed} bytes lie outside of the publisher's memory: build the batch over allocate or buffer")
            block = self._block(needed, deadline)
            for at, offset, part, length in copies:
                ctypes.memmove(block.address + offset, part.address, min(length, part.size))
                addresses[at], holds[at] = block.on_the_wire(block.address + offset), block
        return _Message(flatbuffer, addresses, list(header.lengths), holds)

    def _pool_find(self, part):
        with self._lock:
            self._pool.collect()
            return self._pool.find(part.address, part.size)

    # Connections. All of it with the lock held.

    def _is_ready(self, total):
        """Whether all have room, as far as is known without reading what came back."""
        count, (batches, most) = 0, self._queue
        unread = min(_UNREAD, batches)
        for connection in self._connections.values():
            if connection.phase == "streaming":
                count += 1
                if connection.unread >= unread or connection.queue or not connection.has_room(total, batches, most):
                    return False
        return count >= self._least

    def _has_room(self, total):
        self._read_all()
        streaming = [c for c in self._connections.values() if c.phase == "streaming"]
        batches, most = self._queue
        return len(streaming) >= self._least and all(c.has_room(total, batches, most) for c in streaming)

    def _put(self, message):
        count = 0
        for connection in list(self._connections.values()):
            if connection.phase != "streaming":
                continue
            count += 1
            quick = connection.put_quickly(message, self._dictionaries)
            if quick is not False:
                if quick is None:
                    self._flush(connection)
                continue
            if "schema" not in connection.known:
                connection.known["schema"] = None
                connection.write(_frame(_METADATA, 0, b"\x01" + _U32.pack(connection.sequence) + self._schema_message))
                connection.sequence += 1
            for dictionary in self._dictionaries.values():
                if connection.known.get(dictionary.id) != dictionary.version:
                    connection.known[dictionary.id] = dictionary.version
                    connection.put(dictionary)
            connection.put(message)
            connection.window.append(connection.sent)
            connection.unread += 1
            self._flush(connection)
        return count

    def _flush(self, connection):
        try:
            connection.flush()
        except OSError:
            self._forget(connection)
            return
        self._watch(connection)

    def _watch(self, connection, rearm=False):
        """Has the thread look after what a call leaves behind: bytes that the socket did not take."""
        if connection.interest == _LATER and not rearm and not connection.queue:
            return
        interest = _ARRIVALS
        if connection.queue and connection.unacknowledged is None:
            interest |= select.EPOLLOUT
        if rearm or interest != connection.interest:
            connection.interest = interest
            self._epoll.modify(connection.fd, interest)

    def _read(self, connection):
        try:
            connection.receive(self)
            if connection.cancelled and connection.phase == "streaming":
                connection.finish()
            connection.flush()
            if connection.phase == "ended" and not connection.held and not connection.queue:
                self._forget(connection)
        except (OSError, ProtocolError):
            self._forget(connection)

    def _read_all(self):
        for connection in list(self._connections.values()):
            if connection.phase != "greeted":
                self._read(connection)

    def _forget(self, connection):
        """Ends a connection, and with it all of its leases."""
        if self._connections.pop(connection.fd, None) is None:
            return
        self._epoll.unregister(connection.fd)
        connection.sock.close()
        connection.held.clear()
        connection.queue.clear()
        connection.leases, connection.phase = 0, "gone"
        for segment in [s for s in self._pool.segments.values() if s.retired]:
            segment.retired.discard(connection)
            self._settle(segment)
        self._poke()

    def _make_room(self):
        """Gives up segments that lie idle, as their memory may be used for one that is large enough."""
        for segment in list(self._pool.segments.values()):
            if segment.retired is None and segment.is_idle():
                segment.retired = set()
                for connection in list(self._connections.values()):
                    if segment.number in connection.segments and connection.phase == "streaming":
                        segment.retired.add(connection)
                        connection.write(_frame(_RETIRE, segment.number))
                        self._flush(connection)
                self._settle(segment)

    def _retired(self, connection, number):
        segment = self._pool.segments.get(number)
        if segment is None or not segment.retired or connection not in segment.retired:
            raise ProtocolError(f"segment {number} was not retired")
        connection.segments.discard(number)
        segment.retired.discard(connection)
        self._settle(segment)

    def _settle(self, segment):
        if segment.retired is not None and not segment.retired and segment.number in self._pool.segments:
            for connection in self._connections.values():
                connection.segments.discard(segment.number)
            self._pool.drop(segment)

    def _poke(self):
        try:
            os.write(self._wake_out, b"\0")
        except (BlockingIOError, OSError):
            pass

    def _wait(self, happened, deadline, look_again=None):
        """Waits for something that subscribers bring about; the lock is held, and let go meanwhile.

        Looks every `look_again` milliseconds for what this process brings about, which tells nobody.
        """
        while True:
            if self._closed:
                raise Closed(f"the publisher of {self.topic!r} was closed")
            if happened():
                return
            poll = select.poll()
            poll.register(self._wake_in, select.POLLIN)
            for connection in self._connections.values():
                if connection.phase != "greeted":
                    writing = connection.queue and connection.unacknowledged is None
                    poll.register(connection.fd, select.POLLIN | (select.POLLOUT if writing else 0))
            left = _patiently(deadline)
            self._lock.release()
            try:
                limits = [ms for ms in (look_again, None if left is None else max(1, round(left * 1000))) if ms is not None]
                poll.poll(min(limits, default=None))
            finally:
                self._lock.acquire()
            try:
                os.read(self._wake_in, 4096)
            except (BlockingIOError, OSError):
                pass
            if not self._closed:
                self._read_all()

    def _finish(self, failure, patience):
        with self._lock:
            if self._closed:
                return
            self._closed = True
            _publishers.pop(id(self), None)
            for connection in list(self._connections.values()):
                connection.finish(failure)
            deadline = time.monotonic() + patience
            while True:
                for connection in list(self._connections.values()):
                    try:
                        connection.receive(self)
                        connection.flush()
                    except (OSError, ProtocolError):
                        self._forget(connection)
                owed = [c for c in self._connections.values() if c.queue and not c.cancelled]
                if not owed or time.monotonic() >= deadline:
                    break
                poll = select.poll()
                for connection in owed:
                    poll.register(connection.fd, select.POLLIN | select.POLLOUT if connection.unacknowledged is None else select.POLLIN)
                poll.poll(50)
            try:
                self._folder.forget(self.topic, self._inode)
            except OSError:
                pass
            for connection in list(self._connections.values()):
                self._forget(connection)
            self._poke()
            os.write(self._stop_out, b"\0")
        if threading.current_thread() is not self._door:
            self._door.join()
        self._release()

    def _release(self):
        self._listener.close()
        self._epoll.close()
        for fd in (self._wake_in, self._wake_out, self._stop_in, self._stop_out):
            os.close(fd)
        self._folder.close()
        self._dictionaries.clear()
        self._pool.close()


class _Door(threading.Thread):
    """Lets subscribers in, and looks after connections while nobody calls the publisher.

    Frees and credits are read by `send` itself. What comes while nobody sends is read some milliseconds later, so that this thread
    does not fight with the sender over each of them.
    """

    def __init__(self, publisher):
        super().__init__(name="arrowlane publisher", daemon=True)
        self.publisher = weakref.ref(publisher)
        self.epoll, self.listener = publisher._epoll, publisher._listener.fileno()
        self.stop = publisher._stop_in

    def run(self):
        later = set()
        while True:
            try:
                events = self.epoll.poll(_TICK if later else None)
            except ValueError:  # closed by this very thread, which had the last reference
                return
            publisher = self.publisher()
            if publisher is None or publisher._closed or any(fd == self.stop for fd, _ in events):
                return
            with publisher._lock:
                if publisher._closed:
                    return
                for fd, _ in events:
                    connection = publisher._connections.get(fd)
                    if fd == self.listener:
                        self.welcome(publisher)
                    elif connection is not None:
                        if connection.phase == "greeted" or connection.queue:
                            self.serve(publisher, connection)
                        else:
                            connection.interest = _LATER
                            later.add(connection)
                if not events:
                    for connection in later:
                        if connection.phase != "gone":
                            self.serve(publisher, connection)
                    later.clear()
            del publisher

    @staticmethod
    def serve(publisher, connection):
        before = connection.phase
        publisher._read(connection)
        if connection.phase != "gone":
            publisher._watch(connection, rearm=True)
        if connection.phase != before:
            publisher._poke()

    @staticmethod
    def welcome(publisher):
        while True:
            try:
                sock, _ = publisher._listener.accept()
            except (BlockingIOError, OSError):
                return
            try:
                _check_peer(sock)
            except ArrowlaneError:
                sock.close()
                continue
            if len(publisher._connections) >= _CONNECTIONS:
                silent = [c for c in publisher._connections.values() if c.phase == "greeted"]
                if not silent:
                    sock.close()
                    continue
                publisher._forget(silent[0])
            connection = _Connection(sock)
            publisher._connections[connection.fd] = connection
            publisher._epoll.register(connection.fd, 0)
            connection.write(_frame(_GREETING, 0, publisher.uri.encode()))
            publisher._flush(connection)


_ARRIVALS = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT
_LATER = -1         # a connection's interest while the thread waits for company before it reads
_publishers = {}    # weak references by identity

# ----------------------------------------------------------------------------------------------------------- forks


def _after_fork():
    """In a forked child: connections and names are the parent's, so the child lets go of them without a word to anybody.

    Batches that the parent held must not be read in the child: the parent's lease is not the child's.
    """
    for reference in list(_mappings.values()):
        mapping = reference()
        if mapping is not None:
            mapping.keepers = ()
    for link in _live_links():
        link.lock, link.gone, link.keeper = threading.Lock(), True, None
        link.returned.clear()
        link.sock.close()
    for publisher in [reference() for reference in list(_publishers.values())]:
        if publisher is not None:
            publisher._closed, publisher._lock = True, threading.RLock()
            for connection in publisher._connections.values():
                connection.sock.close()
            publisher._release()
    _links.clear()
    _publishers.clear()
    _keeper.__init__()


os.register_at_fork(after_in_child=_after_fork)
