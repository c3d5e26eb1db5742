/** `arrowlane publish TOPIC FILE`. */
import { statSync } from "node:fs";
import type { Command } from "commander";
import type { Batch } from "../batch.js";
import { ArrowlaneError } from "../errors.js";
import { type FileReader, openFile } from "../files.js";
import { lane, native } from "../native/lane.js";
import type { PolicyOptions } from "../policy.js";
import { type Publisher, type PublishOptions, publish } from "../publisher.js";
import type { SubscriberStream } from "../subscriber-stream.js";
import { bytesText, countText, Output } from "./output.js";
import { addQueueOptions, policyOf, type QueueOptions } from "./policy.js";
import type { Stop } from "./stop.js";
import { positive, size, wrongUsage } from "./usage.js";

interface Options extends QueueOptions {
  hold?: boolean;
  json?: boolean;
  memory?: number;
  evictAfter?: number;
}

/** How long subscribers that do not read delay the end of a publisher that failed or was stopped, in milliseconds. */
const GRACE = 5000;

/** What was sent: batches as subscribers get them. */
interface Sent {
  batches: number;
  rows: number;
  bytes: number;
}

/** The most shared memory taken where nothing else is said, in bytes. */
const DEFAULT_MEMORY = 2 ** 30;
/** A bound on the default where the machine is nearly full. */
const SMALLEST_DEFAULT = 2 ** 24;

export function addPublish(program: Command, stop: Stop): void {
  const command = program
    .command("publish")
    .description("send the batches of a file to the subscribers of a topic, and end the stream")
    .argument("<topic>", "name of the topic")
    .argument(
      "<file>",
      "Arrow IPC file or stream, or Parquet, told apart by content; - is a stream on standard input",
    )
    .option("--hold", "stay until stopped; every subscriber gets a stream of the whole file of its own")
    .option("--json", "print one JSON object per line")
    .option("--memory <bytes>", "the most shared memory to take (1GiB, or half of what is left)", size)
    .option(
      "--evict-after <ms>",
      "give up subscribers that hold batches and free nothing for so many milliseconds",
      positive,
    );
  addQueueOptions(
    command,
    "a subscriber's",
    "keep the latest batch for subscribers that ask to begin with it",
  ).action((topic: string, file: string, options: Options) =>
    new FilePublisher(topic, file, options, stop).run(),
  );
}

/** Half of what the machine and the control group still allow, at most a GiB. */
function defaultMemory(): number {
  const { memoryAvailable = Infinity, cgroupHeadroom = Infinity } = native(() => lane().native.report());
  const half = Math.floor(Math.min(memoryAvailable, cgroupHeadroom) / 2);
  return Math.max(SMALLEST_DEFAULT, Math.min(DEFAULT_MEMORY, half));
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof ArrowlaneError && error.code === code;
}

class FilePublisher {
  readonly #topic: string;
  readonly #file: string;
  readonly #hold: boolean;
  readonly #memory: number;
  readonly #policy: PolicyOptions & Pick<PublishOptions, "queue">;
  readonly #stop: Stop;
  readonly #output: Output;
  /** Those that are being served, and what rejects when serving one failed. */
  readonly #serving = new Set<Promise<void>>();
  #failed: Promise<never> = new Promise(() => {});
  /** Everything was sent: from then on being stopped cuts nothing short. */
  #complete = false;
  #subscribers = 0;

  constructor(topic: string, file: string, options: Options, stop: Stop) {
    this.#topic = topic;
    this.#file = file;
    this.#hold = options.hold ?? false;
    this.#stop = stop;
    this.#output = new Output(options.json ?? false, stop);
    if (this.#hold && !this.#isRegular()) {
      throw wrongUsage(
        "--hold reads the file once for every subscriber: it cannot be a pipe or standard input",
      );
    }
    if (this.#hold && options.last) {
      throw wrongUsage(
        "--last keeps nothing with --hold, where every subscriber begins with the first batch",
      );
    }
    this.#memory = options.memory ?? defaultMemory();
    const { evictAfter } = options;
    this.#policy = { ...policyOf(options), ...(evictAfter && { evictAfter }) };
  }

