// The demo with the user's own file: the command line on both sides, which knows every Arrow type.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { addressOf, hex } from "./proof.mjs";

const packageFile = new URL(import.meta.resolve("arrowlane/package.json"));
const command = new URL(JSON.parse(readFileSync(packageFile, "utf8")).bin.arrowlane, packageFile).pathname;

/** Starts `arrowlane …--json` and hands its events over. */
function arrowlane(args, onEvent) {
  const child = spawn(process.execPath, [command, ...args, "--json"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  process.once("SIGINT", () => child.kill());
  process.once("SIGTERM", () => child.kill());
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => onEvent(JSON.parse(line)));
  const read = new Promise((resolve) => lines.on("close", resolve));
  const exit = new Promise((resolve) => child.on("exit", (code, signal) => resolve(code ?? signal)));
  return { child, ended: Promise.all([exit, read]).then(([status]) => status) };
}

/** Publishes a file to a second process and resolves with what that one saw. */
export async function ownFile(file, progress) {
  const topic = `demo/file-${process.pid}`;
  const found = { file, columns: [], rows: 0 };
  let publisher;
  const opened = new Promise((resolve, reject) => {
    publisher = arrowlane(
      ["publish", topic, file, "--hold"],
      (event) => event.event === "open" && resolve(event),
    );
    publisher.ended.then(() => reject(new Error(`${file} could not be published, see above`)));
  });
  const { format } = await opened;
  try {
    const { child, ended } = arrowlane(["subscribe", topic, "--summary"], (event) => {
      if (event.event === "batch") {
        found.rows += event.rows;
        progress(event.rows);
        if (event.batch === 1 && event.memory !== null)
          found.proof = proof(publisher.child.pid, child.pid, event);
      }
      if (event.event === "column") found.columns.push(event);
      if (event.event === "end") Object.assign(found, event);
    });
    const status = await ended;
    if (status !== 0) throw new Error("the second process failed, see above");
  } finally {
    publisher.child.kill();
    await publisher.ended;
  }
  const { event, ...result } = found;
  return { ...result, format };
}

/** The first batch in both processes. */
function proof(publisherPid, subscriberPid, { memory, offset, address, zeroCopy }) {
  const side = (pid) => {
    try {
      const place = addressOf(pid, memory, BigInt(offset));
      return place && { memory, offset: String(offset), address: hex(place.address), access: place.access };
    } catch {
      return undefined; // The process has ended already.
    }
  };
  const here = side(subscriberPid) ?? { memory, offset: String(offset), address };
  return { publisher: side(publisherPid), subscriber: here, zeroCopy };
}
