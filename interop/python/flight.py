"""The Python halves of `arrowlane bench flight`: a Flight server and a Flight client of pyarrow.

    flight.py serve PAYLOAD BATCHES     offers "PAYLOADxBATCHES"; prints its address
    flight.py fetch                     reads addresses and names, prints what each transfer took

Both answer each line on standard input with one line of JSON: `cpu` with the processor time of the process in seconds; `fetch`
also "ADDRESS NAME ROWS" with {"seconds", "bytes"} from the first batch to the last. Each batch begins with its number and ends
with the negated one, which is checked.
"""

import json
import sys
import time

import pyarrow as pa
import pyarrow.flight as flight


def say(what):
    print(json.dumps(what), flush=True)


def commands():
    for line in sys.stdin:
        words = line.split()
        if words == ["cpu"]:
            say({"cpu": time.process_time()})
        elif words:
            yield words


class Server(flight.FlightServerBase):
    def __init__(self, payload, batches):
        super().__init__("grpc+tcp://127.0.0.1:0")
        self.name, self.batches = f"{payload}x{batches}", []
        schema = pa.schema([pa.field("x", pa.float64(), False)])
        for n in range(batches):
            memory = pa.allocate_buffer(payload)
            values = memoryview(memory).cast("d")
            # Every page is written to: the bytes are sent from memory, not from the system's page of zeros.
            values[::512] = memoryview(bytes(8 * len(range(0, len(values), 512)))).cast("d")
            values[0], values[-1] = n, -n
            array = pa.Array.from_buffers(pa.float64(), payload // 8, [None, memory])
            self.batches.append(pa.record_batch([array], schema=schema))
        self.schema = schema

    def get_flight_info(self, context, descriptor):
        endpoints = [flight.FlightEndpoint(descriptor.path[0], [])]
        return flight.FlightInfo(self.schema, descriptor, endpoints, -1, -1)

    def do_get(self, context, ticket):
        if ticket.ticket.decode() != self.name:
            raise flight.FlightServerError(f"there is no {ticket.ticket!r}")
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(self.schema, self.batches))


def serve(payload, batches):
    server = Server(int(payload), int(batches))
    say({"uri": f"grpc+tcp://127.0.0.1:{server.port}"})
    for _ in commands():
        pass


def fetch():
    say({})
    clients = {}
    for address, name, rows in commands():
        client = clients.setdefault(address, flight.connect(address))
        info = client.get_flight_info(flight.FlightDescriptor.for_path(name))
        reader = client.do_get(info.endpoints[0].ticket)
        count, total, started = 0, 0, 0
        for chunk in reader:
            x = chunk.data.column(0)
            if len(x) != int(rows) or x[0].as_py() != count or x[len(x) - 1].as_py() != -count:
                raise SystemExit(f"batch {count} is wrong")
            if count == 0:
                started = time.perf_counter()
            else:
                total += 8 * len(x)
            count += 1
            x = chunk = None
        say({"seconds": time.perf_counter() - started, "bytes": total, "count": count})


if __name__ == "__main__":
    {"serve": serve, "fetch": fetch}[sys.argv[1]](*sys.argv[2:])
