/**
 * Arrow data at rest, read and written natively: every type, without apache-arrow. For the command line.
 */

import { unlessAborted } from "./aborted.js";
import type { JsonSchema } from "./arrow/json-schema.js";
import { type Batch, batchFromScratch, insideOf } from "./batch.js";
import { ArrowlaneError } from "./errors.js";
import { addon } from "./native/addon.js";
import type { NativeReader, NativeSummary, NativeWriter } from "./native/binding.js";
import { lane, native, translated } from "./native/lane.js";
import { schemaHandle, schemaJson } from "./schemas.js";

/** What one column held, over all batches that were added. */
export interface ColumnSummary {
  name: string;
  type: string;
  rows: number;
  nulls: number;
  min: string | null;
  max: string | null;
  bytes: number;
}

/** What was written to a file. */
export interface Written {
  rows: number;
  batches: number;
  bytes: number;
}

/**
 * Opens an IPC file, IPC stream or Parquet file, told apart by content; `-` is an IPC stream on standard input.
 *
 * With a signal, whoever waits for the file gets its reason. What is being read of a pipe goes on being read, and an
 * ordinary exit of the process waits for that.
 */
export async function openFile(path: string, signal?: AbortSignal): Promise<FileReader> {
  const opened = await unlessAborted(lane().native.openReader(path), signal);
  return new FileReader(
    native(() => opened.get()),
    signal,
  );
}

/** The batches of a file, once. One batch is read ahead; whoever gets a batch disposes it. */
export class FileReader implements AsyncIterable<Batch> {
  readonly #reader: NativeReader;
  readonly #signal: AbortSignal | undefined;
  #pending: Promise<Batch | undefined> = Promise.resolve(undefined);
  /** Whether the first batch was asked for already. */
  #begun = false;

  /** @internal Use `openFile`. */
  constructor(reader: NativeReader, signal: AbortSignal | undefined) {
    this.#reader = reader;
    this.#signal = signal;
  }

  /** What it is, for people: "Arrow IPC file", "Arrow IPC stream", "Parquet". */
  get format(): string {
    return this.#reader.format;
  }

  /** Number of rows, where the file says it beforehand. */
  get rows(): number | undefined {
    const { rows } = this.#reader;
    return rows < 0 ? undefined : rows;
  }

  /** A batch of the file's schema without rows, for a file that has no batches. */
  empty(): Batch {
    native(() => lane().native.emptyRead(this.#reader));
    return batchFromScratch("file");
  }

  /** Reads the first batch ahead: rejects when the file is damaged there already. */
  async begin(): Promise<void> {
    if (!this.#begun) this.#readAhead();
    await unlessAborted(this.#pending, this.#signal);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Batch, void, void> {
    if (!this.#begun) this.#readAhead();
    try {
      for (;;) {
        const batch = await unlessAborted(this.#pending, this.#signal);
        if (batch === undefined) return;
        this.#readAhead();
        yield batch;
      }
    } finally {
      this.close();
    }
  }

  /** Closes the file as soon as no read is under way. */
  close(): void {
    const close = () => this.#reader.close();
    this.#pending.then((batch) => batch?.dispose()).then(close, close);
    this.#pending = Promise.resolve(undefined);
  }

  #readAhead(): void {
    this.#begun = true;
    this.#pending = this.#next();
    // Whoever waits for it hears of a failure; nobody may be waiting yet.
    this.#pending.catch(() => {});
  }

  async #next(): Promise<Batch | undefined> {
    const result = await this.#reader.next();
    return native(() => lane().native.takeRead(result)) ? batchFromScratch("file") : undefined;
  }
}

/**
 * A file that is being written. It appears under its name when it is finished, and replaces what had that name;
 * nothing is left of one that is not.
 */
export class FileWriter {
  readonly #writer: NativeWriter;

  private constructor(writer: NativeWriter) {
    this.#writer = writer;
  }

  /** Starts a file for batches like this one: `.arrow` is an IPC file, `.arrows` an IPC stream, `-` standard output. */
  static create(path: string, like: Batch): FileWriter {
    const { schema } = insideOf(like).origin;
    return new FileWriter(native(() => lane().native.createWriter(path, schema)));
  }

  /** As `create`, for batches of a schema given as JSON. */
  static forSchema(path: string, schema: JsonSchema): FileWriter {
    return new FileWriter(native(() => lane().native.createWriter(path, schemaHandle(schema))));
  }

  /** Appends a batch, which must stay undisposed until then. */
  async write(batch: Batch): Promise<void> {
    const { handle } = whole(batch);
    const result = await native(() => lane().native.writeBatch(this.#writer, handle));
    native(() => result.get());
  }

  /** Ends the file and gives it its name. */
  async finish(): Promise<Written> {
    const result = await lane().native.finishWriter(this.#writer);
    const [rows, batches, bytes] = native(() => result.get());
    return { rows, batches, bytes };
  }

  /** Gives up; no write may be under way. */
  abort(): void {
    lane().native.abortWriter(this.#writer);
  }
}

/** Sums up columns of every type, batch by batch. */
export class FileSummary {
  readonly #summary: NativeSummary = new (addon().NativeSummary)();

  add(batch: Batch): void {
    const { handle } = whole(batch);
    try {
      lane().native.summarise(this.#summary, handle);
    } catch (error) {
      throw translated(error);
    }
  }

  finish(): ColumnSummary[] {
    return JSON.parse(native(() => this.#summary.finish())) as ColumnSummary[];
  }
}

/** A batch's schema as JSON (Arrow's integration format), for every type. */
export function schemaOf(batch: Batch): JsonSchema {
  return schemaJson(insideOf(batch).origin.schema);
}

/** The body of a batch that is not a slice or selection of another. */
function whole(batch: Batch): { handle: number } {
  const { body, part } = insideOf(batch);
  if (part.columns === undefined && part.begin === 0 && part.end === body.rows) return body;
  throw new ArrowlaneError("ERR_INVALID_ARGUMENT", "a part of a batch cannot be written: copy() it first");
}
