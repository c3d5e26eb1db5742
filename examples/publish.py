# PYTHONPATH=interop/python python3 examples/publish.py, with examples/subscribe.mjs or subscribe.py in another terminal
import array

import arrowlane
import pyarrow as pa

schema = pa.schema([pa.field("temperature", pa.float64(), nullable=False)])

with arrowlane.publish("camera/frames") as out:  # its end is the stream's
    for frame in range(3):
        writer = out.allocate(schema, 1_000_000)  # memoryviews over shared memory: write in place, with numpy too
        writer["temperature"][:] = array.array("d", [20.0 + frame]) * 1_000_000
        out.send(writer)  # waits for a subscriber; or send any pyarrow RecordBatch or Table: one copy in
print("sent 3 frames")
