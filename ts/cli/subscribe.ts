/** `arrowlane subscribe TOPIC`. */
import { extname } from "node:path";
import type { Command } from "commander";
import type { Batch } from "../batch.js";
import { ArrowlaneError } from "../errors.js";
import { FileSummary, FileWriter, schemaOf, type Written } from "../files.js";
import { subscribe } from "../subscription.js";
import { bytesText, countText, Output } from "./output.js";
import { addQueueOptions, policyOf, type QueueOptions } from "./policy.js";
import type { Stop } from "./stop.js";
import { positive, wrongUsage } from "./usage.js";

interface Options extends QueueOptions {
  out?: string;
  count?: number;
  json?: boolean;
  reconnect?: boolean;
  summary?: boolean;
  wait: boolean;
}

export function addSubscribe(program: Command, stop: Stop): void {
  const command = program
    .command("subscribe")
    .description("print what a topic's publisher sends, or write it to a file")
    .argument("<topic>", "name of the topic")
    .option(
      "--out <file>",
      ".arrow: Arrow IPC file; .arrows: Arrow IPC stream; -: a stream on standard output",
    )
    .option("--count <n>", "stop after so many batches", positive)
    .option("--summary", "print a summary of every column at the end")
    .option("--json", "print one JSON object per line")
    .option("--no-wait", "fail when the topic has no publisher yet")
    .option("--reconnect", "when the publisher dies, wait for the next one");
  addQueueOptions(
    command,
    "this subscriber's",
    "begin with the latest batch, where the publisher keeps it",
  ).action((topic: string, options: Options) => new Receiver(topic, options, stop).run());
}

class Receiver {
  readonly #topic: string;
  readonly #options: Options;
  readonly #stop: Stop;
  readonly #output: Output;
  readonly #summary: FileSummary | undefined;
  readonly #started = performance.now();
  #writer: FileWriter | undefined;
  #batches = 0;
  #rows = 0;
  #bytes = 0;

  constructor(topic: string, options: Options, stop: Stop) {
    const { out, json = false, summary = false } = options;
    if (out !== undefined && out !== "-" && ![".arrow", ".arrows"].includes(extname(out))) {
      throw wrongUsage(
        `--out ${out}: the name must end in .arrow (IPC file) or .arrows (IPC stream), or be -`,
      );
    }
    if (out === "-" && (json || summary)) {
      throw wrongUsage("--out - takes standard output for the stream: leave --json and --summary out");
    }
    this.#topic = topic;
    this.#options = options;
    this.#stop = stop;
    this.#output = new Output(json, stop);
    this.#summary = summary ? new FileSummary() : undefined;
  }

  async run(): Promise<void> {
    const { count = Infinity, wait, reconnect = false } = this.#options;
    const onReconnect = (reconnects: number) =>
      this.#output.event({ event: "reconnected", reconnects }, `publisher ${reconnects + 1} of the topic`);
    const policy = policyOf(this.#options);
    const { signal } = this.#stop;
    const subscription = subscribe(this.#topic, { wait, reconnect, onReconnect, signal, ...policy });
    try {
      for await (const batch of subscription) {
        try {
          await this.#received(batch);
        } finally {
          batch.dispose();
        }
        if (this.#batches >= count || this.#stop.requested !== undefined) break;
      }
    } catch (error) {
      // Being stopped ends a recording; what came so far is complete batches and becomes a complete file.
      if (this.#stop.requested === undefined) {
        this.#writer?.abort();
        throw this.#explained(error);
      }
    }
    this.#ended(await this.#writer?.finish(), subscription.statistics().dropped);
  }

  async #received(batch: Batch): Promise<void> {
    const { out } = this.#options;
    if (this.#batches === 0 && this.#output.json) {
      this.#output.event({ event: "schema", schema: schemaOf(batch) });
    }
    this.#batches++;
    this.#rows += batch.length;
    this.#bytes += batch.byteLength;
    this.#describe(batch);
    this.#summary?.add(batch);
    if (out !== undefined) {
      this.#writer ??= FileWriter.create(out, batch);
      await this.#writer.write(batch);
    }
  }

  #describe(batch: Batch): void {
    const { length: rows, byteLength: bytes, via, zeroCopy, location, address, metadata } = batch;
    const columns = schemaOf(batch).fields.length;
    const place = location === undefined ? "" : `, at ${location.memory}+${location.offset}`;
    const text = `batch ${this.#batches}: ${countText(rows, "row")}, ${countText(columns, "column")}, ${bytesText(bytes)}${place}`;
    this.#output.event(
      {
        event: "batch",
        batch: this.#batches,
        rows,
        columns,
        bytes,
        via,
        zeroCopy,
        memory: location?.memory ?? null,
        offset: location === undefined ? null : Number(location.offset),
        address: `0x${address.toString(16)}`,
        metadata: Object.fromEntries(metadata),
      },
      this.#options.out === undefined && this.#summary === undefined ? text : undefined,
    );
    this.#output.progress(() => `${countText(this.#batches, "batch")}, ${countText(this.#rows, "row")}`);
  }

  #ended(written: Written | undefined, dropped: number): void {
    const { out } = this.#options;
    this.#output.clear();
    this.#columns();
    const seconds = (performance.now() - this.#started) / 1000;
    const [batches, rows, bytes] = [this.#batches, this.#rows, this.#bytes];
    const lost = dropped > 0 ? `, ${countText(dropped, "batch")} dropped` : "";
    const what = `${countText(batches, "batch")}, ${countText(rows, "row")}, ${bytesText(bytes)}${lost}`;
    if (out !== "-") {
      const signal = this.#stop.requested;
      const file = written === undefined ? {} : { out, written: written.bytes };
      this.#output.event(
        {
          event: "end",
          batches,
          rows,
          bytes,
          dropped,
          seconds,
          ...file,
          ...(signal === undefined ? {} : { signal }),
        },
        written === undefined ? what : `${what} → ${out} (${bytesText(written.bytes)})`,
      );
    }
    if (out === undefined || written !== undefined) return;
    const problem = `no batch came, so the schema is not known: ${out === "-" ? "no stream" : out} was not written`;
    if (this.#stop.requested === undefined) throw new ArrowlaneError("ERR_CLOSED", problem);
    this.#output.note(problem);
  }

  #columns(): void {
    const columns = this.#summary?.finish() ?? [];
    for (const { name, type, rows, nulls, min, max, bytes } of columns) {
      const range = min === null ? "" : `, ${min} … ${max}`;
      this.#output.event(
        { event: "column", name, type, rows, nulls, min, max, bytes },
        `${name}: ${type}, ${countText(nulls, "null")}${range}, ${bytesText(bytes)}`,
      );
    }
  }

  /** An error in the middle of a file says what became of the file. */
  #explained(error: unknown): unknown {
    const { out } = this.#options;
    if (this.#writer === undefined || out === "-" || !(error instanceof ArrowlaneError)) return error;
    const lost = `${out} was not written (${countText(this.#batches, "batch")} had come)`;
    return new ArrowlaneError(error.code, `${error.message}; ${lost}`, { cause: error });
  }
}
