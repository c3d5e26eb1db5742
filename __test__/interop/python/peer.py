"""The Python peer of the tests of Dissociated IPC.

    peer.py serve SCHEME one|split plain|extended         then, line by line on standard input: an order in which to serve the next client
    peer.py work                                          then, line by line on standard input, as JSON arrays:
        write FOLDER NAME…                                datasets as IPC streams: FOLDER/NAME.arrows
        check NAME FILE                                   whether an IPC stream is that dataset
        read NAME TICKET MANNER METADATA_URI [DATA_URI]
        flight …                                          see flight_client.py
    peer.py lies                                          their names, as JSON
"""

import json
import os
import sys
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def say(**what):
    print(json.dumps(what), flush=True)


def read(name, ticket, manner, metadata, data=None):
    import samples
    from reader import MANNERS, Reader, Refused

    ways = {"with_credits", "miserly", "cancelling"}
    try:
        reader = Reader(metadata, data, ticket.encode(), extended=manner in ways or manner == "refused")
        if manner == "refused":
            reader.message()
        else:
            MANNERS[manner](reader)
    except EOFError:
        return say(closed=True)
    except Refused as error:
        return say(error=str(error))
    schema, batches = reader.assembler.batches()
    if "cancelled" not in reader.counts:
        samples.same(name, schema, batches)
    reader.close()
    say(**reader.counts)


def serve(scheme, shape, kind):
    from server import Server

    server = Server(scheme, shape == "split", kind == "extended")
    say(uris=server.uris)
    for line in sys.stdin:
        order = line.strip()
        say(ready=order)
        server.serve(order)
        say(served=order)


def flight(what, uri, *more):
    import flight_client

    say(**flight_client.run(what, uri, *more))


def write(folder, *names):
    import samples

    for name in names:
        samples.write(name, os.path.join(folder, f"{name}.arrows"))
    say(written=names)


def check(name, path):
    import samples

    samples.check(name, path)
    say(same=True)


def lies():
    import server

    say(lies=[f.__name__ for f in server.LIES], tcp=[f.__name__ for f in server.TCP_LIES])


COMMANDS = {f.__name__: f for f in (read, serve, flight, write, check, lies)}


def work():
    """Commands as they come, so that not each of them starts a Python."""
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        try:
            COMMANDS[command](*arguments)
        except Exception:
            say(failed=traceback.format_exc())


if __name__ == "__main__":
    (COMMANDS | {"work": work})[sys.argv[1]](*sys.argv[2:])
