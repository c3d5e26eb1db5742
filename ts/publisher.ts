import type { RecordBatch, Schema, Table, TypeMap } from "apache-arrow";
import type { JsonSchema } from "./arrow/json-schema.js";
import type { AnySchema } from "./arrow/schema.js";
import { arrow } from "./arrow-layer.js";
import type { Batch } from "./batch.js";
import { ArrowlaneError } from "./errors.js";
import { Kind, lane, native, type Owner, translated } from "./native/lane.js";
import { Outbox } from "./outbox.js";
import { type Block, Writer, type WriterOptions } from "./writer.js";

/** How a publisher behaves. */
export interface PublishOptions {
  /** The most shared memory that it takes, in bytes: 1 GiB unless said otherwise. */
  memory?: number;
  /** How far one subscriber may lag behind: batches sent and not yet taken, and their bytes. */
  queue?: { batches?: number; bytes?: number };
  /** `send` waits while there are fewer subscribers; 1 unless said otherwise. With 0, batches that nobody gets are dropped. */
  minSubscribers?: number;
  /**
   * Gives every subscriber a stream of its own: called once for each, it sends to that one alone; the stream ends when
   * it resolves. Then `send` on the publisher itself is not available.
   */
  onSubscriber?: (stream: SubscriberStream) => Promise<void>;
  /** Throw `ERR_COPY_REQUIRED` where `send` would have to copy. */
  strictZeroCopy?: boolean;
}

/** What can be sent. */
export type Sendable = Batch | Writer | RecordBatch | Table | Uint8Array;

/** What can be said of one sending. */
export interface SendOptions {
  /** Key/values that travel with the batch. */
  metadata?: ReadonlyMap<string, string> | Record<string, string>;
  /** Gives up waiting; rejects with the signal's reason, and the batch is not sent. */
  signal?: AbortSignal;
}

/** A publisher's figures at a moment. */
export interface PublisherStatistics {
  readonly subscribers: number;
  /** Batches (and dictionaries) that subscribers hold or have not taken yet, over all of them. */
  readonly leases: number;
  /** Bytes of blocks in use, and of all memory taken so far. */
  readonly bytesInUse: number;
  readonly capacity: number;
}

const DEFAULTS = { memory: 2 ** 30, batches: 64, bytes: 2 ** 28 };

/**
 * A topic's sending side. Lossless: `send` resolves when the batch is on its way to every subscriber, and waits while
 * one of them is too far behind, there is no memory left, or there is no subscriber at all.
 *
 * An idle publisher does not keep the process alive; a pending `send`, `allocate` or `close` does.
 */
export class Publisher implements Owner {
  /** The topic. */
  readonly topic: string;
  readonly #id: number;
  readonly #outbox: Outbox;
  readonly #options: PublishOptions;
  readonly #streams = new Map<number, SubscriberStream>();
  #subscribers = 0;
  #closed: { promise: Promise<void>; resolve(): void } | undefined;

  /** @internal Use `publish`. */
  constructor(topic: string, id: number, options: PublishOptions) {
    this.topic = topic;
    this.#id = id;
    this.#options = options;
    this.#outbox = new Outbox(id, 0, options.strictZeroCopy ?? false);
    lane().own(id, this);
  }

  /** Subscribers that take part at this moment. */
  get subscribers(): number {
    return this.#subscribers;
  }

