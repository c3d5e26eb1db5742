import { AsyncResource } from "node:async_hooks";
import { describe } from "../errors.js";
import type { NativeConnection, NativeServer } from "../native/binding.js";
import { lane, native } from "../native/lane.js";
import { publisherId } from "../publisher.js";
import { Subscription } from "../subscription.js";
import { datasetOptions } from "./options.js";
import { type Batches, OfferedSource, type SourceRequest } from "./source.js";
import { type Candidate, Transfer } from "./transfer.js";

/** Answers the batches that a client sends in an exchange; it disposes them. */
export type Exchange = (batches: Transfer, request: ExchangeRequest) => Batches | Promise<Batches>;

/** What a client asks for in an exchange. */
export interface ExchangeRequest extends SourceRequest {
  /** The client's descriptor: a path, its parts joined by `/`, or a command. */
  readonly name: string;
  /** Who `authenticate` said that it is. */
  readonly identity: string | undefined;
  /** Where its connection comes from. */
  readonly peer: string;
}

/** What is redeemed where there is no ticket. */
const NO_TICKET = new Uint8Array();

/** @internal What the native side calls with an exchange that a client has begun. */
export function answering(server: NativeServer, exchange: Exchange) {
  const context = new AsyncResource("arrowlane.Server");
  return (number: number, name: string, identity: string, peer: string) => {
    const asked = { name, identity: identity === "" ? undefined : identity, peer };
    const begin = async () => {
      const incoming = native(() => server.exchangeIncoming(number));
      const way = { via: "grpc", open: over(name, peer, () => incoming) };
      const batches = new Transfer(name, () => Promise.resolve([[way]]), {});
      const make = ({ signal }: SourceRequest) => exchange(batches, { ...asked, signal });
      const served = () => {
        batches.close();
        // It may never have been asked for anything.
        incoming.close();
      };
      const source = await OfferedSource.open(make, datasetOptions(name, {}), served);
      const publisher = publisherId(source.publisher);
      native(() => server.answerExchange(number, lane().native, publisher, undefined));
    };
    void context.runInAsyncScope(begin).catch((error) => {
      server.answerExchange(number, lane().native, undefined, describe(error)[1]);
    });
  };
}

/** @internal Reads a stream of gRPC. */
export function over(
  name: string,
  uri: string,
  open: () => NativeConnection,
  ticket: Uint8Array = NO_TICKET,
): Candidate["open"] {
  return ({ tls: _, ...options }) => new Subscription(name, options, { uris: [uri], ticket, open });
}
