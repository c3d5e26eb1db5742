import { AsyncResource } from "node:async_hooks";
import type { Schema, TypeMap } from "apache-arrow";
import { unlessAborted } from "./aborted.js";
import type { JsonSchema } from "./arrow/json-schema.js";
import type { AnySchema } from "./arrow/schema.js";
import { tellOfPublisher } from "./diagnostics.js";
import { ArrowlaneError, describe } from "./errors.js";
import { Kind, lane, native, translated } from "./native/lane.js";
import { checkFlag, checkFunction, checkObject, checkSignal, checkWhole } from "./options.js";
import { Outbox } from "./outbox.js";
import {
  checkQueue,
  type LeaseStatistics,
  type PolicyOptions,
  publisherPolicy,
  type SubscriberStatistics,
  subscriberFrom,
} from "./policy.js";
import { checkSending, type Sendable, type SendOptions } from "./sending.js";
import { SubscriberStream } from "./subscriber-stream.js";
import { type Block, Writer, type WriterOptions } from "./writer.js";

/** How a publisher behaves. */
export interface PublishOptions extends PolicyOptions {
  /**
   * The most memory that it takes for batches, shared where that is possible, in bytes: 1 GiB unless said otherwise. At most 64 MiB are taken at first, more
   * as it is needed; what lay idle for some seconds goes back to the system when blocks come and go.
   */
  memory?: number;
  /**
   * How far one subscriber may lag behind that asks for nothing else: batches sent and not yet taken (64; 65,536 at
   * most), and their bytes (256 MiB). One batch always fits.
   */
  queue?: { batches?: number; bytes?: number };
  /** `send` waits while there are fewer subscribers; 1 unless said otherwise. With 0, batches that nobody gets are dropped. */
  minSubscribers?: number;
  /**
   * Gives every subscriber a stream of its own: called once for each, it sends to that one alone; the stream ends when
   * it resolves. Then `send` on the publisher itself is not available. What it throws is an unhandled rejection, unless
   * its subscriber has left.
   */
  onSubscriber?: (stream: SubscriberStream) => Promise<void>;
  /** Reject with `ERR_COPY_REQUIRED` where `send` would have to copy; `publish` itself, where memory cannot be shared. */
  strictZeroCopy?: boolean;
}

/** How a publisher is closed. */
export interface CloseOptions {
  /**
   * Ends every stream that has not ended with this error instead of its end, for a producer that has to stop in the
   * middle: subscribers get `ERR_REMOTE`, which names its `code` and message, and do not take what came for all.
   */
  error?: unknown;
  /**
   * Gives up waiting for subscribers that do not take what was sent: what is not sent rejects with `ERR_CLOSED`, and streams
   * that miss something end with an error (`ERR_REMOTE`, or `ERR_PUBLISHER_LOST` where there is no room even for that). The
   * publisher is closed then, and `close` rejects with the signal's reason.
   */
  signal?: AbortSignal;
}

/** A publisher's figures at a moment. */
export interface PublisherStatistics {
  /** Subscribers that take part. */
  readonly subscribers: number;
  /** Batches (and dictionaries) that subscribers hold or have not taken yet, over all of them. */
  readonly leases: number;
  /** Bytes of blocks that are being written, are queued, or are held by subscribers; whole pages. */
  readonly bytesInUse: number;
  /** Bytes of memory for batches taken so far. */
  readonly capacity: number;
}

/** @internal The number under which the native side knows it. */
export function publisherId(publisher: Publisher): number {
  return idOf(publisher);
}

let idOf: (publisher: Publisher) => number;

interface Closing {
  readonly promise: Promise<void>;
  resolve(): void;
}

/** The connections that a publisher takes. */
const MAX_SUBSCRIBERS = 1024;
const DEFAULTS = { memory: 2 ** 30, batches: 64, bytes: 2 ** 28 };

/**
 * A topic's sending side. Lossless unless `overflow` says otherwise: `send` resolves when the batch is on its way to
 * every subscriber, and waits while one of them is too far behind, there is no memory left, or there is no subscriber
 * at all.
 *
 * An idle publisher does not keep the process alive; a pending `send`, `allocate` or `close` does. It belongs to its
 * thread. After `close` every call rejects (or throws) with `ERR_CLOSED`.
 */
export class Publisher {
  /** The topic. */
  readonly topic: string;
  readonly #id: number;
  readonly #outbox: Outbox;
  readonly #options: PublishOptions;
  readonly #streams = new Map<number, SubscriberStream>();
  /** Where `onSubscriber` is called: the asynchronous context of `publish`, not of whatever came first. */
  readonly #context = new AsyncResource("arrowlane.Publisher");

  static {
    idOf = (publisher) => publisher.#id;
  }

