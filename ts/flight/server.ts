import { AsyncResource } from "node:async_hooks";
import type { Schema } from "apache-arrow";
import type { JsonSchema } from "../arrow/json-schema.js";
import { arrow, hasArrow } from "../arrow-layer.js";
import { Batch } from "../batch.js";
import { ArrowlaneError } from "../errors.js";
import { addon } from "../native/addon.js";
import type { NativeControl, NativeDataset, NativeServer } from "../native/binding.js";
import { lane, native, translated } from "../native/lane.js";
import { checkFlag, checkFunction, checkObject, checkWhole } from "../options.js";
import { Outbox } from "../outbox.js";
import { Publisher, publisherId } from "../publisher.js";
import { schemaHandle } from "../schemas.js";
import type { Sendable } from "../sending.js";
import { Subscription } from "../subscription.js";
import { Writer } from "../writer.js";
import { Transfer } from "./transfer.js";

/** How a server behaves. */
export interface ServeOptions {
  /**
   * Where Flight is served, as the control plane: `grpc+tcp://host:port` or `grpc+tls://host:port`; port 0 leaves the choice to the system.
   * Without, whoever is to fetch something is told so by other means (`endpoints`).
   */
  control?: string;
  /** Whether Flight's `DoGet` sends data too, to clients that have no better way (the default). With `false`, Flight is control alone. */
  inline?: boolean;
  /**
   * Which data URIs Flight clients are told that do not ask for any: none (the default; nobody else's client trips over them), all
   * (`"combined"`), or the two halves that Arrow's example has (`"split"`). Our own clients always ask.
   */
  locations?: "none" | "combined" | "split";
  /** Whether Flight clients may upload datasets, and how those are kept; `false` unless said otherwise. */
  uploads?: boolean | Pick<PutOptions, "memory" | "queue">;
  /**
   * Decides who a caller of Flight is: the name that tickets are bound to. Asked for every call that does not show a token which the server
   * itself handed out (Flight's handshake, or a call with basic credentials, gives one). What it throws refuses the caller, who is told its message. Without it
   * everybody is let in. Data URIs ask nobody: there the ticket is what counts.
   */
  authenticate?: (credentials: Credentials, peer: string) => string | Promise<string>;
  /** The certificate and key, in PEM, of a `grpc+tls:` address, and of `tcp://…?tls=1`; with `clientRoots`, clients must show a certificate from there. */
  tls?: { certificate: string; key: string; clientRoots?: string };
  /**
   * Where data is served: `shm:` (between processes of this user), `tcp://host:port` (in TLS with `?tls=1`), `ucx://host:port`; port 0 leaves
   * the choice to the system. `["shm:"]` unless said otherwise.
   */
  data?: readonly string[];
  /** How long a ticket can be redeemed, in milliseconds: 10 minutes unless said otherwise. */
  ticketLife?: number;
}

/** What a caller of Flight shows. */
export type Credentials =
  | { readonly kind: "none" }
  | { readonly kind: "bearer"; readonly token: string }
  | { readonly kind: "basic"; readonly user: string; readonly password: string };

/** How a dataset is kept. */
export interface PutOptions {
  /** The most memory that it may take, in bytes: 16 GiB unless said otherwise. It takes what it needs. */
  memory?: number;
  /** How far each client may lag behind: batches sent and not yet taken (64), and their bytes (256 MiB). */
  queue?: { batches?: number; bytes?: number };
  /** The schema, where there may be no batch to see it by. */
  schema?: Schema;
  /** Gives up; nothing is offered then that was not before. */
  signal?: AbortSignal;
}

/** What can be offered: batches, or a publisher's topic. Async iterables are read once, to their end. */
export type Offerable = Sendable | Iterable<Sendable> | AsyncIterable<Sendable> | Publisher;

/** What a server offers under a name. A topic has no more than that. */
export interface Offer {
  readonly name: string;
  readonly kind: "dataset" | "topic";
  readonly schema: JsonSchema | undefined;
  readonly rows: number | undefined;
  readonly bytes: number | undefined;
  readonly batches: number | undefined;
}

/** What a client needs to fetch something: any of the URIs, and the ticket. */
export interface Endpoints {
  readonly uris: readonly string[];
  readonly ticket: string;
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
const LOCATIONS: readonly unknown[] = ["none", "combined", "split"];
const DEFAULTS = { memory: 2 ** 34, batches: 64, bytes: 2 ** 28, ticketLife: 600_000 };

/**
 * Offers datasets and topics to whoever holds a ticket. Data is served by a thread of its own: a busy event loop delays
 * nobody. An idle server does not keep the process alive.
 */
export class Server {
  readonly #native: NativeServer;
  #control: NativeControl | undefined;
  readonly #unavailable: Unavailable[] = [];

  /** @internal Use `serve`. */
  constructor(server: NativeServer) {
    this.#native = server;
  }

