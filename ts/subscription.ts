import { AsyncResource } from "node:async_hooks";
import type { TypeMap } from "apache-arrow";
import { type Batch, batchFromMailbox, insideOf } from "./batch.js";
import type { UnknownColumns } from "./columns.js";
import { tellOfSubscription } from "./diagnostics.js";
import { ArrowlaneError } from "./errors.js";
import { Fifo } from "./fifo.js";
import {
  type LeaseOptions,
  leaseTerms,
  revokeAll,
  type Stack,
  stackOf,
  wantsStacks,
  watchLeases,
} from "./leases.js";
import type { NativeFigures, NativeSubscriptionOptions } from "./native/binding.js";
import { Kind, lane, native } from "./native/lane.js";
import { checkFlag, checkFunction, checkObject, checkSignal } from "./options.js";
import { type Origin, originOf } from "./origin.js";
import { type Policy, type PolicyRequest, policyFrom, policyRequest } from "./policy.js";

/** How a subscription behaves. */
export interface SubscribeOptions extends PolicyRequest, LeaseOptions {
  /** Wait for a publisher that is not there yet (the default); with `false`, fail with `ERR_TOPIC_NOT_FOUND`. */
  wait?: boolean;
  /**
   * When the publisher goes away without ending its stream, wait for the next one instead of failing with
   * `ERR_PUBLISHER_LOST`. What is sent between the two is missed; batches that are held stay valid. A stream that ends
   * well ends the subscription all the same.
   */
  reconnect?: boolean;
  /** Called when it is connected to the next publisher, with how often that happened. */
  onReconnect?: (reconnects: number) => void;
  /** Ends the subscription; whoever waits, or asks next, gets the signal's reason. Batches that are held stay valid. */
  signal?: AbortSignal;
  /**
   * Throw `ERR_COPY_REQUIRED` instead of copying a buffer that is not aligned for its type; fail with it when the publisher
   * cannot share its memory.
   */
  strictZeroCopy?: boolean;
}

/** How a subscription is closed. */
export interface EndOptions {
  /**
   * Takes away every batch of it that is held: later reads throw `ERR_LEASE_REVOKED`, and the memory goes back. Jobs outside
   * of JavaScript that were given the bytes must be done. What other native code holds stays its own until it releases it.
   */
  revoke?: boolean;
}

/** A subscription's figures at a moment. */
export interface SubscriptionStatistics {
  /** How it is served; `undefined` until its publisher said so. */
  readonly policy: Policy | undefined;
  /** Batches that arrived. */
  readonly received: number;
  /** Batches that it was not sent because its queue was full, as its publishers said. */
  readonly dropped: number;
  /** Batches that arrived and were not taken yet. */
  readonly queued: number;
  /** Leases of shared memory that have not ended (of batches, and of the dictionaries that it keeps), and their bytes. */
  readonly leases: number;
  readonly bytes: number;
  /** How often it went over to another publisher. */
  readonly reconnects: number;
}

interface Waiter {
  resolve(result: IteratorResult<Batch>): void;
  reject(error: unknown): void;
  /** Where it was asked. */
  readonly stack: Stack | undefined;
}

/** A pause before another attempt at a publisher whose queue of connections is full, in milliseconds. */
const RETRY = 20;

/**
 * The batches of a topic, each under a lease of its own.
 *
 * Iterate it (`for await`), or give `forEach` a callback. It connects when first asked; one consumer at a time. Batches
 * that are held stay valid when it ends or is closed. An idle subscription does not keep the process alive; a pending
 * `next()` does. It belongs to its thread: another thread subscribes for itself.
 */
export class Subscription<T extends TypeMap = UnknownColumns> implements AsyncIterableIterator<Batch<T>> {
  /** The topic, or what the server calls it. */
  readonly topic: string;
  readonly #options: SubscribeOptions;
  readonly #origin: Origin | undefined;
  readonly #request: ReturnType<typeof policyRequest>;
  readonly #terms: ReturnType<typeof leaseTerms>;
  readonly #stacks: boolean;
  readonly #onReconnect: ((reconnects: number) => void) | undefined;
  #figures: NativeFigures | undefined;
  #received = 0;
  #id: number | undefined;
  /** What its batches are known under, also after its end. */
  #owner: number | undefined;
  readonly #queue = new Fifo<Batch>();
  #waiters: Waiter[] = [];
  #callback: ((batch: Batch<T>) => void) | undefined;
  #ended = false;
  #failure: { error: unknown } | undefined;
  readonly #onAbort = () => this.#fail(this.#options.signal?.reason);

