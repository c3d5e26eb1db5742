import { ArrowlaneError } from "./errors.js";
import type { NativePolicy, NativePublisherPolicy, NativeSubscriber } from "./native/binding.js";
import { checkFlag, checkObject, checkWhole, wrong } from "./options.js";

/**
 * What happens when a subscriber's queue is full. `wait`: `send` waits for it, nothing is lost. `drop-oldest`: the oldest
 * batch that was not handed over yet is dropped; half of the queue is handed over in advance, so a queue of 2 is one
 * batch in the subscriber's hands and the latest one behind it. `drop-newest`: the batch that is being sent is dropped.
 */
export type Overflow = "wait" | "drop-oldest" | "drop-newest";

/** How one subscriber is served. */
export interface Policy {
  /** How far it may lag behind: batches not yet taken, and their bytes. */
  readonly queue: { readonly batches: number; readonly bytes: number };
  /** What happens beyond that. */
  readonly overflow: Overflow;
  /** Whether it began with the latest batch that was published before it came. */
  readonly last: boolean;
}

/** What subscribers may ask for. */
export interface Permits {
  /**
   * Policies beside the publisher's own; a subscriber that asks for another fails with `ERR_NOT_PERMITTED`. Unless said
   * otherwise: those that lose batches, and `wait` where that is the publisher's own.
   */
  overflow?: readonly Overflow[];
  /** The largest queue: a subscriber that asks for more gets this. The publisher's own `queue` unless said otherwise. */
  queue?: { batches?: number; bytes?: number };
}

/** What a publisher does with subscribers that do not keep up. */
export interface PolicyOptions {
  /** What happens when a subscriber's queue is full and it asked for nothing else; `wait` unless said otherwise. */
  overflow?: Overflow;
  /**
   * Milliseconds after which a subscriber is given up that holds batches, or has a full queue, and has freed nothing: it
   * gets nothing more and fails with `ERR_EVICTED`. What it holds stays valid; the memory returns when it frees it or
   * dies. Never, unless said.
   */
  evictAfter?: number;
  /**
   * Keep the latest batch for subscribers that ask to begin with it. It takes its memory until the next one is sent, or
   * until the memory is needed. Not with `onSubscriber`.
   */
  last?: boolean;
  /** What subscribers may ask for. */
  permits?: Permits;
}

/** What a subscriber asks for; its publisher's default where it says nothing. */
export interface PolicyRequest {
  /** How far it may lag behind. More than the publisher permits is cut to that. */
  queue?: { batches?: number; bytes?: number };
  /** What happens beyond that; `ERR_NOT_PERMITTED` where the publisher does not allow it. */
  overflow?: Overflow;
  /** Begin with the latest batch that was published; `ERR_NOT_PERMITTED` where the publisher does not keep it. */
  last?: boolean;
}

/** One subscriber's figures at a moment, as its publisher knows them. */
export interface SubscriberStatistics {
  /** Which subscriber of this publisher; never used again. */
  readonly id: number;
  /** Its process, where the system says. */
  readonly pid: number | undefined;
  /** How it is served. */
  readonly policy: Policy;
  /**
   * Whether it takes part, gets no more but holds batches still, was given up and holds batches still, or is gone, while
   * somebody reads still to whom it had forwarded what it held.
   */
  readonly state: "active" | "ended" | "evicted" | "orphaned";
  /** Batches that it was sent, and the bytes of all bodies. */
  readonly sent: number;
  readonly sentBytes: number;
  /** Batches that it was not sent, because its queue was full. */
  readonly dropped: number;
  /** How often `send` had to wait for it, and how long all together, in milliseconds. */
  readonly waited: number;
  readonly waitedFor: number;
  /** Batches sent and not yet taken. */
  readonly inFlight: number;
  /** Batches that wait in the publisher and may be dropped yet. */
  readonly queued: number;
  /** Batches (and dictionaries) that it holds or has not taken yet, and the bytes of their memory. */
  readonly leases: number;
  readonly bytes: number;
  /** For how long it has had the oldest of those batches, in milliseconds. */
  readonly oldestLease: number | undefined;
}

