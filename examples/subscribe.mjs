// node examples/subscribe.mjs, with examples/publish.mjs in another terminal
import { subscribe } from "arrowlane";

for await (const frame of subscribe("camera/frames")) {
  try {
    const temperature = frame.column("temperature"); // an apache-arrow Vector over the producer's bytes
    console.log(`${frame.length} rows, the first is ${temperature.get(0)}, zero copy: ${frame.zeroCopy}`);
  } finally {
    frame.dispose(); // the memory goes back; later reads throw
  }
}
