/**
 * Serving datasets and topics, and fetching them, over shared memory and networks.
 *
 * @packageDocumentation
 */
export {
  Client,
  type ConnectOptions,
  connect,
  type Descriptor,
  type FlightEndpoint,
  type FlightInfo,
  type GetOptions,
  readFlightInfo,
} from "./flight/client.js";
export type { Exchange, ExchangeRequest } from "./flight/exchange.js";
export type { Credentials, PutOptions, ServeOptions } from "./flight/options.js";
export {
  type Endpoints,
  type Offer,
  type Offerable,
  Server,
  serve,
  type Unavailable,
} from "./flight/server.js";
export type { Source, SourceRequest } from "./flight/source.js";
export {
  type Attempt,
  type DataSource,
  type ReadOptions,
  readFrom,
  Transfer,
  type Via,
} from "./flight/transfer.js";

import * as layer from "./arrow/index.js";
import { useArrow } from "./arrow-layer.js";

useArrow(layer);
