"""What both sides know: datasets that can be made again from their names."""

import decimal
import functools

import pyarrow as pa
import pyarrow.compute as pc

LARGE = 13_200_000


def every(rows=37):
    at = range(rows)
    text = lambda n: f"a rather long string, number {n}, åäö" if n % 4 == 0 else f"s{n}"

    def some(make, kind):
        return pa.array([None if n % 5 == 3 else make(n) for n in at], kind)

    columns = {"null": pa.nulls(rows), "bool": some(lambda n: n % 3 == 0, pa.bool_())}
    for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float32(), pa.float64()):
        columns[str(kind)] = some(lambda n: n, kind)
    for kind in (pa.date32(), pa.time32("s")):
        columns[str(kind)] = some(lambda n: n, pa.int32()).view(kind)
    for kind in (pa.time64("ns"), pa.timestamp("us", "UTC"), pa.duration("ms")):
        columns[str(kind)] = some(lambda n: n, pa.int64()).view(kind)
    for kind in (pa.utf8(), pa.large_utf8(), pa.string_view()):
        columns[str(kind)] = some(text, kind)
    for kind in (pa.binary(), pa.binary_view()):
        columns[str(kind)] = some(lambda n: text(n).encode(), kind)
    columns["fixed"] = some(lambda n: bytes([n, 1, 2]), pa.binary(3))
    columns["decimal"] = some(lambda n: decimal.Decimal(n) / 4, pa.decimal128(30, 2))
    columns["list"] = some(lambda n: list(range(n % 4)), pa.list_(pa.int32()))
    columns["large_list"] = some(lambda n: [text(n)] * (n % 3), pa.large_list(pa.utf8()))
    columns["fixed_list"] = some(lambda n: [n, n + 0.5], pa.list_(pa.float64(), 2))
    columns["struct"] = some(lambda n: {"a": n, "b": {"c": [text(n)]}}, pa.struct([("a", pa.int32()), ("b", pa.struct([("c", pa.list_(pa.utf8()))]))]))
    columns["map"] = some(lambda n: [(f"k{i}", i) for i in range(n % 3)], pa.map_(pa.utf8(), pa.int32()))
    columns["dictionary"] = some(lambda n: ["red", "green", "blue"][n % 3], pa.utf8()).dictionary_encode()
    columns["nested"] = pa.array([[["x", "y"][n % 2]] * (n % 3) for n in at], pa.list_(pa.dictionary(pa.int8(), pa.utf8())))
    return pa.record_batch(columns)


def words(values, indices):
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(values, pa.utf8()))


def coloured(n, values, indices):
    return pa.record_batch({"n": pa.array([n] * len(indices), pa.int32()), "word": words(values, indices)})


def numbers(b, rows=1000):
    at = range(b * rows, (b + 1) * rows)
    ids = pa.array([None if n % 7 == 0 else n for n in at], pa.int64())
    return pa.record_batch({"i": ids, "x": pa.array([n / 2 for n in at]), "s": pa.array([f"row {n}" if n % 5 else None for n in at])})


@functools.cache
def dataset(name):
    """Schema, batches, and how they are written."""
    options = None
    if name == "numbers":
        batches = [numbers(b) for b in range(5)]
    elif name == "many":
        batches = [numbers(b, 10) for b in range(40)]
    elif name == "every":
        whole = every()
        batches = [whole, whole.slice(5, 20), whole.slice(30), whole]
    elif name == "deltas":
        values = ["a", "b", "c", "d", "e"]
        batches = [coloured(n, values[: n + 2], [n, None, n + 1, 0]) for n in range(4)]
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    elif name == "replaced":
        batches = [coloured(0, ["a", "b"], [0, 1]), coloured(1, ["x", "y", "z"], [2, None, 0]), coloured(2, ["a", "b"], [1, 1]), coloured(3, [], [None])]
    elif name == "nothing":
        return numbers(0).schema, [], None
    elif name == "zero-rows":
        none = numbers(0).slice(0, 0)
        batches = [none, numbers(1), none, none, numbers(2), none]
    elif name == "no-buffers":
        batches = [pa.record_batch({"n": pa.nulls(n)}) for n in (3, 0, 5)]
    elif name == "large":
        batches = [pa.record_batch({"n": pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), LARGE))}), pa.record_batch({"n": pa.array([1, 2, 3], pa.int64())})]
    elif name in ("lz4", "zstd"):
        repeated = pa.record_batch({"i": pa.array([n // 100 for n in range(10_000)], pa.int64()), "s": ["the same text"] * 10_000})
        batches = [repeated, repeated.slice(0, 0), repeated.slice(1, 3)]
        options = pa.ipc.IpcWriteOptions(compression=name)
    else:
        raise KeyError(name)
    return batches[0].schema, batches, options


def plain(array):
    """As values without dictionaries: what a dictionary is called on its way is nobody's business."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def same(name, schema, batches, parts=True):
    """Fails where batches are not those of a dataset; with `parts`, cut as they were."""
    expected_schema, expected, _ = dataset(name)
    assert schema.equals(expected_schema), f"{schema}\nexpected\n{expected_schema}"
    if parts:
        lengths = [[b.num_rows for b in list_] for list_ in (batches, expected)]
        assert lengths[0] == lengths[1], lengths
    got, want = (pa.Table.from_batches(list_, expected_schema) for list_ in (batches, expected))
    assert got.num_rows == want.num_rows, (got.num_rows, want.num_rows)
    for column in want.schema.names:
        left, right = (pa.chunked_array([plain(chunk) for chunk in t.column(column).chunks], plain_type(t.schema.field(column).type)) for t in (got, want))
        assert left.equals(right), f"column {column} of {name}: {left.slice(0, 50)}\nexpected\n{right.slice(0, 50)}"


def plain_type(kind):
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def write(name, path):
    schema, batches, options = dataset(name)
    with pa.ipc.new_stream(path, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)


def check(name, path):
    reader = pa.ipc.open_stream(path)
    batches = list(reader)
    for batch in batches:
        batch.validate(full=True)
    same(name, reader.schema, batches)
