"""A server of pyarrow's for a client of ours: server.py plain|auth [CERTIFICATE KEY]. Prints its port; ends with standard input."""

import sys
import threading

import pyarrow as pa
import pyarrow.flight as flight

TABLE = pa.table(
    {
        "id": pa.array(range(10_000), pa.int64()),
        "word": pa.array(["alpha", "beta", None, "delta"] * 2_500).dictionary_encode(),
        "text": [f"text {n}" if n % 3 else None for n in range(10_000)],
    }
)


class Server(flight.FlightServerBase):
    def __init__(self, location, **options):
        super().__init__(location, **options)
        self.tables = {b"table": TABLE, b"empty": TABLE.slice(0, 0), b"large": LARGE}

    def info(self, name):
        table = self.tables.get(name)
        if table is None:
            raise KeyError(name.decode())
        # As the C++ example writes its two halves.
        halves = ["ucx://127.0.0.1:9?want_data=1&free_data=2", "ucx://127.0.0.1:9?want_data=2&free_data=2"]
        locations = halves if name == b"empty" else ["grpc+tcp://127.0.0.1:1", "arrow-flight-reuse-connection://?"]
        endpoint = flight.FlightEndpoint(b"ticket of " + name, locations)
        descriptor = flight.FlightDescriptor.for_path(name)
        return flight.FlightInfo(table.schema, descriptor, [endpoint], table.num_rows, -1)

    def list_flights(self, context, criteria):
        return iter([self.info(name) for name in self.tables])

    def get_flight_info(self, context, descriptor):
        return self.info(descriptor.path[0])

    def get_schema(self, context, descriptor):
        return flight.SchemaResult(self.tables[descriptor.path[0]].schema)

    def do_get(self, context, ticket):
        name = ticket.ticket.removeprefix(b"ticket of ")
        if name == b"compressed":
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            return flight.RecordBatchStream(TABLE, options=options)
        if name not in self.tables:
            raise KeyError(name.decode())
        return flight.RecordBatchStream(self.tables[name])

    def do_put(self, context, descriptor, reader, writer):
        batches = []
        for chunk in reader:
            batches.append(chunk.data)
            if chunk.app_metadata:
                writer.write(chunk.app_metadata.to_pybytes())
        self.tables[descriptor.path[0]] = pa.Table.from_batches(batches, reader.schema)

    def do_exchange(self, context, descriptor, reader, writer):
        table = reader.read_all()
        writer.begin(table.schema)
        writer.write_table(table)

    def list_actions(self, context):
        return [("reverse", "says it backwards")]


class Auth(flight.ServerMiddlewareFactory):
    """Basic in the handshake, bearer from then on."""

    def start_call(self, info, headers):
        values = headers.get("authorization", [])
        if values == ["Basic YWRhOmxvdmVsYWNl"]:
            return Token()
        if values == ["Bearer given"]:
            return None
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
    options = {}
    if mode == "auth":
        options = {"auth_handler": NoHandler(), "middleware": {"auth": Auth()}}
    if tls:
        certificate, key = (open(path, "rb").read() for path in tls)
        options["tls_certificates"] = [(certificate, key)]
    # One address: with a name, port 0 may be another port on each of its addresses.
    server = Server("grpc+tls://127.0.0.1:0" if tls else "grpc+tcp://127.0.0.1:0", **options)
    print(server.port, flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve()


LARGE = pa.table({"n": pa.array(range(1 << 20), pa.int64())})

if __name__ == "__main__":
    main(*sys.argv[1:])
