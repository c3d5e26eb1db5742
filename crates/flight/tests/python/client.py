"""pyarrow's client against a server of ours: client.py URI plain|token|handler|nobody [ROOTS]."""

import sys

import pyarrow as pa
import pyarrow.flight as flight


def read(client, name, options):
    info = client.get_flight_info(flight.FlightDescriptor.for_path(name), options)
    assert len(info.endpoints) == 1, info.endpoints
    table = client.do_get(info.endpoints[0].ticket, options).read_all()
    table.validate(full=True)
    assert table.schema.equals(info.schema), (table.schema, info.schema)
    assert info.total_records == table.num_rows, info.total_records
    return table


def main(uri, mode, roots):
    arguments = {"tls_root_certs": open(roots, "rb").read()} if roots else {}
    client = flight.connect(uri, **arguments)
    options = flight.FlightCallOptions(timeout=60)
    if mode == "token":
        header = client.authenticate_basic_token("ada", "lovelace")
        options = flight.FlightCallOptions(timeout=60, headers=[header])
    elif mode == "handler":
        client.authenticate(Handler(b"ada", b"lovelace"))
    elif mode == "nobody":
        for call in (
            lambda: list(client.list_flights()),
            lambda: client.get_flight_info(flight.FlightDescriptor.for_path("numbers")),
            lambda: client.do_get(flight.Ticket(b"x")).read_all(),
            lambda: client.authenticate_basic_token("ada", "wrong"),
        ):
            try:
                call()
            except flight.FlightUnauthenticatedError:
                continue
            raise AssertionError("let in")
        print("refused")
        return

    names = [info.descriptor.path[0].decode() for info in client.list_flights(options=options)]
    assert names == ["numbers", "words"], names
    locations = client.get_flight_info(flight.FlightDescriptor.for_path("words"), options).endpoints[0].locations
    assert locations == [flight.Location("arrow-flight-reuse-connection://?")], locations

    numbers = read(client, "numbers", options)
    expected = {
        "id": [n if n % 7 else None for n in range(1003)],
        "half": [n / 2 for n in range(1003)],
        "name": [f"row {n}" if n % 5 else None for n in range(1003)],
    }
    assert numbers.to_pydict() == expected
    words = read(client, "words", options)
    assert words.column(0).to_pylist() == ["a", "b", "a", "c"] * 2 + ["x", "y", "x"], words

    schema = client.get_schema(flight.FlightDescriptor.for_command(b"numbers"), options).schema
    assert schema.equals(numbers.schema), schema
    assert list(client.list_actions(options)) == []

    mine = everything()
    for codec in (None, "lz4", "zstd"):
        name = f"mine-{codec}"
        write = flight.FlightCallOptions(
            timeout=60, headers=[header] if mode == "token" else [], write_options=pa.ipc.IpcWriteOptions(compression=codec)
        )
        writer, reader = client.do_put(flight.FlightDescriptor.for_path(name), mine.schema, write)
        for batch in mine.to_batches(max_chunksize=2):
            writer.write_with_metadata(batch, b"seen")
            assert reader.read().to_pybytes() == b"seen"
        writer.done_writing()
        assert reader.read().to_pybytes() == str(mine.num_rows).encode()
        writer.close()
        assert read(client, name, options).equals(mine)

    writer, reader = client.do_exchange(flight.FlightDescriptor.for_path("echo"), options)
    writer.begin(mine.schema)
    writer.write_table(mine)
    writer.done_writing()
    assert reader.read_all().equals(pa.concat_tables([mine, mine]))
    writer.close()

    for call, error in (
        (lambda: client.do_get(flight.Ticket(b"unknown"), options).read_all(), KeyError),
        (lambda: client.get_flight_info(flight.FlightDescriptor.for_path("none"), options), KeyError),
        (lambda: list(client.do_action("x", options)), NotImplementedError),
    ):
        try:
            call()
        except error:
            continue
        raise AssertionError(f"no {error}")
    print("ok")


def everything():
    """Types with layouts of their own, nulls in all."""
    return pa.table(
        {
            "i": pa.array([1, None, 3, 4, 5], pa.int32()),
            "b": pa.array([True, False, None, True, False]),
            "s": pa.array(["a", None, "ccc", "", "é"]),
            "L": pa.array([b"x", None, b"", b"yy", b"z"], pa.large_binary()),
            "v": pa.array(["short", "a text that is longer than twelve", None, "", "q"], pa.string_view()),
            "l": pa.array([[1], [], None, [2, 3], [4]], pa.list_(pa.int64())),
            "t": pa.array([{"x": 1}, None, {"x": 3}, {"x": None}, {"x": 5}], pa.struct([("x", pa.int8())])),
            "d": pa.array(["u", "w", None, "u", "w"]).dictionary_encode(),
            "f": pa.array([b"abc", None, b"def", b"ghi", b"jkl"], pa.binary(3)),
            "n": pa.nulls(5),
            "ts": pa.array([0, 1, None, 3, 4], pa.timestamp("us", "UTC")),
        }
    )


class Handler(flight.ClientAuthHandler):
    """The handshake of Flight's first versions."""

    def __init__(self, user, password):
        super().__init__()
        self.basic = flight.BasicAuth(user, password)
        self.token = None

    def authenticate(self, outgoing, incoming):
        outgoing.write(self.basic.serialize())
        self.token = incoming.read()

    def get_token(self):
        return self.token


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
