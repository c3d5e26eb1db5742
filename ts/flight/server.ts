import { AsyncResource } from "node:async_hooks";
import type { JsonSchema } from "../arrow/json-schema.js";
import { arrow } from "../arrow-layer.js";
import { ArrowlaneError } from "../errors.js";
import { addon } from "../native/addon.js";
import type { NativeControl, NativeDataset, NativeServer } from "../native/binding.js";
import { lane, native, translated } from "../native/lane.js";
import { checkFlag, checkFunction, checkObject, checkWhole } from "../options.js";
import { Outbox } from "../outbox.js";
import { Publisher, publisherId } from "../publisher.js";
import { schemaHandle } from "../schemas.js";
import type { Sendable } from "../sending.js";
import { answering } from "./exchange.js";
import { sendEach } from "./offerable.js";
import {
  type Credentials,
  checkName,
  datasetOptions,
  type PutOptions,
  type ServeOptions,
} from "./options.js";
import { OfferedSource, type Source } from "./source.js";
import type { DataSource } from "./transfer.js";

/**
 * What can be offered: batches; a function that makes them anew for each client; a publisher's topic. Async iterables are
 * read once, to their end.
 */
export type Offerable = Sendable | Iterable<Sendable> | AsyncIterable<Sendable> | Source | Publisher;

/**
 * What a server offers under a name: batches that it keeps, a function that makes them (`"source"`), or a topic. Only of the
 * first it is known how much it is; a topic's schema is known when something was sent.
 */
export interface Offer {
  readonly name: string;
  readonly kind: "dataset" | "source" | "topic";
  readonly schema: JsonSchema | undefined;
  readonly rows: number | undefined;
  readonly bytes: number | undefined;
  readonly batches: number | undefined;
}

/** What a client needs to fetch something: any of the URIs, and the ticket. */
export interface Endpoints {
  readonly uris: readonly string[];
  readonly ticket: string;
  /**
   * For clients that fetch metadata over one connection and bodies over another, which `readFrom` does when it is given this
   * instead of a URI; `undefined` for a topic and for a source, whose batches come with their metadata.
   */
  readonly halves: Exclude<DataSource, string> | undefined;
  /** When the ticket expires. */
  readonly expires: Date;
}

/** An address at which the server could not listen. */
export interface Unavailable {
  readonly address: string;
  readonly error: ArrowlaneError;
}

/** How long calls of Flight that run may take to end when the server is closed, in milliseconds. */
const GRACE = 2000;
/** Servers that listen: they go on though nobody refers to them any more, as Node's own do. */
const open = new Set<Server>();
const LOCATIONS: readonly unknown[] = ["none", "combined", "split"];
const TICKET_LIFE = 600_000;

/**
 * Offers datasets and topics to whoever holds a ticket. Data is served by a thread of its own: a busy event loop delays
 * nobody. An idle server does not keep the process alive.
 */
export class Server {
  readonly #native: NativeServer;
  #control: NativeControl | undefined;
  readonly #unavailable: Unavailable[] = [];
  readonly #sources = new Map<string, OfferedSource>();
  /** Those that are offered no more, and may have tickets. */
  readonly #retired = new Set<OfferedSource>();
  readonly #ticketLife: number;

  /** @internal Use `serve`. */
  constructor(server: NativeServer, ticketLife: number) {
    this.#native = server;
    this.#ticketLife = ticketLife;
  }

  /** @internal */
  async listen(addresses: readonly string[], tls?: ServeOptions["tls"]): Promise<void> {
    for (const address of addresses) {
      const listening = await this.#native.listen(address, tls?.certificate, tls?.key);
      try {
        native(() => listening.get());
      } catch (error) {
        if (!(error instanceof ArrowlaneError)) throw error;
        if (error.code === "ERR_TOPIC_TAKEN") {
          throw new ArrowlaneError("ERR_BIND", `somebody listens at ${address} already`, { cause: error });
        }
        if (error.code !== "ERR_TRANSPORT_UNAVAILABLE") throw error;
        this.#unavailable.push({ address, error });
      }
    }
  }

