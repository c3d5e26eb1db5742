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
export { ArrowlaneError, DisposedError, type ErrorCode, UnsupportedTypeError } from "./errors.js";
export {
  type CloseOptions,
  type Publisher,
  type PublisherStatistics,
  type PublishOptions,
  publish,
  type Sendable,
  type SendOptions,
  type SubscriberStream,
} from "./publisher.js";
export { type SubscribeOptions, type Subscription, subscribe } from "./subscription.js";
export type { Writer, WriterOptions } from "./writer.js";