  async run(): Promise<void> {
    let publisher: Publisher | undefined;
    try {
      // Opened first: a file that cannot be read opens no topic, and no subscriber gets half a stream. The batches of a
      // pipe come when they come; it fails before subscribers' eyes.
      const reader = await openFile(this.#file, this.#stop.signal);
      if (this.#isRegular()) await reader.begin();
      publisher = this.#hold
        ? await this.#publishHeld()
        : await publish(this.#topic, { memory: this.#memory, ...this.#policy });
      this.#opened(reader, publisher);
      if (this.#hold) {
        reader.close();
        await this.#stopped();
      } else {
        await this.#once(publisher, reader);
      }
    } catch (error) {
      if (this.#stop.requested === undefined) {
        await this.#cutShort(publisher, error);
        throw error;
      }
    }
    const signal = this.#stop.requested;
    if (signal === undefined) return;
    this.#output.clear();
    const early = new ArrowlaneError("ERR_CLOSED", `${signal} stopped it before the end of ${this.#file}`);
    if (this.#complete) await publisher?.close();
    else await this.#cutShort(publisher, early);
    this.#output.event({ event: "stopped", signal });
    if (!this.#isRegular()) this.#stop.dieBySignal();
  }

  /** Ends every stream that is not complete with an error. */
  async #cutShort(publisher: Publisher | undefined, error: unknown): Promise<void> {
    // Those that do not read in time see the connection close, which is an error as well.
    await publisher?.close({ error, signal: AbortSignal.timeout(GRACE) }).catch(() => {});
  }

  #opened({ format, rows }: FileReader, { uri }: Publisher): void {
    const [topic, file] = [this.#topic, this.#file];
    const described = rows === undefined ? format : `${format}, ${countText(rows, "row")}`;
    this.#output.event(
      { event: "open", topic, uri, file, format, rows: rows ?? null },
      `${file} (${described}) on topic ${topic}${this.#hold ? ", until stopped" : ""}`,
    );
  }

  async #once(publisher: Publisher, reader: FileReader): Promise<void> {
    const started = performance.now();
    const sent = await this.#sendAll(reader, (batch) => publisher.send(batch, { signal: this.#stop.signal }));
    this.#complete = true;
    await publisher.close();
    this.#sent({ event: "end" }, sent, started);
  }

  async #publishHeld(): Promise<Publisher> {
    let fail = (_: unknown) => {};
    this.#failed = new Promise((_, reject) => {
      fail = reject;
    });
    // Heard of in `#stopped`.
    this.#failed.catch(() => {});
    return publish(this.#topic, {
      memory: this.#memory,
      ...this.#policy,
      onSubscriber: async (stream) => {
        const serving = this.#serve(stream);
        this.#serving.add(serving);
        await serving.catch(async (error) => {
          if (this.#stop.requested === undefined) fail(error);
          // Its stream must not end as if it were complete: the publisher ends it with an error.
          await new Promise(() => {});
        });
        this.#serving.delete(serving);
      },
    });
  }

  async #serve(stream: SubscriberStream): Promise<void> {
    const subscriber = ++this.#subscribers;
    const started = performance.now();
    this.#output.event({ event: "subscriber", subscriber }, `subscriber ${subscriber} came`);
    try {
      const reader = await openFile(this.#file, this.#stop.signal);
      const sent = await this.#sendAll(reader, (batch) => stream.send(batch, { signal: this.#stop.signal }));
      this.#sent({ event: "served", subscriber }, sent, started);
    } catch (error) {
      if (this.#stop.requested !== undefined) throw error;
      if (!stream.hasLeft && !isCode(error, "ERR_CLOSED")) throw error;
      this.#output.event({ event: "left", subscriber }, `subscriber ${subscriber} left before the end`);
    }
  }

  /** Resolves when it is time to stop; rejects when serving failed. Keeps the process alive meanwhile. */
  async #stopped(): Promise<void> {
    const { signal } = this.#stop;
    const alive = setInterval(() => {}, 2 ** 30);
    const aborted = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    try {
      await Promise.race([aborted, this.#failed]);
      await Promise.allSettled(this.#serving);
    } finally {
      clearInterval(alive);
    }
  }

  async #sendAll(reader: FileReader, send: (batch: Batch) => Promise<unknown>): Promise<Sent> {
    const sent: Sent = { batches: 0, rows: 0, bytes: 0 };
    for await (const batch of reader) {
      try {
        await this.#sendParts(batch, send, sent);
      } finally {
        batch.dispose();
      }
    }
    if (sent.batches === 0) {
      // So that subscribers learn the schema.
      const batch = reader.empty();
      try {
        await this.#sendRows(batch, 0, 0, send, sent);
      } finally {
        batch.dispose();
      }
    }
    return sent;
  }

  /** In parts, where a batch would take more than half of the memory. */
  async #sendParts(batch: Batch, send: (batch: Batch) => Promise<unknown>, sent: Sent): Promise<void> {
    const parts = Math.max(1, Math.ceil(batch.byteLength / (this.#memory / 2)));
    const rows = Math.max(1, Math.ceil(batch.length / parts));
    for (let begin = 0; begin < batch.length || begin === 0; begin += rows) {
      await this.#sendRows(batch, begin, Math.min(begin + rows, batch.length), send, sent);
    }
  }

  async #sendRows(
    batch: Batch,
    begin: number,
    end: number,
    send: (batch: Batch) => Promise<unknown>,
    sent: Sent,
  ): Promise<void> {
    const whole = end - begin === batch.length;
    const part = whole ? batch : batch.slice(begin, end);
    try {
      await send(part);
    } catch (error) {
      if (!isCode(error, "ERR_OUT_OF_MEMORY") || end - begin < 2) throw error;
      const middle = begin + ((end - begin) >> 1);
      await this.#sendRows(batch, begin, middle, send, sent);
      await this.#sendRows(batch, middle, end, send, sent);
      return;
    } finally {
      if (!whole) part.dispose();
    }
    sent.batches++;
    sent.rows += end - begin;
    sent.bytes += batch.length === 0 ? 0 : Math.round((batch.byteLength * (end - begin)) / batch.length);
    this.#output.progress(() => `${countText(sent.batches, "batch")}, ${countText(sent.rows, "row")}`);
  }

  #sent(event: { event: string; subscriber?: number }, sent: Sent, started: number): void {
    const seconds = (performance.now() - started) / 1000;
    const what = `${countText(sent.batches, "batch")}, ${countText(sent.rows, "row")}, ${bytesText(sent.bytes)}`;
    const whom = event.subscriber === undefined ? "" : `subscriber ${event.subscriber}: `;
    this.#output.event({ ...event, ...sent, seconds }, `${whom}${what} in ${seconds.toFixed(2)} s`);
  }

  #isRegular(): boolean {
    if (this.#file === "-") return false;
    const stat = statSync(this.#file, { throwIfNoEntry: false });
    return stat === undefined || stat.isFile() || stat.isDirectory();
  }
}