  /** @internal */
  async listen(addresses: readonly string[], tls?: ServeOptions["tls"]): Promise<void> {
    for (const address of addresses) {
      const listening = await this.#native.listen(address, tls?.certificate, tls?.key);
      try {
        native(() => listening.get());
      } catch (error) {
        if (!(error instanceof ArrowlaneError && error.code === "ERR_TRANSPORT_UNAVAILABLE")) throw error;
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
    const kept = typeof uploads === "object" ? uploads : {};
    const settings = {
      inline,
      locations,
      uploads: uploads === false ? undefined : datasetOptions("upload", kept),
      certificate: tls?.certificate,
      key: tls?.key,
      clientRoots: tls?.clientRoots,
    };
    const started = await this.#native.control(uri, settings, this.#hook(options.authenticate));
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
   * Rejects with `ERR_OUT_OF_MEMORY`, `ERR_SCHEMA_MISMATCH`, `ERR_UNSUPPORTED_TYPE`, or with what the iterable threw.
   */
  async put(name: string, what: Offerable, options: PutOptions = {}): Promise<void> {
    checkName(name);
    if (what instanceof Publisher) {
      native(() => this.#native.putTopic(name, lane().native, publisherId(what)));
      return;
    }
    const dataset = await filled(this.#native, name, what, options);
    native(() => this.#native.put(name, dataset));
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
  }

  /** Offers a name no more. Whether it was offered. Transfers that go on are finished. */
  remove(name: string): boolean {
    return this.#native.remove(name);
  }

  /** What it offers, by name. */
  offers(): Offer[] {
    return this.#native.offers().map(({ topic, schema, ...offer }) => ({
      name: offer.name,
      kind: topic ? "topic" : "dataset",
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
    return { uris: this.data, ticket: minted.ticket, expires: new Date(Date.now() + minted.life) };
  }

  /** Listens no more and offers nothing; transfers that go on are finished, batches that clients hold stay valid. */
  async close(): Promise<void> {
    this.#native.close();
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
  what: Exclude<Offerable, Publisher>,
  options: PutOptions,
): Promise<NativeDataset> {
  const { signal, schema } = options;
  const begun = await server.begin(datasetOptions(name, options));
  const id = native(() => lane().native.openDataset(begun));
  const outbox = new Outbox(id, 0, false);
  // Nobody else gets to see what these deliver, so nobody else would dispose it.
  const delivered = what instanceof Transfer || what instanceof Subscription;
  try {
    if (schema !== undefined) {
      const handle = schemaHandle(arrow().schemaToJson(schema), schema);
      native(() => lane().native.expectSchema(id, handle));
    }
    for await (const one of each(what)) {
      signal?.throwIfAborted();
      await outbox.send(one, { signal });
      if (delivered) (one as Batch).dispose();
    }
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

/** @internal */
export function checkName(name: string): void {
  if (typeof name === "string" && name.length > 0) return;
  throw new ArrowlaneError("ERR_INVALID_ARGUMENT", "the name must be a string that is not empty");
}

/** @internal */
export function datasetOptions(name: string, options: PutOptions) {
  checkObject("the options of put", options);
  const { memory = DEFAULTS.memory, queue = {} } = options;
  checkObject("queue", queue);
  const { batches = DEFAULTS.batches, bytes = DEFAULTS.bytes } = queue;
  checkWhole("memory", memory, 1);
  checkWhole("queue.batches", batches, 1);
  checkWhole("queue.bytes", bytes, 1);
  return { name, memory, queueBatches: batches, queueBytes: bytes };
}

/** @internal One thing to send, or each of several. */
export function each(what: Exclude<Offerable, Publisher>): Iterable<Sendable> | AsyncIterable<Sendable> {
  const one =
    what instanceof Batch ||
    what instanceof Writer ||
    what instanceof Uint8Array ||
    (hasArrow() && (arrow().isRecordBatch(what) || arrow().isTable(what)));
  if (one) return [what as Sendable];
  const many = what as Partial<Iterable<Sendable> & AsyncIterable<Sendable>> | null | undefined;
  if (typeof what === "object" && (many?.[Symbol.iterator] ?? many?.[Symbol.asyncIterator]) !== undefined) {
    return what as Iterable<Sendable>;
  }
  throw new ArrowlaneError(
    "ERR_INVALID_ARGUMENT",
    "what is offered must be a batch, a table, bytes, an iterable of those, or a publisher",
  );
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
  const { data = ["shm:"], ticketLife = DEFAULTS.ticketLife } = options;
  if (!Array.isArray(data) || data.some((address) => typeof address !== "string")) {
    throw new ArrowlaneError(
      "ERR_INVALID_ARGUMENT",
      'data must be an array of addresses, as "tcp://127.0.0.1:0"',
    );
  }
  checkWhole("ticketLife", ticketLife, 1);
  const server = new Server(native(() => new (addon().NativeServer)(ticketLife)));
  try {
    await server.listen(data, options.tls);
    if (options.control !== undefined) await server.serveFlight(options.control, options);
  } catch (error) {
    await server.close();
    throw error;
  }
  return server;
}