  /** @internal Use `subscribe`. */
  constructor(topic: string, options: SubscribeOptions, origin = originOf(topic)) {
    if (typeof topic !== "string") {
      throw new ArrowlaneError("ERR_INVALID_ARGUMENT", "the topic must be a string");
    }
    checkObject("the options of subscribe", options);
    checkFlag("wait", options.wait);
    checkFlag("reconnect", options.reconnect);
    checkFunction("onReconnect", options.onReconnect);
    checkFlag("strictZeroCopy", options.strictZeroCopy);
    checkSignal(options.signal);
    this.topic = topic;
    this.#options = options;
    this.#origin = origin;
    this.#request = policyRequest(options);
    this.#terms = leaseTerms(options);
    this.#stacks = wantsStacks(options);
    const { onReconnect } = options;
    this.#onReconnect = onReconnect && AsyncResource.bind(onReconnect);
  }

  /** Its figures at this moment; after its end, batches that are still held count on. */
  statistics(): SubscriptionStatistics {
    const figures = this.#figures?.read();
    const { dropped = 0, leases = 0, bytes = 0, reconnects = 0, policy } = figures ?? {};
    return {
      policy: policy && policyFrom(policy),
      received: this.#received,
      dropped,
      queued: this.#queue.length,
      leases,
      bytes,
      reconnects,
    };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next batch, which the caller disposes. Rejects once with what ended the subscription; then it is done. */
  next(): Promise<IteratorResult<Batch<T>>> {
    const stack = this.#stacks ? stackOf(this.next) : undefined;
    if (this.#queue.length > 0) {
      const batch = this.#queue.shift() as Batch<T>;
      this.#taken(batch, stack);
      return Promise.resolve({ done: false, value: batch });
    }
    if (this.#failure !== undefined) {
      const { error } = this.#failure;
      this.#failure = undefined;
      return Promise.reject(error);
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve: resolve as Waiter["resolve"], reject, stack });
      if (this.#waiters.length === 1) lane().native.hold();
      if (this.#id === undefined) this.#connect();
    });
  }

  /** Ends the subscription, as leaving a `for await` loop does. */
  return(): Promise<IteratorResult<Batch<T>>> {
    this.close();
    return Promise.resolve({ done: true, value: undefined });
  }