  /** Its URI: what subscribers are greeted with. */
  get uri(): string {
    return native(() => lane().native.publisherUri(this.#id));
  }

  /** Its figures at this moment. */
  statistics(): PublisherStatistics {
    return native(() => lane().native.publisherStatistics(this.#id));
  }

  /**
   * Memory to write `rows` rows of `schema` into, where subscribers will read them. Waits while all of the publisher's
   * memory is held. Throws `ERR_OUT_OF_MEMORY` when the batch can never fit, or the machine has no more.
   */
  allocate<T extends TypeMap>(
    schema: Schema<T>,
    rows: number,
    options: WriterOptions & { signal?: AbortSignal } = {},
  ): Promise<Writer<T>> {
    try {
      const plan = this.#outbox.writerPlan(schema as unknown as AnySchema | JsonSchema, rows, options);
      const wrap = (block: Block) => new Writer<T>(block, plan);
      const block = this.#outbox.tryAllocate(plan.bytes);
      if (typeof block === "object") return Promise.resolve(wrap(block));
      return this.#outbox.allocate(plan.bytes, options.signal).then(wrap);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Sends a batch to every subscriber, in the order of the calls, and resolves to their number. A `Writer` and a
   * RecordBatch over a writer's arrays go without a copy, everything else is copied once. The first batch fixes the
   * topic's schema: later ones with another are refused with `ERR_SCHEMA_MISMATCH`.
   */
  send(what: Sendable, options: SendOptions = {}): Promise<number> {
    if (this.#options.onSubscriber !== undefined) {
      const message = "this publisher gives every subscriber a stream of its own: send on that stream";
      return Promise.reject(new ArrowlaneError("ERR_INVALID_ARGUMENT", message));
    }
    return this.#outbox.send(what, options);
  }

  /**
   * Ends the stream: after what was sent before, every subscriber sees its end. The name is free at once. Resolves when
   * everything is handed over; batches that subscribers hold stay valid.
   */
  async close(): Promise<void> {
    if (this.#closed === undefined) {
      let resolve = () => {};
      const promise = new Promise<void>((done) => {
        resolve = done;
      });
      this.#closed = { promise, resolve };
      lane().native.hold();
      await this.#outbox.settled();
      native(() => lane().native.closePublisher(this.#id));
      lane().stirred();
    }
    return this.#closed.promise;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal */
  happened(kind: number, mailbox: Float64Array, at: number): void {
    switch (kind) {
      case Kind.Joined:
        this.#subscribers++;
        if (this.#options.onSubscriber !== undefined) this.#joined(mailbox[at], this.#options.onSubscriber);
        break;
      case Kind.Left:
        this.#subscribers--;
        this.#streams.get(mailbox[at])?.left();
        this.#streams.delete(mailbox[at]);
        break;
      case Kind.Closed:
        this.#subscribers = 0;
        lane().disown(this.#id);
        if (this.#closed !== undefined) lane().native.letGo();
        this.#closed?.resolve();
        break;
      default:
    }
    this.#outbox.room.changed();
    for (const stream of this.#streams.values()) stream.changed();
  }

  #joined(connection: number, serve: (stream: SubscriberStream) => Promise<void>): void {
    const stream = new SubscriberStream(this.#id, connection, this.#options.strictZeroCopy ?? false);
    this.#streams.set(connection, stream);
    const finish = () => {
      this.#streams.delete(connection);
      stream.finish();
    };
    const failed = (error: unknown) => {
      finish();
      // Its subscriber left in the middle: that is no error of this publisher's.
      if (!stream.hasLeft) throw error;
    };
    void Promise.resolve()
      .then(() => serve(stream))
      .then(finish, failed);
  }
}

/** One subscriber's own stream. */
export class SubscriberStream {
  readonly #publisher: number;
  readonly #connection: number;
  readonly #outbox: Outbox;
  #left = false;

  /** @internal */
  constructor(publisher: number, connection: number, strict: boolean) {
    this.#publisher = publisher;
    this.#connection = connection;
    this.#outbox = new Outbox(publisher, connection, strict);
  }

  /** Whether the subscriber is gone. */
  get hasLeft(): boolean {
    return this.#left;
  }

  /** Sends to this subscriber alone; see {@link Publisher.send}. Rejects with `ERR_CLOSED` when it left. */
  async send(what: Sendable, options: SendOptions = {}): Promise<void> {
    await this.#outbox.send(what, options);
  }

  /** @internal */
  left(): void {
    this.#left = true;
    this.changed();
  }

  /** @internal */
  changed(): void {
    this.#outbox.room.changed();
  }

  /** @internal */
  finish(): void {
    this.#outbox.drop();
    if (!this.#left) native(() => lane().native.finishConnection(this.#publisher, this.#connection));
    lane().stirred();
  }
}

/**
 * Opens a topic for subscribers of this user on this machine. Rejects with `ERR_TOPIC_TAKEN` when a live publisher has
 * that name; what a dead one left behind is taken over.
 *
 * ```js
 * const out = await publish("camera/frames");
 * const writer = await out.allocate(schema, 1_000_000);
 * writer.column("temperature").fill(21.5);
 * await out.send(writer);
 * await out.close();
 * ```
 */
export async function publish(topic: string, options: PublishOptions = {}): Promise<Publisher> {
  if (typeof topic !== "string")
    throw new ArrowlaneError("ERR_INVALID_ARGUMENT", "the topic must be a string");
  const { memory = DEFAULTS.memory, queue = {}, minSubscribers = 1, onSubscriber } = options;
  const { batches = DEFAULTS.batches, bytes = DEFAULTS.bytes } = queue;
  for (const [name, value, least] of [
    ["memory", memory, 1],
    ["queue.batches", batches, 1],
    ["queue.bytes", bytes, 1],
    ["minSubscribers", minSubscribers, 0],
  ] as const) {
    if (Number.isSafeInteger(value) && value >= least) continue;
    throw new ArrowlaneError(
      "ERR_INVALID_ARGUMENT",
      `${name} must be a whole number from ${least}, not ${value}`,
    );
  }
  try {
    const { native: natively } = lane();
    const prepared = await natively.preparePublisher(topic, {
      memory,
      queueBatches: batches,
      queueBytes: bytes,
      minSubscribers,
      perSubscriber: onSubscriber !== undefined,
    });
    return new Publisher(topic, natively.startPublisher(prepared), options);
  } catch (error) {
    throw translated(error);
  }
}
