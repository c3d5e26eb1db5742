# PYTHONPATH=interop/python python3 examples/subscribe.py, with examples/publish.mjs or publish.py in another terminal
import arrowlane

for frame in arrowlane.subscribe("camera/frames"):  # pyarrow.RecordBatch, over the publisher's own bytes
    temperature = frame.column("temperature")
    print(frame.num_rows, "rows, the first is", temperature[0], "in", arrowlane.location(frame).memory)