  /** @internal */
  async serveFlight(uri: string, options: ServeOptions): Promise<void> {
    const { inline = true, locations = "none", uploads = false, tls } = options;
    checkFlag("inline", inline);
    if (!LOCATIONS.includes(locations)) {
      throw new ArrowlaneError("ERR_INVALID_ARGUMENT", `locations must be one of ${LOCATIONS.join(", ")}`);
    }
    if (typeof uploads !== "object") checkFlag("uploads", uploads);
    checkFunction("authenticate", options.authenticate);
    checkFunction("exchange", options.exchange);
    const kept = typeof uploads === "object" ? uploads : {};
    const settings = {
      inline,
      locations,
      uploads: uploads === false ? undefined : datasetOptions("upload", kept),
      certificate: tls?.certificate,
      key: tls?.key,
      clientRoots: tls?.clientRoots,
    };
    const authenticate = this.#hook(options.authenticate);
    const exchange = options.exchange && answering(this.#native, options.exchange);
    const started = await this.#native.control(uri, settings, authenticate, exchange);
    this.#control = native(() => started.get());
  }

  /** What the native side calls with a question about a caller. */
  #hook(authenticate: ServeOptions["authenticate"]) {
    if (authenticate === undefined) return undefined;
    const context = new AsyncResource("arrowlane.Server");
    return (question: number, kind: string, first: string, second: string, peer: string) => {
      const ask = async () => authenticate(credentialsFrom(kind, first, second), peer);
      const refuse = (error: unknown) => {
        const message = error instanceof Error ? error.message : String(error);
        this.#native.answer(question, undefined, message);
      };
      const accept = (identity: string) => {
        if (typeof identity === "string" && identity !== "")
          this.#native.answer(question, identity, undefined);
        else refuse(new Error("these credentials are not accepted"));
      };
      void context.runInAsyncScope(ask).then(accept, refuse);
    };
  }

  /** The address of its Flight service, with the port that was bound; `undefined` without one. */
  get control(): string | undefined {
    return this.#control?.uri;
  }

  /** Bytes that went over its Flight service's connections. */
  controlBytes(): { received: number; sent: number } {
    const [received = 0, sent = 0] = this.#control?.counts() ?? [];
    return { received, sent };
  }

  /** The data URIs at which it serves; `readFrom` takes them, with a ticket. */
  get data(): readonly string[] {
    return this.#native.uris();
  }

  /** Addresses that were asked for and cannot be had on this machine, and why. */
  get unavailable(): readonly Unavailable[] {
    return this.#unavailable;
  }

  /**
   * Offers something under a name, when it was read as a whole; what had that name goes on to serve those who fetch it. Batches
   * are copied once, into memory that other processes can be lent; a publisher's topic is offered as it is.
   *
   * A function is called for each client that fetches the name, and what it gives is sent to that client as fast as it takes it: nothing
   * is kept, and `memory` and `queue` hold for all of them and each of them. It needs `schema`. What it throws ends that client's
   * stream with an error, and is a warning here.
   *
   * Rejects with `ERR_OUT_OF_MEMORY`, `ERR_SCHEMA_MISMATCH`, `ERR_UNSUPPORTED_TYPE`, or with what the iterable threw.
   */
  async put(name: string, what: Offerable, options: PutOptions = {}): Promise<void> {
    checkName(name);
    if (what instanceof Publisher) {
      native(() => this.#native.putTopic(name, lane().native, publisherId(what), undefined));
      this.#replaced(name);
      return;
    }
    if (typeof what === "function") return this.#putSource(name, what, options);
    const dataset = await filled(this.#native, name, what, options);
    native(() => this.#native.put(name, dataset));
    this.#replaced(name);
  }

  async #putSource(name: string, make: Source, options: PutOptions): Promise<void> {
    const kept = datasetOptions(name, options);
    const { schema, signal } = options;
    if (schema === undefined) {
      throw new ArrowlaneError(
        "ERR_INVALID_ARGUMENT",
        "a function that makes batches needs the option schema: nobody has seen one of them yet",
      );
    }
    const source = await OfferedSource.open(make, kept);
    try {
      signal?.throwIfAborted();
      const handle = schemaHandle(arrow().schemaToJson(schema), schema);
      native(() => this.#native.putTopic(name, lane().native, publisherId(source.publisher), handle));
    } catch (error) {
      source.retire(0);
      throw error;
    }
    this.#replaced(name, source);
  }

  /** What a name stood for before is offered no more. */
  #replaced(name: string, by?: OfferedSource): void {
    const before = this.#sources.get(name);
    if (before !== undefined) {
      this.#retired.add(before);
      before.retire(this.#ticketLife, () => this.#retired.delete(before));
    }
    if (by === undefined) this.#sources.delete(name);
    else this.#sources.set(name, by);
  }

  /**
   * Offers what is in a file: Arrow IPC file or stream, or Parquet, told apart by content. It is read now, as a whole, off the
   * event loop; changing the file later changes nothing.
   */
  async putFile(
    name: string,
    path: string,
    options: Omit<PutOptions, "schema" | "signal"> = {},
  ): Promise<void> {
    checkName(name);
    const put = await this.#native.putFile(path, datasetOptions(name, options));
    native(() => put.get());
    this.#replaced(name);
  }

  /** Offers a name no more. Whether it was offered. Transfers that go on are finished. */
  remove(name: string): boolean {
    this.#replaced(name);
    return this.#native.remove(name);
  }

  /** What it offers, by name. */
  offers(): Offer[] {
    return this.#native.offers().map(({ topic, schema, ...offer }) => ({
      name: offer.name,
      kind: !topic ? "dataset" : this.#sources.has(offer.name) ? "source" : "topic",
      schema: schema === undefined ? undefined : (JSON.parse(schema) as JsonSchema),
      rows: offer.rows,
      bytes: offer.bytes,
      batches: offer.batches,
    }));
  }

