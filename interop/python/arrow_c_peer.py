"""pyarrow against arrowlane's Arrow C structs, in one process, over addresses.

    python arrow_c_peer.py LIBRARY        (LIBRARY: the example `arrow_c_peer` of crates/arrow-c)

Each check prints a line; the last line is `N checks passed`. The first failure ends it with exit code 1.
"""

import ctypes
import decimal
import gc
import sys

import pyarrow as pa

DEVICE_ARRAY, ARRAY, SCHEMA, STREAM = 128, 80, 72, 40


class Room:
    """Zeroed, 8-aligned memory for C structs."""

    def __init__(self, *sizes):
        self.memory = [(ctypes.c_uint64 * (size // 8))() for size in sizes]
        self.addresses = [ctypes.addressof(m) for m in self.memory]


def load(path):
    lib = ctypes.CDLL(path)
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    lib.peer_error.restype = ctypes.c_char_p
    lib.peer_live_exports.restype = size
    lib.peer_sample_count.restype = size
    for name in ("peer_round_trip_device", "peer_round_trip_host"):
        getattr(lib, name).argtypes = [pointer] * 4
    lib.peer_round_trip_stream.argtypes = [pointer] * 2
    for name in ("peer_sample", "peer_check"):
        getattr(lib, name).argtypes = [size, pointer, pointer]
    lib.peer_hold.argtypes, lib.peer_hold.restype = [pointer] * 2, pointer
    lib.peer_drop_elsewhere.argtypes = lib.peer_release_elsewhere.argtypes = [pointer]
    return lib


def ok(lib, result):
    if result != 0:
        raise AssertionError(lib.peer_error().decode())


def arrays():
    """Six values of every type that pyarrow can make, by name."""
    numbers = [1, None, 3, 4, None, 6]
    words = ["short", None, "a text that is longer than twelve bytes", "", "żółć 🦀 and more than twelve", "end"]
    for t in [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
              pa.float16(), pa.float32(), pa.float64(), pa.date32(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"),
              pa.timestamp("s"), pa.timestamp("ms", "Europe/Berlin"), pa.timestamp("us"), pa.timestamp("ns", "UTC"),
              pa.duration("s"), pa.duration("ms"), pa.duration("us"), pa.duration("ns"), pa.null(), pa.bool_(),
              pa.utf8(), pa.large_utf8(), pa.binary(), pa.large_binary(), pa.string_view(), pa.binary_view()]:
        if pa.types.is_null(t):
            values = [None] * 6
        elif pa.types.is_boolean(t):
            values = [True, None, False, True, None, True]
        elif "string" in str(t):
            values = words
        elif "binary" in str(t):
            values = [w and w.encode() for w in words]
        elif pa.types.is_float16(t):
            yield str(t), pa.array([1.0, None, 3.0, 4.0, None, 6.0], pa.float32()).cast(t)
            continue
        else:
            values = numbers
        yield str(t), pa.array(values, t)
    yield "date64", pa.array([0, None, 86400000, 0, None, 86400000], pa.int64()).view(pa.date64())
    yield "month_day_nano", pa.array([(1, 2, 3), None, (-1, 5, 7), (0, 0, 0), None, (0, 1, 0)], pa.month_day_nano_interval())
    for t in [pa.decimal32(9, 2), pa.decimal64(18, 3), pa.decimal128(38, 10), pa.decimal256(76, -2)]:
        yield str(t), pa.array([v and decimal.Decimal(v * 100) for v in numbers], t)
    yield "fixed_size_binary", pa.array([b"abcde", None, b"fghij", b"klmno", None, b"pqrst"], pa.binary(5))
    yield "no validity", pa.array([1, 2, 3, 4, 5, 6])
    lists = [[1, None], None, [], [2, 3, 4], [5], [None]]
    yield "list", pa.array(lists, pa.list_(pa.int32()))
    yield "large_list", pa.array(lists, pa.large_list(pa.int32()))
    yield "list_view", pa.array(lists, pa.list_view(pa.int32()))
    yield "large_list_view", pa.array(lists, pa.large_list_view(pa.int32()))
    yield "fixed_size_list", pa.array([[1, 2], None, [3, None], [5, 6], [7, 8], None], pa.list_(pa.int64(), 2))
    points = [{"x": 1, "s": "a"}, None, {"x": None, "s": "b"}, {"x": 4, "s": None}, {"x": 5, "s": "e"}, {"x": 6, "s": "f"}]
    point = pa.struct([("x", pa.int32()), ("s", pa.utf8())])
    yield "struct", pa.array(points, point)
    yield "struct of struct", pa.array([p and {"inner": p} for p in points], pa.struct([("inner", point)]))
    yield "list of struct", pa.array([[points[0]], None, points[1:4], [], [points[5]], []], pa.list_(point))
    yield "fixed_size_list of struct", pa.array([points[i:i + 2] if i != 2 else None for i in (0, 1, 2, 3, 4, 0)], pa.list_(point, 2))
    yield "map", pa.array([[("a", 1), ("b", None)], None, [], [("c", 3)], [("d", 4)], []], pa.map_(pa.utf8(), pa.int64()))
    yield "map, sorted", pa.array([[("a", 1)], None, [], [("c", 3)], [], []], pa.map_(pa.utf8(), pa.int64(), keys_sorted=True))
    yield "dictionary", pa.array(words).dictionary_encode()
    yield "dictionary, ordered", pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2, 0, 1], pa.uint16()), pa.array(["x", "y", "z"]), ordered=True)
    yield "dictionary of struct", pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 5, 0, 1], pa.int8()), pa.array(points, point))
    yield "run_end_encoded", pa.RunEndEncodedArray.from_arrays(pa.array([2, 3, 6], pa.int32()), pa.array(["a", None, "c"]))
    yield "run_end_encoded of int16", pa.RunEndEncodedArray.from_arrays(pa.array([1, 5, 6], pa.int16()), pa.array([1.5, None, 2.5]))
    yield "sparse_union", pa.UnionArray.from_sparse(
        pa.array([0, 1, 0, 1, 1, 0], pa.int8()), [pa.array(numbers), pa.array(points, point)], ["i", "p"], [0, 1])
    yield "dense_union", pa.UnionArray.from_dense(
        pa.array([3, 7, 3, 7, 7, 3], pa.int8()), pa.array([0, 0, 1, 1, 2, 2], pa.int32()), [pa.array(numbers), pa.array(points, point)], ["i", "p"], [3, 7])
    yield "extension", pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes([i]) * 16 for i in range(6)], pa.binary(16)))


