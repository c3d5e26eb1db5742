/** `arrowlane topics`. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import type { NativeTopic } from "../native/binding.js";
import { lane, native } from "../native/lane.js";
import { bytesText, countText, Output } from "./output.js";
import type { Stop } from "./stop.js";
import { positive } from "./usage.js";

interface Options {
  json?: boolean;
  sample: number;
  patience: number;
}

/** Names and values as a publisher answers; numbers are decimals. */
type Figures = Map<string, string>;

/** What one publisher answered, and how much it had sent some time before. */
interface Answer {
  found: NativeTopic;
  topic: Figures;
  subscribers: Figures[];
  rates: { batches: number; bytes: number } | undefined;
}

export function addTopics(program: Command, stop: Stop): void {
  program
    .command("topics")
    .description("list this user's topics: publishers, subscribers, rates, and how long batches are held")
    .option("--json", "print one JSON object per line")
    .option("--sample <ms>", "measure rates over so many milliseconds", positive, 500)
    .option("--patience <ms>", "how long to wait for each publisher's answer", positive, 1000)
    .action(async (options: Options) => {
      const output = new Output(options.json ?? false, stop);
      const answers = await ask(options);
      for (const answer of answers) show(output, answer);
      const live = answers.filter(({ found }) => found.state === "live").length;
      const none = answers.length === 0 ? "there are no topics" : undefined;
      output.event({ event: "end", topics: answers.length, live }, none);
    });
}

/** Asks every publisher twice: what it sent in between is its rate. */
async function ask({ sample, patience }: Options): Promise<Answer[]> {
  const { native: natively } = lane();
  const files = native(() => natively.topicFiles());
  const before = await Promise.all(files.map((file) => askOne(file, patience)));
  if (before.some(({ found }) => found.state === "live")) await sleep(sample);
  const asked = before.map(async (first, i) => {
    if (first.found.state !== "live") return first;
    const second = await askOne(files[i], patience);
    // It was closed or stopped meanwhile: that is what it is now.
    if (second.found.state !== "live") return second;
    const elapsed = (number(second.topic, "up_ms") - number(first.topic, "up_ms")) / 1000;
    const rate = (name: string) =>
      elapsed > 0 ? (number(second.topic, name) - number(first.topic, name)) / elapsed : 0;
    return { ...second, rates: { batches: rate("batches"), bytes: rate("bytes") } };
  });
  return Promise.all(asked);
}

async function askOne(file: string, patience: number): Promise<Answer> {
  const found = await lane().native.askTopic(file, patience);
  const [topic = new Map(), ...subscribers] = found.figures.map(figuresOf);
  return { found: { ...found, topic: found.topic ?? decoded(file) }, topic, subscribers, rates: undefined };
}

function figuresOf(flat: readonly string[]): Figures {
  const figures: Figures = new Map();
  for (let i = 0; i + 1 < flat.length; i += 2) figures.set(flat[i], flat[i + 1]);
  return figures;
}

/** A topic's name out of its socket's; a name that was too long is a hash there. */
function decoded(file: string): string {
  try {
    return decodeURIComponent(file);
  } catch {
    return file;
  }
}

function number(figures: Figures, name: string): number {
  return Number(figures.get(name) ?? 0);
}

function show(output: Output, { found, topic, subscribers, rates }: Answer): void {
  const name = found.topic ?? "";
  const common = { event: "topic", topic: name, state: found.state, pid: found.pid ?? null };
  if (found.state !== "live") {
    output.event({ ...common, problem: found.problem ?? null }, `${name}: ${reason(found)}`);
    return;
  }
  const { batches = 0, bytes = 0 } = rates ?? {};
  const [inUse, capacity] = [number(topic, "bytes_in_use"), number(topic, "capacity")];
  output.event(
    {
      ...common,
      subscribers: subscribers.length,
      upMs: number(topic, "up_ms"),
      batches: number(topic, "batches"),
      bytes: number(topic, "bytes"),
      batchesPerSecond: Math.round(batches * 10) / 10,
      bytesPerSecond: Math.round(bytes),
      bytesInUse: inUse,
      capacity,
    },
    `${name}: process ${number(topic, "pid")}, ${countText(subscribers.length, "subscriber")}, ` +
      `${batches.toFixed(1)} batches/s, ${bytesText(Math.round(bytes))}/s, ` +
      `${bytesText(inUse)} of ${bytesText(capacity)} in use`,
  );
  for (const each of subscribers) showSubscriber(output, name, each);
}

function showSubscriber(output: Output, topic: string, figures: Figures): void {
  const count = (name: string) => number(figures, name);
  const optional = (name: string) => (figures.has(name) ? count(name) : null);
  const [pid, oldest] = [optional("pid"), optional("oldest_ms")];
  const [overflow, state] = [figures.get("overflow") ?? "", figures.get("standing") ?? ""];
  const held = oldest === null ? "" : `, the oldest batch for ${(oldest / 1000).toFixed(1)} s`;
  output.event(
    {
      event: "subscriber",
      topic,
      id: count("subscriber"),
      pid,
      state,
      overflow,
      queue: { batches: count("queue_batches"), bytes: count("queue_bytes") },
      sent: count("sent"),
      dropped: count("dropped"),
      waited: count("waited"),
      waitedMs: count("waited_ms"),
      inFlight: count("in_flight"),
      queued: count("queued"),
      leases: count("leases"),
      heldBytes: count("held_bytes"),
      oldestMs: oldest,
    },
    `  ${state === "active" ? "" : `${state} `}process ${pid ?? "?"}: ${overflow}, ${count("sent")} sent, ` +
      `${count("dropped")} dropped, waited for ${count("waited")} times (${count("waited_ms")} ms), ` +
      `holds ${bytesText(count("held_bytes"))} in ${countText(count("leases"), "lease")}${held}`,
  );
}

function reason({ state, pid, problem }: NativeTopic): string {
  const process = pid === undefined ? "its process" : `process ${pid}`;
  if (state === "stale") return "its publisher is gone; the socket that it left was removed";
  if (state === "silent") return `${process} does not answer: it is busy or stopped`;
  return `${process} does not answer such a question: ${problem ?? ""}`;
}
