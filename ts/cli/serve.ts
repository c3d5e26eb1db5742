/** `arrowlane serve PATH…`. */
import { basename, extname } from "node:path";
import type { Command } from "commander";
import type { ServeOptions } from "../flight/options.js";
import { type Server, serve } from "../flight/server.js";
import { publishUnlisted } from "../publisher.js";
import { subscribe } from "../subscription.js";
import { bytesText, countText, Output } from "./output.js";
import type { Stop } from "./stop.js";
import { size, wrongUsage } from "./usage.js";

interface Options {
  control?: string;
  data: string[];
  inline: boolean;
  locations: "none" | "combined" | "split";
  uploads?: boolean;
  memory?: number;
  topic: string[];
  json?: boolean;
}

const LOCATIONS = ["none", "combined", "split"];

export function addServe(program: Command, stop: Stop): void {
  program
    .command("serve")
    .description("offer files and topics to other processes and hosts, until stopped")
    .argument(
      "[path...]",
      "Arrow IPC files or streams, or Parquet, told apart by content; each is a dataset named by its stem",
    )
    .option("--control <uri>", "where Arrow Flight is served: grpc+tcp://host:port")
    .option(
      "--data <uri>",
      "where data is served: shm:, tcp://host:port, ucx://host:port; may be repeated (shm:)",
      collect,
      [],
    )
    .option("--topic <name>", "a topic of this user to offer as well; may be repeated", collect, [])
    .option("--no-inline", "Flight's DoGet sends no data: it is control alone")
    .option(
      "--locations <which>",
      "data URIs for Flight clients that do not ask: none, combined or split",
      "none",
    )
    .option("--uploads", "let Flight clients upload datasets")
    .option("--memory <bytes>", "the most memory for one dataset (16GiB)", size)
    .option("--json", "print one JSON object per line")
    .action((paths: string[], options: Options) => run(paths, options, stop));
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

/** Names of datasets: each file's stem. */
function named(paths: readonly string[]): Map<string, string> {
  const names = new Map<string, string>();
  for (const path of paths) {
    const name = basename(path, extname(path));
    const other = names.get(name);
    if (other !== undefined) throw wrongUsage(`${other} and ${path} would both be named "${name}"`);
    names.set(name, path);
  }
  return names;
}

async function run(paths: string[], options: Options, stop: Stop): Promise<void> {
  const { control, topic: topics, memory, json = false } = options;
  const datasets = named(paths);
  for (const topic of topics) {
    if (datasets.has(topic)) throw wrongUsage(`a file and a topic would both be named "${topic}"`);
  }
  if (!LOCATIONS.includes(options.locations))
    throw wrongUsage(`--locations is one of ${LOCATIONS.join(", ")}`);
  const output = new Output(json, stop);
  const server = await serve({ data: [] });
  const relays: Promise<void>[] = [];
  try {
    // First what is offered, then the doors: whoever comes finds everything.
    for (const [name, path] of datasets) {
      output.progress(() => `reading ${path}`);
      await server.putFile(name, path, memory === undefined ? {} : { memory });
      if (stop.requested !== undefined) return;
    }
    for (const topic of topics) relays.push((await offerTopic(server, topic, stop.signal)).ended);
    await server.listen(options.data.length === 0 ? ["shm:"] : options.data);
    if (control !== undefined) await server.serveFlight(control, flightOptions(options));
    announce(server, output);
    await Promise.race([stopped(stop), ...relays.map(endless)]);
  } finally {
    output.clear();
    await server.close();
  }
  output.event({ event: "stopped", signal: stop.requested ?? null });
}

function flightOptions({ inline, locations, uploads = false, memory }: Options): ServeOptions {
  return { inline, locations, uploads: uploads && (memory === undefined ? true : { memory }) };
}

/** Joins a topic and offers what comes; batches go on from where they lie. */
async function offerTopic(
  server: Server,
  topic: string,
  signal: AbortSignal,
): Promise<{ ended: Promise<void> }> {
  const publisher = await publishUnlisted(topic, { minSubscribers: 0 });
  await server.put(topic, publisher);
  const relay = async () => {
    for await (const batch of subscribe(topic, { reconnect: true, signal })) {
      try {
        await publisher.send(batch, { signal });
      } finally {
        batch.dispose();
      }
    }
    server.remove(topic);
    await publisher.close({ signal });
  };
  const failed = async (error: unknown) => {
    server.remove(topic);
    await publisher.close({ error, signal: AbortSignal.timeout(1000) }).catch(() => {});
    if (!signal.aborted) throw error;
  };
  const ended = relay().catch(failed);
  // It may fail before anybody waits for it.
  ended.catch(() => {});
  return { ended };
}

/** Rejects as it does, and never resolves. */
function endless(promise: Promise<void>): Promise<never> {
  return promise.then(() => new Promise<never>(() => {}));
}

function announce(server: Server, output: Output): void {
  const unavailable = server.unavailable.map(({ address, error }) => ({
    address,
    code: error.code,
    error: error.message,
  }));
  const { control, data } = server;
  const offers = server.offers().map(({ name, kind, rows, bytes }) => ({ name, kind, rows, bytes }));
  const said = [
    ...offers.map(({ name, kind, rows = 0, bytes = 0 }) =>
      kind === "topic" ? `${name}: a topic` : `${name}: ${countText(rows, "row")}, ${bytesText(bytes)}`,
    ),
    ...(control === undefined ? [] : [`control: ${control}`]),
    ...data.map((uri) => `data: ${uri}`),
    ...unavailable.map(({ address, error }) => `not served: ${address} (${error})`),
  ];
  output.event({ event: "serving", control: control ?? null, data, offers, unavailable }, said.join("\n"));
}

/** Resolves when it is time to stop; keeps the process alive until then. */
function stopped(stop: Stop): Promise<void> {
  const { signal } = stop;
  return new Promise((resolve) => {
    const alive = setInterval(() => {}, 2 ** 30);
    const end = () => {
      clearInterval(alive);
      resolve();
    };
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
  });
}