def batches():
    for name, array in arrays():
        field = pa.field(name, array.type, metadata={"k": "v", "ключ": "значение"})
        schema = pa.schema([field], metadata={"made": "by pyarrow"})
        yield name, pa.record_batch([array], schema=schema)
        yield name + ", sliced 1..4", pa.record_batch([array.slice(1, 3)], schema=schema)
        yield name + ", batch sliced 2..6", pa.record_batch([array], schema=schema).slice(2)
        yield name + ", no rows", pa.record_batch([array.slice(3, 0)], schema=schema)
        nested = pa.StructArray.from_arrays([array], fields=[field])
        deeper = pa.StructArray.from_arrays([nested.slice(1, 4)], ["inner"]).slice(1, 2)
        yield name + ", in sliced structs", pa.record_batch([deeper], ["outer"])
        yield name + ", empty", pa.record_batch([empty(array)], schema=schema)
    yield "no columns", pa.record_batch([], schema=pa.schema([]))
    yield "two columns", pa.record_batch([pa.array([1, 2]), pa.array(["a", None])], ["a", "b"])


def empty(array):
    """An array of no values, made as such where pyarrow can, so that its buffers may be missing."""
    try:
        return pa.array([], array.type)
    except (pa.ArrowException, TypeError, ValueError):
        return array.slice(0, 0)


def same(a, b):
    return a.schema.equals(b.schema, check_metadata=True) and a.equals(b, check_metadata=True)


def addresses(batch):
    """Where the values of top-level columns lie (validity of slices may be copied, so it is left out)."""
    return [[b and (b.address if b.size else 0) for b in column.buffers()[1:]] for column in batch.columns]


def through_device(lib, batch):
    room = Room(DEVICE_ARRAY, SCHEMA, DEVICE_ARRAY, SCHEMA)
    batch._export_to_c_device(room.addresses[0], room.addresses[1])
    ok(lib, lib.peer_round_trip_device(*room.addresses))
    return pa.RecordBatch._import_from_c_device(*room.addresses[2:])


def through_host(lib, batch):
    room = Room(ARRAY, SCHEMA, ARRAY, SCHEMA)
    batch._export_to_c(*room.addresses[:2])
    ok(lib, lib.peer_round_trip_host(*room.addresses))
    return pa.RecordBatch._import_from_c(*room.addresses[2:])


def check_pyarrow_batches(lib, check):
    """What pyarrow exports comes back from Rust equal, valid, in place."""
    for name, batch in batches():
        for way, through in (("device", through_device), ("host", through_host)):
            back = through(lib, batch)
            back.validate(full=True)
            assert same(back, batch), f"{name}: {back} is not {batch}"
            check(f"pyarrow -> rust -> pyarrow, {way}: {name}")


