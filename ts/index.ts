/**
 * Arrow record batches between processes, read where they were written.
 *
 * @module arrowlane
 */
import * as layer from "./arrow/index.js";
import { useArrow } from "./arrow-layer.js";

useArrow(layer);

export type { ColumnOf } from "./arrow/writer.js";
export { Batch, type Device, type Location } from "./batch.js";
export type { Column } from "./columns.js";
export type { LeaseEvent, PublisherEvent, StreamEvent, SubscriptionEvent } from "./diagnostics.js";
export {
  ArrowlaneError,
  DisposedError,
  type ErrorCode,
  LeaseRevokedError,
  UnsupportedTypeError,
} from "./errors.js";
export type { LeaseOptions } from "./leases.js";
export type {
  LeaseStatistics,
  Overflow,
  Permits,
  Policy,
  PolicyOptions,
  PolicyRequest,
  SubscriberStatistics,
} from "./policy.js";
export {
  type CloseOptions,
  type Publisher,
  type PublisherStatistics,
  type PublishOptions,
  publish,
} from "./publisher.js";
export type { Sendable, SendOptions } from "./sending.js";
export { BatchToken, type BatchTokenData, type ShareOptions } from "./sharing.js";
export type { SubscriberStream } from "./subscriber-stream.js";
export {
  type EndOptions,
  type SubscribeOptions,
  type Subscription,
  type SubscriptionStatistics,
  subscribe,
} from "./subscription.js";
export type { Writer, WriterOptions } from "./writer.js";