  /**
   * Calls `callback` with every batch, as it arrives, until the stream ends. The callback disposes the batch, or the
   * batch waits for the garbage collector. What it throws ends the subscription and rejects the promise. It is not
   * awaited: for work that waits, iterate.
   */
  forEach(callback: (batch: Batch<T>) => void): Promise<void> {
    try {
      checkFunction("the callback", callback ?? null);
    } catch (error) {
      return Promise.reject(error);
    }
    // The native side calls from a context of its own; the caller's is the one to be in.
    const context = new AsyncResource("arrowlane.Subscription");
    const stack = this.#stacks ? stackOf(this.forEach) : undefined;
    this.#callback = (batch) => {
      insideOf(batch).body.stack = stack;
      context.runInAsyncScope(callback, undefined, batch);
    };
    const done = async () => {
      for (;;) {
        const { done: ended, value } = await this.next();
        if (ended) return;
        callback(value);
      }
    };
    const run = done().catch((error) => {
      this.close();
      throw error;
    });
    return run.finally(() => {
      this.#callback = undefined;
    });
  }

  /** Ends delivery. Batches that were not taken go back; batches that are held stay valid, unless they are revoked. */
  close(options: EndOptions = {}): void {
    checkObject("the options of close", options);
    checkFlag("revoke", options.revoke);
    this.#end();
    for (const batch of this.#queue.drain()) batch.dispose();
    if (options.revoke === true && this.#owner !== undefined) revokeAll(this.#owner, this.topic);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  /** @internal */
  happened(kind: number, mailbox: Float64Array, at: number): boolean {
    switch (kind) {
      case Kind.Batch:
        return this.#arrived(batchFromMailbox(at, "shm", this.#options.strictZeroCopy) as Batch<T>);
      case Kind.Ended:
        this.#end();
        break;
      case Kind.Failed:
        this.#failed(lane().failure(this.#id as number));
        break;
      case Kind.Lost:
        tellOfSubscription({ event: "lost", topic: this.topic });
        break;
      case Kind.Reconnected:
        this.#reconnected();
        break;
      case Kind.Dropped:
        tellOfSubscription({ event: "dropped", topic: this.topic, dropped: mailbox[at] });
        break;
      case Kind.Retry:
        setTimeout(() => this.#attempt(), RETRY);
        break;
      default:
    }
    return false;
  }

  #failed(error: ArrowlaneError): void {
    if (error.code === "ERR_EVICTED") tellOfSubscription({ event: "evicted", topic: this.topic });
    this.#fail(error);
  }

  #reconnected(): void {
    const { reconnects } = this.statistics();
    tellOfSubscription({ event: "reconnected", topic: this.topic, reconnects });
    this.#onReconnect?.(reconnects);
  }

  /** Whether the application took it at once. */
  #arrived(batch: Batch<T>): boolean {
    this.#received++;
    if (this.#callback !== undefined && this.#queue.length === 0) {
      try {
        this.#callback(batch);
      } catch (error) {
        this.#fail(error);
      }
      return true;
    }
    const waiter = this.#waiters.shift();
    if (waiter === undefined) {
      this.#queue.push(batch);
      return false;
    }
    if (this.#waiters.length === 0) lane().native.letGo();
    if (waiter.stack !== undefined) insideOf(batch).body.stack = waiter.stack;
    waiter.resolve({ done: false, value: batch });
    return true;
  }

  #taken(batch: Batch, stack: Stack | undefined): void {
    const { body } = insideOf(batch);
    body.stack = stack;
    // Also after its end: what is left in the queue is held from when it is taken.
    if (this.#owner !== undefined) lane().native.taken(this.#owner, body.handle);
    lane().stirred();
  }

  #connect(): void {
    const { signal, wait = true, reconnect = false, strictZeroCopy = false } = this.#options;
    if (signal?.aborted) {
      this.#fail(signal.reason);
      return;
    }
    signal?.addEventListener("abort", this.#onAbort, { once: true });
    const options = { wait, reconnect, strictZeroCopy, ...this.#request, ...this.#terms };
    if (this.#origin !== undefined) {
      this.#ask(this.#origin, options).catch((error) => this.#fail(error));
      return;
    }
    try {
      this.#begun(native(() => lane().native.subscribe(this.topic, options)));
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#attempt();
  }

  async #ask({ uris, ticket, tls, open }: Origin, options: NativeSubscriptionOptions): Promise<void> {
    const connection =
      (await open?.()) ?? (await lane().native.openConnection([...uris], tls?.roots, tls?.serverName));
    if (this.#ended) return connection.close();
    this.#begun(native(() => lane().native.subscribeOver(connection, ticket, this.topic, options)));
    lane().stirred();
  }

  #begun(id: number): void {
    this.#id = id;
    this.#owner = id;
    const { leaseWarning, leaseTimeout } = this.#terms;
    if (leaseWarning !== undefined || leaseTimeout !== undefined) watchLeases();
    this.#figures = native(() => lane().native.figures(id));
    lane().own(id, this);
  }

  #attempt(): void {
    const id = this.#id;
    if (id === undefined || this.#ended) return;
    try {
      native(() => lane().native.connect(id));
    } catch (error) {
      this.#fail(error);
    }
    lane().stirred();
  }

  #fail(error: unknown): void {
    if (this.#ended) return;
    const [first, ...others] = this.#waiters;
    if (first === undefined) this.#failure = { error };
    else {
      this.#waiters = others;
      if (others.length === 0) lane().native.letGo();
      first.reject(error);
    }
    this.#end();
  }

  #end(): void {
    this.#ended = true;
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    if (this.#id !== undefined) {
      lane().native.closeSubscription(this.#id);
      lane().disown(this.#id);
      this.#id = undefined;
      lane().stirred();
    }
    if (this.#waiters.length > 0) lane().native.letGo();
    for (const { resolve } of this.#waiters.splice(0)) resolve({ done: true, value: undefined });
  }
}

/**
 * Subscribes to a topic of this user on this machine, or, given a data URI with its `ticket`, to what a server offers. Connects when the first batch is asked for; late joiners start
 * with the next batch. Ends with the publisher's stream; rejects with `ERR_PUBLISHER_LOST` when the publisher died
 * in the middle of it, unless `reconnect` has it wait for the next one; with `ERR_NOT_PERMITTED` when the publisher does
 * not allow what was asked for, with `ERR_EVICTED` when it gave this subscriber up.
 *
 * ```js
 * for await (const batch of subscribe("camera/frames")) {
 *   try {
 *     console.log(batch.column("temperature").get(0));
 *   } finally {
 *     batch.dispose();
 *   }
 * }
 * ```
 */
export function subscribe<T extends TypeMap = UnknownColumns>(
  topic: string,
  options: SubscribeOptions = {},
): Subscription<T> {
  return new Subscription<T>(topic, options);
}
