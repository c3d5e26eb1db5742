"""pyarrow.flight's client against our server; or, without it, the C++ example's client, which takes from Flight no more than where data is.

    whole URI [ROOTS]         everything that a client of pyarrow's can ask, without knowing anything of ours
    get URI NAME              one dataset by DoGet
    refused URI NAME          a DoGet that the server does not do
    example URI NAME          the example's client
"""

import pyarrow as pa
import pyarrow.flight as flight

import samples

OPTIONS = flight.FlightCallOptions(timeout=60)


def get(client, name):
    rows, told = fetched(client, name)
    return {"rows": rows, "told": told}


def kept(client, name):
    """Fetches what the server has as a whole, and so knows the length of."""
    rows, told = fetched(client, name)
    assert told == rows, (told, rows)
    return rows


def fetched(client, name):
    info = client.get_flight_info(flight.FlightDescriptor.for_path(name), OPTIONS)
    assert [place.uri for place in info.endpoints[0].locations] == [b"arrow-flight-reuse-connection://?"], info.endpoints[0].locations
    # What every client does that knows no other transport: redeem the ticket where it came from.
    reader = client.do_get(info.endpoints[0].ticket, OPTIONS)
    batches = [chunk.data for chunk in reader]
    for batch in batches:
        batch.validate(full=True)
    samples.same(name, reader.schema, batches)
    assert info.schema.equals(reader.schema)
    rows = sum(batch.num_rows for batch in batches)
    return rows, info.total_records


def put(client, name, codec=None, path=None):
    schema, batches, options = samples.dataset(name)
    options = pa.ipc.IpcWriteOptions(compression=codec) if codec else options
    call = flight.FlightCallOptions(timeout=60, write_options=options) if options else OPTIONS
    writer, _ = client.do_put(flight.FlightDescriptor.for_path(path or name), schema, call)
    for batch in batches:
        writer.write_batch(batch)
    writer.close()


def whole(client):
    names = sorted(info.descriptor.path[0].decode() for info in client.list_flights(options=OPTIONS))
    for name in names:
        schema = client.get_schema(flight.FlightDescriptor.for_path(name), OPTIONS).schema
        assert schema.equals(samples.dataset(name)[0]), schema
    rows = {name: kept(client, name) for name in names}
    for name in ("zero-rows", "deltas", "lz4", "no-buffers"):
        put(client, name)
        rows[name] = kept(client, name)
    put(client, "numbers", "zstd")
    assert kept(client, "numbers") == 5000
    for call, error in (
        (lambda: client.get_flight_info(flight.FlightDescriptor.for_path("none such"), OPTIONS), KeyError),
        (lambda: client.do_get(flight.Ticket(b"none such"), OPTIONS).read_all(), KeyError),
        (lambda: client.get_schema(flight.FlightDescriptor.for_path("none such"), OPTIONS), KeyError),
    ):
        try:
            call()
        except error:
            continue
        raise AssertionError(f"no {error}")
    return {"rows": rows}


def refused(client, name):
    info = client.get_flight_info(flight.FlightDescriptor.for_path(name), OPTIONS)
    try:
        client.do_get(info.endpoints[0].ticket, OPTIONS).read_all()
    except pa.ArrowException as error:
        return {"error": type(error).__name__, "message": str(error)}
    except NotImplementedError as error:
        return {"error": type(error).__name__, "message": str(error)}
    raise AssertionError("it was served")


def example(client, name):
    from reader import Reader, metadata_first

    info = client.get_flight_info(flight.FlightDescriptor.for_command(name.encode()), OPTIONS)
    places = [place.uri.decode() for place in info.endpoints[0].locations]
    assert len(places) == 2 and places[0] != places[1], places
    reader = Reader(*places, info.endpoints[0].ticket.ticket)
    metadata_first(reader)
    schema, batches = reader.assembler.batches()
    samples.same(name, schema, batches)
    reader.close()
    return reader.counts


def exchange(client, name):
    """Sends a dataset to who echoes it: an answer to each batch comes before the next batch goes."""
    schema, batches, _ = samples.dataset(name)
    writer, reader = client.do_exchange(flight.FlightDescriptor.for_path("echo", name), OPTIONS)
    answers = []
    with writer:
        writer.begin(schema)
        for batch in batches:
            writer.write_batch(batch)
            answers.append(reader.read_chunk().data)
        writer.done_writing()
        answers += [chunk.data for chunk in reader]
        samples.same(name, reader.schema, answers)
    return {"rows": sum(batch.num_rows for batch in answers)}


def run(what, uri, *more):
    arguments = {}
    if what == "whole" and more:
        arguments["tls_root_certs"] = open(more[0], "rb").read()
        more = ()
    with flight.connect(uri, **arguments) as client:
        return {"whole": whole, "get": get, "refused": refused, "example": example, "exchange": exchange}[what](client, *more)