/** One batch that a subscriber holds or has not taken yet, as its publisher knows it. */
export interface LeaseStatistics {
  /** Which subscriber of this publisher: its `id` in `subscriptions()`. */
  readonly subscriber: number;
  /** Its process, where the system says. */
  readonly pid: number | undefined;
  /** The batch's number on that connection; the subscriber's warnings have the same. */
  readonly sequence: number;
  /** Bytes of its memory. */
  readonly bytes: number;
  /** For how long it has been lent, in milliseconds: since it was sent, which is before it was taken. */
  readonly age: number;
}

/** Subscribers take a publisher that sends more before they took any for an attack. */
export const MAX_QUEUED_BATCHES = 65_536;

const OVERFLOWS: readonly unknown[] = ["wait", "drop-oldest", "drop-newest"] satisfies Overflow[];

/** Checks what is said of a queue. */
export function checkQueue(name: string, queue: { batches?: number; bytes?: number }): void {
  checkObject(name, queue);
  const { batches, bytes } = queue;
  if (batches !== undefined) checkWhole(`${name}.batches`, batches, 1, MAX_QUEUED_BATCHES);
  if (bytes !== undefined) checkWhole(`${name}.bytes`, bytes, 1);
}

function checkOverflow(name: string, value: unknown): void {
  if (OVERFLOWS.includes(value)) return;
  throw wrong(name, `one of ${OVERFLOWS.map((one) => JSON.stringify(one)).join(", ")}`, value);
}

/** A publisher's policy as native code takes it; `queue` is its default with nothing missing. */
export function publisherPolicy(
  { overflow = "wait", evictAfter, last = false, permits = {} }: PolicyOptions,
  queue: { batches: number; bytes: number },
  perSubscriber: boolean,
): NativePublisherPolicy {
  checkOverflow("overflow", overflow);
  checkFlag("last", last);
  checkObject("permits", permits);
  if (evictAfter !== undefined) checkWhole("evictAfter", evictAfter, 1);
  const lossy: Overflow[] = ["drop-oldest", "drop-newest"];
  const { overflow: permitted = lossy, queue: most = {} } = permits;
  if (!Array.isArray(permitted)) throw wrong("permits.overflow", "an array", permitted);
  for (const one of permitted) checkOverflow("permits.overflow", one);
  checkQueue("permits.queue", most);
  if (last && perSubscriber) {
    const message = "with onSubscriber every stream has its own beginning: leave `last` out";
    throw new ArrowlaneError("ERR_INVALID_ARGUMENT", message);
  }
  return {
    overflow,
    evictAfter,
    permitLast: last,
    permitOverflow: [...permitted],
    permitBatches: most.batches ?? queue.batches,
    permitBytes: most.bytes ?? queue.bytes,
  };
}

/** What a subscriber asks for, as native code takes it. */
export function policyRequest({ queue = {}, overflow, last = false }: PolicyRequest) {
  checkQueue("queue", queue);
  checkFlag("last", last);
  if (overflow !== undefined) checkOverflow("overflow", overflow);
  return { last, overflow, queueBatches: queue.batches, queueBytes: queue.bytes };
}

/** A policy that native code tells of. */
export function policyFrom({ batches, bytes, overflow, last }: NativePolicy): Policy {
  return { queue: { batches, bytes }, overflow: overflow as Overflow, last };
}

/** A subscriber's figures that native code tells of. */
export function subscriberFrom(native: NativeSubscriber): SubscriberStatistics {
  const { policy, standing, oldest, pid, ...counts } = native;
  return {
    ...counts,
    pid,
    policy: policyFrom(policy),
    state: standing as SubscriberStatistics["state"],
    oldestLease: oldest,
  };
}
