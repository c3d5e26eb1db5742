"""A raw peer on a publisher's socket, written from docs/wire.md alone, that breaks the rules one at a time.

    hostile.py capture SOCKET TOPIC            takes part honestly; prints what one batch looked like, as JSON
    hostile.py subscribe SOCKET TOPIC CASE     breaks one rule as a subscriber
    hostile.py publish SOCKET TOPIC CASE FILE  breaks one rule as a publisher that replays a capture

Says "ready" when it has a connection (or listens), then what became of the connection: "closed" when the other side
hung up, "open" when it did not. Python's standard library is all it needs.
"""

import json
import sys

sys.dont_write_bytecode = True  # its modules are imported from the sources: no __pycache__ beside them

from hostile_publisher import publish, publisher_cases
from hostile_subscriber import capture, crowd, subscribe, subscriber_cases
from hostile_wire import say


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    {
        "capture": capture,
        "subscribe": subscribe,
        "publish": publish,
        "crowd": lambda path, count: crowd(path, int(count)),
        "cases": lambda role: say(json.dumps(sorted(subscriber_cases() if role == "subscribe" else publisher_cases()))),
    }[mode](*rest)
