"""A server of pyarrow.flight's for our client. Says its port; ends with standard input.

    flight_server.py plain|basic|bearer [CERTIFICATE KEY]
    flight_server.py example METADATA_URI DATA_URI         sends no data itself; as the C++ example, the ticket is the name
"""

import json
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import pyarrow as pa
import pyarrow.flight as flight

import samples

NAMES = ["numbers", "every", "deltas", "replaced", "nothing", "zero-rows", "no-buffers", "lz4", "zstd", "large"]


class Server(flight.FlightServerBase):
    def __init__(self, location, **options):
        super().__init__(location, **options)
        self.uploaded = {}
        self.halves = []

    def info(self, name):
        if name in self.uploaded:
            table = self.uploaded[name]
            schema, rows = table.schema, table.num_rows
        else:
            schema, batches, _ = samples.dataset(name)
            rows = sum(batch.num_rows for batch in batches)
        if self.halves:
            endpoint = flight.FlightEndpoint(name.encode(), self.halves)
            return flight.FlightInfo(schema, flight.FlightDescriptor.for_command(name.encode()), [endpoint], -1, -1)
        # Places that lead nowhere: whoever asked may redeem the ticket here all the same.
        places = [] if name != "every" else ["grpc+tcp://127.0.0.1:1", "arrow-flight-reuse-connection://?"]
        endpoint = flight.FlightEndpoint(b"ticket of " + name.encode(), places)
        return flight.FlightInfo(schema, flight.FlightDescriptor.for_path(name), [endpoint], rows, -1)

    def list_flights(self, context, criteria):
        return iter([self.info(name) for name in [n for n in NAMES if n != "large"] + list(self.uploaded)])

    def get_flight_info(self, context, descriptor):
        return self.info((descriptor.path or [descriptor.command])[0].decode())

    def get_schema(self, context, descriptor):
        return flight.SchemaResult(self.info(descriptor.path[0].decode()).schema)

    def do_get(self, context, ticket):
        assert not self.halves, "it was asked for data"
        name = ticket.ticket.removeprefix(b"ticket of ").decode()
        if name in self.uploaded:
            return flight.RecordBatchStream(self.uploaded[name])
        schema, batches, options = samples.dataset(name)
        # Not a GeneratorStream, which leaves dictionaries out.
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(schema, batches), options=options)

    def do_exchange(self, context, descriptor, reader, writer):
        schema = reader.schema
        writer.begin(schema)
        for chunk in reader:
            writer.write_batch(chunk.data)

    def do_put(self, context, descriptor, reader, writer):
        name = descriptor.path[0].decode()
        self.uploaded[name] = reader.read_all()
        # A name that begins with a dataset's has to be that dataset.
        like = name.removesuffix(" again")
        samples.same(like, self.uploaded[name].schema, self.uploaded[name].to_batches(), parts=False)


class Basic(flight.ServerMiddlewareFactory):
    """A name and a password first, and from then on the token that was given for them."""

    def start_call(self, info, headers):
        values = headers.get("authorization", [])
        if values == ["Basic YWRhOmxvdmVsYWNl"]:
            return Token()
        if values == ["Bearer given"]:
            return None
        raise flight.FlightUnauthenticatedError("who are you?")


class Bearer(flight.ServerMiddlewareFactory):
    def start_call(self, info, headers):
        if headers.get("authorization") != ["Bearer open sesame"] or headers.get("x-tenant") != ["cave"]:
            raise flight.FlightUnauthenticatedError("who are you?")


class Token(flight.ServerMiddleware):
    def sending_headers(self):
        return {"authorization": "Bearer given"}


class NoHandler(flight.ServerAuthHandler):
    def authenticate(self, outgoing, incoming):
        pass

    def is_valid(self, token):
        return b""


def main(mode, *tls):
    options, halves = {}, []
    if mode == "example":
        tls, halves = (), list(tls)
    elif mode != "plain":
        options = {"auth_handler": NoHandler(), "middleware": {"auth": {"basic": Basic, "bearer": Bearer}[mode]()}}
    if tls:
        certificate, key = (open(path, "rb").read() for path in tls)
        options["tls_certificates"] = [(certificate, key)]
    # One address: with a name, port 0 may be another port on each of its addresses.
    server = Server("grpc+tls://127.0.0.1:0" if tls else "grpc+tcp://127.0.0.1:0", **options)
    server.halves = halves
    print(json.dumps({"port": server.port}), flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