  #subscribers = 0;
  #closed: Closing | undefined;
  /** Code and message of the error that it ends with, if any. */
  #failure: string[] | undefined;
  /** The streams were told to end. */
  #ending = false;
  /** Everything was handed over, and the native side knows it no more. */
  #ended = false;

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

  /** Each subscriber's policy and figures at this moment; those that left and hold batches still are among them. */
  subscriptions(): SubscriberStatistics[] {
    return native(() => lane().native.subscriptions(this.#id)).map(subscriberFrom);
  }

  /** The batches that each subscriber holds or has not taken yet, the oldest first. Dictionaries are not among them. */
  leases(): LeaseStatistics[] {
    return native(() => lane().native.leases(this.#id)).map(({ pid, ...lease }) => ({ ...lease, pid }));
  }

  /**
   * Memory to write `rows` rows of `schema` into, where subscribers will read them. The caller sends or disposes it.
   *
   * Waits while all of the publisher's memory is held, and while more is taken, off the event loop. Rejects with
   * `ERR_OUT_OF_MEMORY` when the batch can never fit or the machine has no more, with `ERR_UNSUPPORTED_TYPE` for a column
   * that cannot be written in place (nested other than FixedSizeList, views, dictionaries).
   */
  allocate<T extends TypeMap>(
    schema: Schema<T>,
    rows: number,
    options: WriterOptions & { signal?: AbortSignal } = {},
  ): Promise<Writer<T>> {
    try {
      this.#checkOpen();
      checkObject("the options of allocate", options);
      checkSignal(options.signal);
      options.signal?.throwIfAborted();
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
   * Sends a batch to every subscriber, in the order of the calls, and resolves to the number of those it was given to as
   * soon as it is on its way: not when they have read it. A `Writer` and a RecordBatch over one unsent writer's arrays go without a copy, and
   * that writer is spent by the call. Everything else stays the caller's: a `Batch` that was received is forwarded from where
   * it lies, as it was received, and its lease ends when this handle is disposed and every subscriber is done with it; the
   * rest is copied once. The caller leaves it as it is until this resolves (and disposes a `Batch` after that). Await file and
   * crypto jobs that still write the arrays first.
   *
   * A Table goes as its batches, one that has none as a batch without rows. The first batch fixes the topic's schema: others are refused with
   * `ERR_SCHEMA_MISMATCH`. Further codes: `ERR_CLOSED`, `ERR_OUT_OF_MEMORY`, `ERR_INVALID_DATA`, `ERR_COPY_REQUIRED`.
   */
  send(what: Sendable, options: SendOptions = {}): Promise<number> {
    if (this.#options.onSubscriber !== undefined) {
      const message = "this publisher gives every subscriber a stream of its own: send on that stream";
      return Promise.reject(new ArrowlaneError("ERR_INVALID_ARGUMENT", message));
    }
    try {
      this.#checkOpen();
      checkSending(options);
    } catch (error) {
      if (what instanceof Writer) what.dispose();
      return Promise.reject(error);
    }
    return this.#outbox.send(what, options);
  }

  /**
   * Ends the stream: after what was sent before, every subscriber sees its end. The name is free then. Resolves when
   * everything is handed over; batches that subscribers hold stay valid. Forwarded ones are another publisher's memory:
   * `close` waits until nobody downstream reads them any more; given up by `signal`, their leases end when that is so
   * all the same. Streams that `onSubscriber` still serves end
   * with an error (`ERR_REMOTE` at the subscriber), and their `send` rejects with `ERR_CLOSED`: let them finish first.
   *
   * Sends that wait for room are waited for; those that wait for a subscriber reject with `ERR_CLOSED`, as none can come any
   * more. With `error`, every send that waits rejects so, and all streams end with that error.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    checkObject("the options of close", options);
    const { error, signal } = options;
    checkSignal(signal);
    const closing = this.#closed ?? this.#startClosing();
    if (error !== undefined) {
      this.#failure ??= describe(error);
      this.#outbox.giveUp();
    }
    try {
      await unlessAborted(closing.promise, signal);
    } catch (reason) {
      if (signal?.aborted) this.#giveUp();
      throw reason;
    }
  }

  #startClosing(): Closing {
    let resolve = () => {};
    let reject = (_: unknown) => {};
    const promise = new Promise<void>((done, failed) => {
      resolve = done;
      reject = failed;
    });
    this.#closed = { promise, resolve };
    lane().native.hold();
    this.#outbox.close();
    this.#outbox
      .settled()
      .then(() => this.#end())
      .catch(reject);
    return this.#closed;
  }

  /** Ends the streams, which have got everything that they will get. */
  #end(): void {
    if (this.#ending) return;
    this.#ending = true;
    native(() => lane().native.closePublisher(this.#id, this.#failure));
    lane().stirred();
  }

  /** Ends at once, whatever waits. */
  #giveUp(): void {
    if (this.#ended) return;
    if (this.#outbox.isWaiting) {
      this.#failure ??= ["ERR_CLOSED", "the publisher was closed before everything was sent"];
    }
    this.#outbox.giveUp();
    this.#end();
    native(() => lane().native.giveUpPublisher(this.#id));
    lane().stirred();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal */
  happened(kind: number, mailbox: Float64Array, at: number): boolean {
    switch (kind) {
      case Kind.Joined:
        this.#subscribers++;
        tellOfPublisher("joined", this.topic, mailbox[at]);
        if (this.#options.onSubscriber !== undefined) this.#joined(mailbox[at], this.#options.onSubscriber);
        break;
      case Kind.Evicted:
      case Kind.Left:
        this.#subscribers--;
        tellOfPublisher(kind === Kind.Left ? "left" : "evicted", this.topic, mailbox[at]);
        this.#streams.get(mailbox[at])?.left();
        this.#streams.delete(mailbox[at]);
        break;
      case Kind.Closed:
        this.#subscribers = 0;
        this.#ended = true;
        tellOfPublisher("closed", this.topic);
        this.#outbox.drop();
        lane().disown(this.#id);
        if (this.#closed !== undefined) lane().native.letGo();
        this.#closed?.resolve();
        break;
      default:
    }
    this.#outbox.room.changed();
    for (const stream of this.#streams.values()) stream.changed();
    return false;
  }

  #checkOpen(): void {
    if (this.#closed === undefined) return;
    throw new ArrowlaneError("ERR_CLOSED", "this publisher was closed: publish the topic again to send more");
  }

  #joined(connection: number, serve: (stream: SubscriberStream) => Promise<void>): void {
    const stream = new SubscriberStream(this.#id, connection, this.#options.strictZeroCopy ?? false);
    this.#streams.set(connection, stream);
    const finish = (failure?: unknown) => {
      this.#streams.delete(connection);
      stream.finish(this.#ended, failure);
    };
    const failed = (error: unknown) => {
      finish(error ?? new Error("it failed for an unknown reason"));
      // Its subscriber left in the middle, or the publisher closed: that is no error of the stream's.
      const closed = (error as { code?: unknown } | undefined)?.code === "ERR_CLOSED";
      if (!stream.hasLeft && !(closed && this.#closed !== undefined)) throw error;
    };
    void Promise.resolve()
      .then(() => this.#context.runInAsyncScope(serve, undefined, stream))
      .then(() => finish(), failed);
  }
}

/**
 * Opens a topic for subscribers of this user on this machine. Rejects with `ERR_TOPIC_TAKEN` when a live publisher has
 * that name; what a dead one left behind is taken over. A name is any text of 1 to 1024 bytes (`ERR_BAD_NAME`), never a
 * path. Where memory cannot be shared (no memfd), batches go through the socket, with a copy on either side; where there is no
 * native part for the platform it rejects with `ERR_UNSUPPORTED_PLATFORM`.
 *
 * ```js
 * const out = await publish("camera/frames");
 * const writer = await out.allocate(schema, 1_000_000);
 * writer.column("temperature").fill(21.5);
 * await out.send(writer);
 * await out.close();
 * ```
 */
export function publish(topic: string, options: PublishOptions = {}): Promise<Publisher> {
  return opened(topic, options, false);
}

/** @internal As `publish`, of a topic that nobody finds by its name: a server offers it. */
export function publishUnlisted(topic: string, options: PublishOptions = {}): Promise<Publisher> {
  return opened(topic, options, true);
}

async function opened(topic: string, options: PublishOptions, unlisted: boolean): Promise<Publisher> {
  if (typeof topic !== "string")
    throw new ArrowlaneError("ERR_INVALID_ARGUMENT", "the topic must be a string");
  checkObject("the options of publish", options);
  const { memory = DEFAULTS.memory, queue = {}, minSubscribers = 1, onSubscriber } = options;
  checkObject("queue", queue);
  const { batches = DEFAULTS.batches, bytes = DEFAULTS.bytes } = queue;
  checkWhole("memory", memory, 1);
  checkWhole("minSubscribers", minSubscribers, 0, MAX_SUBSCRIBERS);
  checkQueue("queue", { batches, bytes });
  checkFunction("onSubscriber", onSubscriber);
  checkFlag("strictZeroCopy", options.strictZeroCopy);
  const perSubscriber = onSubscriber !== undefined;
  const policy = publisherPolicy(options, { batches, bytes }, perSubscriber);
  try {
    const { native: natively } = lane();
    const prepared = await natively.preparePublisher(topic, {
      memory,
      queueBatches: batches,
      queueBytes: bytes,
      minSubscribers,
      perSubscriber,
      unlisted,
      strictZeroCopy: options.strictZeroCopy ?? false,
      policy,
    });
    return new Publisher(topic, natively.startPublisher(prepared), options);
  } catch (error) {
    throw translated(error);
  }
}
