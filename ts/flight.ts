/**
 * Serving datasets and topics, and fetching them, over shared memory and networks.
 *
 * @packageDocumentation
 */
export { type Endpoints, type Offer, type Offerable, type PutOptions, type ServeOptions, Server, serve, type Unavailable } from "./flight/server.js";
export { type Attempt, type ReadOptions, readFrom, Transfer, type Via } from "./flight/transfer.js";