  /** URIs and a ticket for what is offered under a name now: for a control plane of your own to hand out. */
  endpoints(name: string): Endpoints {
    const minted = native(() => this.#native.mint(name));
    if (minted === null) {
      throw new ArrowlaneError("ERR_NOT_FOUND", `this server offers nothing under the name "${name}"`);
    }
    const [metadata, data] = minted.halves;
    const halves = data === undefined ? undefined : { metadata, data };
    return { uris: this.data, ticket: minted.ticket, halves, expires: new Date(Date.now() + minted.life) };
  }

  /** Listens no more and offers nothing; transfers that go on are finished, batches that clients hold stay valid. */
  async close(): Promise<void> {
    this.#native.close();
    open.delete(this);
    for (const source of [...this.#sources.values(), ...this.#retired]) source.retire(0);
    this.#sources.clear();
    const closed = await this.#control?.close(GRACE);
    if (closed !== undefined) native(() => closed.get());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** @internal A dataset of what was given, which nobody is offered yet. */
export async function filled(
  server: NativeServer,
  name: string,
  what: Exclude<Offerable, Source | Publisher>,
  options: PutOptions,
): Promise<NativeDataset> {
  const { signal, schema } = options;
  const begun = await server.begin(datasetOptions(name, options));
  const id = native(() => lane().native.openDataset(begun));
  const outbox = new Outbox(id, 0, false);
  try {
    if (schema !== undefined) {
      const handle = schemaHandle(arrow().schemaToJson(schema), schema);
      native(() => lane().native.expectSchema(id, handle));
    }
    await sendEach(what, signal, (one) => outbox.send(one, { signal }));
    return native(() => lane().native.finishDataset(id));
  } catch (error) {
    lane().native.dropDataset(id);
    throw translated(error);
  } finally {
    outbox.drop();
  }
}

function credentialsFrom(kind: string, first: string, second: string): Credentials {
  if (kind === "bearer") return { kind, token: first };
  return kind === "basic" ? { kind, user: first, password: second } : { kind: "none" };
}

/**
 * Starts a server.
 *
 * ```js
 * const server = await serve({ control: "grpc+tcp://127.0.0.1:0", data: ["shm:", "tcp://127.0.0.1:0"] });
 * await server.put("orders", table);
 * console.log(server.control);
 * ```
 */
export async function serve(options: ServeOptions = {}): Promise<Server> {
  checkObject("the options of serve", options);
  const { data = ["shm:"], ticketLife = TICKET_LIFE } = options;
  if (!Array.isArray(data) || data.some((address) => typeof address !== "string")) {
    throw new ArrowlaneError(
      "ERR_INVALID_ARGUMENT",
      'data must be an array of addresses, as "tcp://127.0.0.1:0"',
    );
  }
  checkWhole("ticketLife", ticketLife, 1);
  const server = new Server(
    native(() => new (addon().NativeServer)(ticketLife)),
    ticketLife,
  );
  open.add(server);
  try {
    await server.listen(data, options.tls);
    if (options.control !== undefined) await server.serveFlight(options.control, options);
  } catch (error) {
    await server.close();
    throw error;
  }
  return server;
}
