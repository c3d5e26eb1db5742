import type { TypeMap } from "apache-arrow";
import type { BatchWriter, Bitmap, ColumnOf, WriterPlan } from "./arrow/writer.js";
import { arrow } from "./arrow-layer.js";
import type { Location } from "./batch.js";
import type { UnknownColumns } from "./columns.js";
import { ArrowlaneError } from "./errors.js";
import type { OutgoingLayout } from "./layout.js";
import { lane, native } from "./native/lane.js";

export type { WriterOptions } from "./arrow/writer.js";

/** A block of a publisher's memory that is being written. */
export interface Block {
  readonly publisher: number;
  readonly handle: number;
  readonly buffer: ArrayBuffer;
}

/** The writer whose block an ArrayBuffer is, so that a RecordBatch over it need not be copied. */
const writers = new WeakMap<ArrayBufferLike, Writer>();

let owner: (writer: Writer) => number;
let take: (writer: Writer) => { block: Block; plan: WriterPlan };

/**
 * A batch that is written where it will be read: its typed arrays lie in the publisher's shared memory.
 *
 * Send it, or `dispose` it. Until it is sent nobody sees it; from then on its arrays have length 0. Await file and crypto
 * jobs that write into them before that: they do not notice. A writer that is neither sent nor disposed keeps its memory
 * until its arrays are collected. It belongs to its thread.
 */
export class Writer<T extends TypeMap = UnknownColumns> {
  readonly #block: Block;
  readonly #writer: BatchWriter<T>;
  #spent = false;

  static {
    owner = (writer) => writer.#block.publisher;
    take = (writer) => {
      writer.#spend();
      return { block: writer.#block, plan: writer.#writer.plan };
    };
  }

  /** @internal Use `Publisher.allocate`. */
  constructor(block: Block, plan: WriterPlan) {
    this.#block = block;
    this.#writer = new (arrow().BatchWriter)<T>(plan, block.buffer);
    writers.set(block.buffer, this);
  }

  /** The number of rows there is room for. */
  get rows(): number {
    return this.#writer.rows;
  }

  /** The number of rows that will be sent: all, until set. */
  get length(): number {
    return this.#writer.length;
  }

  set length(rows: number) {
    this.#live().length = rows;
  }

  /** Which shared memory it lies in: the same that its subscribers see. `undefined` where memory cannot be shared. */
  get location(): Location | undefined {
    this.#live();
    const { publisher, handle } = this.#block;
    const [device, inode, offset] = native(() => lane().native.blockLocation(publisher, handle));
    return device === undefined ? undefined : { memory: `memfd:${device}:${inode}`, offset };
  }

  /**
   * A column to write: a typed array for fixed width, whose contents are unspecified until written; a builder with `append`
   * for Utf8 and Binary, one value for each row; `set(row, value)` for Bool, all `false` when first asked for. A FixedSizeList
   * is the array of its values, a decimal its 32-bit words. A column that is never asked for is sent as it lies there.
   */
  column<K extends keyof T & string>(name: K): ColumnOf<T[K]> {
    return this.#live().column(name);
  }

  /** Says which values of a nullable column are there; all are, until one is set otherwise. */
  validity(name: keyof T & string): Bitmap {
    return this.#live().validity(name);
  }

  /** Gives the memory back unsent. Doing it twice, or after `send`, does nothing. */
  dispose(): void {
    if (this.#spent) return;
    const { handle, buffer } = this.#block;
    this.#spend();
    native(() => lane().native.freeBlock(handle, buffer));
    lane().stirred();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal Where everything lies that was written. */
  finish(): OutgoingLayout & { rows: number } {
    return this.#live().finish();
  }

  #live(): BatchWriter<T> {
    if (!this.#spent) return this.#writer;
    throw new ArrowlaneError("ERR_DISPOSED", "this writer was sent or disposed: allocate another one");
  }

  #spend(): void {
    this.#live();
    this.#spent = true;
    writers.delete(this.#block.buffer);
  }
}

/** Takes the block out of a writer, which is spent by that. */
export function takeBlock(writer: Writer): { block: Block; plan: WriterPlan } {
  return take(writer);
}

/** The unsent writer whose block a buffer is, if any. */
export function writerOf(buffer: ArrayBufferLike): Writer | undefined {
  return writers.get(buffer);
}

/** Native handle of the publisher in whose memory a writer writes. */
export function publisherOf(writer: Writer): number {
  return owner(writer);
}

/** The error of a publisher that is given the writer of another. */
export function notOurs(): ArrowlaneError {
  return new ArrowlaneError(
    "ERR_INVALID_ARGUMENT",
    "this writer is another publisher's: send it there, or allocate one from this publisher",
  );
}
