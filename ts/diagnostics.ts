import { channel } from "node:diagnostics_channel";

/** What happened to a subscription, as `diagnostics_channel` tells it under `arrowlane:subscription`. */
export interface SubscriptionEvent {
  /**
   * Its publisher went away; it is connected to the next one (`reconnects` so far); batches were dropped before the next
   * one that arrives (`dropped` so far); it was given up by its publisher.
   */
  event: "lost" | "reconnected" | "dropped" | "evicted";
  topic: string;
  reconnects?: number;
  dropped?: number;
}

const subscriptions = channel("arrowlane:subscription");

/** Tells whoever listens. */
export function tellOfSubscription(event: SubscriptionEvent): void {
  if (subscriptions.hasSubscribers) subscriptions.publish(event);
}