def check_zero_copy(lib, check):
    for name, array in arrays():
        if pa.types.is_nested(array.type) or pa.types.is_dictionary(array.type) or pa.types.is_run_end_encoded(array.type):
            continue
        batch = pa.record_batch([array], [name])
        back = through_device(lib, batch)
        here, there = addresses(batch), addresses(back)
        assert here == there, f"{name}: {here} became {there}"
        check(f"same addresses: {name}")
    values = pa.array(range(1_000_000))
    batch = pa.record_batch([pa.StructArray.from_arrays([values], ["v"])], ["s"])
    back = through_device(lib, batch)
    assert back.column(0).field(0).buffers()[1].address == values.buffers()[1].address
    check("same addresses: a child")


def check_rust_batches(lib, check):
    """What Rust exports is valid to pyarrow and comes back to Rust equal."""
    for index in range(lib.peer_sample_count()):
        room = Room(DEVICE_ARRAY, SCHEMA, DEVICE_ARRAY, SCHEMA)
        ok(lib, lib.peer_sample(index, *room.addresses[:2]))
        batch = pa.RecordBatch._import_from_c_device(*room.addresses[:2])
        batch.validate(full=True)
        batch._export_to_c_device(*room.addresses[2:])
        ok(lib, lib.peer_check(index, *room.addresses[2:]))
        check(f"rust -> pyarrow -> rust: sample {index} {batch.schema.names[:1]}")


def check_streams(lib, check):
    schema = pa.schema([("a", pa.int64()), ("b", pa.utf8())])
    table = pa.table([pa.array(range(10)), pa.array([str(i) for i in range(10)])], schema=schema)
    room = Room(STREAM, STREAM)
    pa.RecordBatchReader.from_batches(schema, table.to_batches(max_chunksize=3))._export_to_c(room.addresses[0])
    ok(lib, lib.peer_round_trip_stream(*room.addresses))
    reader = pa.RecordBatchReader._import_from_c(room.addresses[1])
    assert reader.read_all().equals(table)
    check("a stream through rust")

    def fails():
        yield table.to_batches()[0]
        raise ValueError("no luck in python")

    room = Room(STREAM, STREAM)
    pa.RecordBatchReader.from_batches(schema, fails())._export_to_c(room.addresses[0])
    ok(lib, lib.peer_round_trip_stream(*room.addresses))
    reader = pa.RecordBatchReader._import_from_c(room.addresses[1])
    reader.read_next_batch()
    try:
        reader.read_next_batch()
        raise AssertionError("the error was lost")
    except (pa.ArrowException, OSError, ValueError) as error:
        assert "no luck in python" in str(error), error
    check("an error through two streams keeps its text")


def check_release(lib, check):
    """Memory goes back when the last holder lets go, and not before, whoever that is."""
    gc.collect()
    floor = pa.total_allocated_bytes()
    room = Room(DEVICE_ARRAY, SCHEMA)
    batch = pa.record_batch([pa.array(range(100_000))], ["n"])
    size = pa.total_allocated_bytes()
    batch._export_to_c_device(*room.addresses)
    held = lib.peer_hold(*room.addresses)
    assert held, lib.peer_error().decode()
    del batch
    gc.collect()
    assert pa.total_allocated_bytes() >= size, "freed while Rust held it"
    ok(lib, lib.peer_drop_elsewhere(held))
    assert pa.total_allocated_bytes() == floor, (pa.total_allocated_bytes(), floor)
    check("pyarrow's memory is freed by a foreign thread")

    before = lib.peer_live_exports()
    room = Room(DEVICE_ARRAY, SCHEMA)
    ok(lib, lib.peer_sample(0, *room.addresses))
    assert lib.peer_live_exports() > before
    batch = pa.RecordBatch._import_from_c_device(*room.addresses)
    column = batch.column(0).slice(1, 2)
    del batch
    gc.collect()
    assert lib.peer_live_exports() > before, "released while pyarrow held a slice"
    del column
    gc.collect()
    assert lib.peer_live_exports() == before
    check("Rust's memory is released with pyarrow's last slice")

    room = Room(DEVICE_ARRAY, SCHEMA)
    ok(lib, lib.peer_sample(0, *room.addresses))
    ok(lib, lib.peer_release_elsewhere(room.addresses[0]))
    assert lib.peer_live_exports() == before
    check("a release on a foreign thread")


def main():
    lib = load(sys.argv[1])
    passed = 0

    def check(what):
        nonlocal passed
        passed += 1
        print("ok", what)

    gc.collect()
    allocated, live = pa.total_allocated_bytes(), lib.peer_live_exports()
    for part in (check_pyarrow_batches, check_zero_copy, check_rust_batches, check_streams, check_release):
        part(lib, check)
        gc.collect()
        assert pa.total_allocated_bytes() == allocated, f"{part.__name__} leaked {pa.total_allocated_bytes() - allocated} bytes of pyarrow's"
        assert lib.peer_live_exports() == live, f"{part.__name__} left {lib.peer_live_exports() - live} exports unreleased"
    print(f"{passed} checks passed with pyarrow {pa.__version__}")


if __name__ == "__main__":
    main()
