import { channel } from "node:diagnostics_channel";
import { describe } from "./errors.js";

/** What happened to a subscription, as `diagnostics_channel` tells it under `arrowlane:subscription`. */
export type SubscriptionEvent = StreamEvent | LeaseEvent | TransferEvent;

/** What happened to its stream. */
export interface StreamEvent {
  /**
   * Its publisher went away; it is connected to the next one (`reconnects` so far); batches were dropped before the next
   * one that arrives (`dropped` so far); it was given up by its publisher.
   */
  event: "lost" | "reconnected" | "dropped" | "evicted";
  topic: string;
  reconnects?: number;
  dropped?: number;
}

/** What happened to a transfer. */
export interface TransferEvent {
  /** One way did not work, and the next is tried. */
  event: "fell-through";
  topic: string;
  via: string;
  error: Error;
}

/** What happened to a batch that is held. */
export interface LeaseEvent {
  /** It is held for longer than `leaseWarning`, or than `leaseTimeout`; it was revoked. */
  event: "lease-warning" | "lease-timeout" | "lease-revoked";
  topic: string;
  /** The batch's number on its connection. */
  sequence: number;
  /** Length of its body. */
  bytes: number;
  /** For how long the application has held it, in milliseconds. */
  age: number;
  /** Where it was asked for, with `leaseStacks`. */
  stack?: string;
}

/** What happened to a publisher, as `diagnostics_channel` tells it under `arrowlane:publisher`. */
export interface PublisherEvent {
  /**
   * A subscriber takes part; does so no more; was given up (`evictAfter`). The publisher has handed everything over. The function
   * that a server has batches made by threw something (`error`), which ended one client's stream.
   */
  event: "joined" | "left" | "evicted" | "closed" | "source-failed";
  topic: string;
  error?: unknown;
  /** Which subscriber; `subscriptions()` and `leases()` have the same number. */
  subscriber?: number;
}

const subscriptions = channel("arrowlane:subscription");
const publishers = channel("arrowlane:publisher");

/** Tells whoever listens. */
export function tellOfSubscription(event: SubscriptionEvent): void {
  if (subscriptions.hasSubscribers) subscriptions.publish(event);
}

/** Tells whoever listens. */
export function tellOfPublisher(event: PublisherEvent["event"], topic: string, subscriber?: number): void {
  if (!publishers.hasSubscribers) return;
  const told: PublisherEvent = subscriber === undefined ? { event, topic } : { event, topic, subscriber };
  publishers.publish(told);
}

/** Tells whoever listens, and warns: nobody awaits what a source does. */
export function sourceFailed(topic: string, error: unknown): void {
  if (publishers.hasSubscribers)
    publishers.publish({ event: "source-failed", topic, error } satisfies PublisherEvent);
  const [, reason] = describe(error);
  process.emitWarning(`making "${topic}" for a client failed: ${reason}`, {
    type: "ArrowlaneWarning",
    code: "ARROWLANE_SOURCE_FAILED",
    detail: error instanceof Error ? error.stack : undefined,
  });
}
