import type { TypeMap } from "apache-arrow";
import { unlessAborted } from "../aborted.js";
import type { JsonSchema } from "../arrow/json-schema.js";
import { arrow } from "../arrow-layer.js";
import type { UnknownColumns } from "../columns.js";
import { ArrowlaneError } from "../errors.js";
import { addon } from "../native/addon.js";
import type { NativeCancellation, NativeClient, NativeText } from "../native/binding.js";
import { lane, native } from "../native/lane.js";
import { checkObject, checkSignal, checkWhole } from "../options.js";
import type { Origin } from "../origin.js";
import { type Publisher, publisherId } from "../publisher.js";
import { schemaHandle } from "../schemas.js";
import { over } from "./exchange.js";
import { checkName, datasetOptions, type PutOptions } from "./options.js";
import { filled, type Offerable } from "./server.js";
import { OfferedSource, type Source } from "./source.js";
import { type Candidate, candidateOf, type ReadOptions, Transfer, type Via } from "./transfer.js";

/** How a client connects, and what it shows. */
export interface ConnectOptions {
  /** A token, or a name and a password; shown with every call. */
  credentials?: { bearer: string } | { user: string; password: string };
  /** Further request headers. */
  headers?: Readonly<Record<string, string>>;
  /** Whom to trust at a `grpc+tls:` address, in PEM (the system's roots unless said otherwise), and what to show there. */
  tls?: { roots?: string; serverName?: string; certificate?: string; key?: string };
  /** How long an answer may take, of a stream the first, in milliseconds: 30 s unless said otherwise. */
  deadline?: number;
  /** Gives up connecting. */
  signal?: AbortSignal;
}

/** How a dataset is fetched. */
export interface GetOptions extends ReadOptions {
  /**
   * By which ways, in order of preference. Where nothing is said: shared memory on one host, else what the server names, `tcp` before
   * `ucx`, then gRPC. One that is named alone is the only one that is tried.
   */
  via?: Via | readonly Via[];
  /**
   * `"grpc"`: metadata comes from the service itself, by `DoGet`, and only bodies by the ways of `via` (not by gRPC then). Servers of ours offer that.
   */
  metadata?: "grpc";
}

/** Something to ask a service for: a dataset's name, a path of names, or bytes that the service understands. */
export type Descriptor = string | readonly string[] | { command: Uint8Array };

/** What a FlightInfo says, wherever it came from. */
export interface FlightInfo {
  readonly name: string | undefined;
  readonly path: readonly string[] | undefined;
  readonly schema: JsonSchema | undefined;
  readonly rows: number | undefined;
  readonly bytes: number | undefined;
  readonly ordered: boolean;
  readonly endpoints: readonly FlightEndpoint[];
}

/** A part of a dataset: a ticket, and where to redeem it. */
export interface FlightEndpoint {
  readonly ticket: Uint8Array;
  /** As the service gave them. */
  readonly locations: readonly string[];
  /** Whether the service itself sends it. */
  readonly here: boolean;
  /** Other Flight services that send it. */
  readonly elsewhere: readonly string[];
  /** Data URIs, each of which is a way of its own. */
  readonly data: readonly string[];
  /** Where metadata and bodies come from, when they come apart. */
  readonly split: readonly [metadata: string, data: string] | undefined;
}

const DEADLINE = 30_000;
/** The ways that are tried where nothing else is said, in this order. */
const PREFERENCE: readonly Via[] = ["shm", "tcp", "ucx", "fabric", "grpc"];
const WAYS: ReadonlySet<string> = new Set([...PREFERENCE, "http"]);

/**
 * A connection to an Arrow Flight service, ours or anybody's. Idle, it does not keep the process alive. It belongs to its
 * thread.
 */
export class Client {
  /** The address that it was connected to. */
  readonly uri: string;
  readonly #native: NativeClient;
  readonly #tls: ConnectOptions["tls"];

  /** @internal Use `connect`. */
  constructor(uri: string, client: NativeClient, tls: ConnectOptions["tls"]) {
    this.uri = uri;
    this.#native = client;
    this.#tls = tls;
  }

  /** All that the service lists. */
  async list(options: { signal?: AbortSignal } = {}): Promise<FlightInfo[]> {
    const text = await answer((cancel) => this.#native.list(cancel), options.signal);
    return (JSON.parse(text) as RawInfo[]).map(infoFrom);
  }

  /** Where something is, and with which ticket it is read. `poll`: of a service that needs time, once it is known as a whole. */
  async info(what: Descriptor, options: { signal?: AbortSignal; poll?: boolean } = {}): Promise<FlightInfo> {
    const { path, command } = descriptor(what);
    const poll = options.poll ?? false;
    const text = await answer((cancel) => this.#native.info(path, command, poll, cancel), options.signal);
    return infoFrom(JSON.parse(text) as RawInfo);
  }

  /** The schema of something, as Arrow's JSON. */
  async schema(what: Descriptor, options: { signal?: AbortSignal } = {}): Promise<JsonSchema> {
    const { path, command } = descriptor(what);
    const text = await answer((cancel) => this.#native.schema(path, command, cancel), options.signal);
    return JSON.parse(text) as JsonSchema;
  }

  /**
   * The batches of something: asks where it is when first asked for one, then fetches it by the first way that works; `via` and
   * `tried` say which.
   */
  get<T extends TypeMap = UnknownColumns>(what: Descriptor, options: GetOptions = {}): Transfer<T> {
    descriptor(what);
    const ways = checkWays(options);
    const name = typeof what === "string" ? what : "command" in what ? "command" : what.join("/");
    const find = async () => this.#candidates(await this.info(what, { signal: options.signal }), name, ways);
    return new Transfer<T>(name, find, { tls: this.#tls, ...options });
  }

  /** As `get`, of a FlightInfo that came from anywhere: another service (Flight SQL), a message, a file. Its encoded bytes will do. */
  read<T extends TypeMap = UnknownColumns>(
    info: FlightInfo | Uint8Array,
    options: GetOptions = {},
  ): Transfer<T> {
    const known = info instanceof Uint8Array ? readFlightInfo(info) : info;
    const ways = checkWays(options);
    const name = known.name ?? "flight";
    const find = async () => this.#candidates(known, name, ways);
    return new Transfer<T>(name, find, { tls: this.#tls, ...options });
  }

  /** Uploads batches under a name. Async iterables are read once, to their end, before the first is sent. */
  async put(
    name: string,
    what: Exclude<Offerable, Source | Publisher>,
    options: PutOptions = {},
  ): Promise<void> {
    checkName(name);
    const staging = native(() => new (addon().NativeServer)(DEADLINE));
    try {
      const dataset = await filled(staging, name, what, options);
      await answer((cancel) => this.#native.put([name], dataset, cancel), options.signal);
    } finally {
      staging.close();
    }
  }

  /**
   * Sends batches, and fetches what the service answers them (`DoExchange`), both as fast as the other side takes them. It begins
   * when first asked for an answer. What the iterable throws ends the exchange for both. `schema` is needed where there may be no batch.
   */
  exchange<T extends TypeMap = UnknownColumns>(
    what: Descriptor,
    batches: Exclude<Offerable, Source | Publisher>,
    options: ReadOptions & Omit<PutOptions, "signal"> = {},
  ): Transfer<T> {
    const { path, command } = descriptor(what);
    const { memory: _, queue: __, schema, ...reading } = options;
    const name = path?.join("/") ?? "command";
    const kept = datasetOptions(name, options);
    const find = async () => {
      const staging = native(() => new (addon().NativeServer)(DEADLINE));
      const source = await OfferedSource.open(
        () => batches,
        kept,
        () => staging.close(),
      );
      const publisher = publisherId(source.publisher);
      const handle = schema && schemaHandle(arrow().schemaToJson(schema), schema);
      native(() => staging.putTopic(name, lane().native, publisher, handle));
      const open = () =>
        native(() => this.#native.openExchange(path, command, staging, lane().native, publisher));
      return [[{ via: "grpc", open: over(name, this.uri, open) }]];
    };
    return new Transfer<T>(name, find, reading);
  }

  /** Bytes that went over its connections to the service. */
  bytes(): { received: number; sent: number } {
    const [received, sent] = this.#native.counts();
    return { received, sent };
  }

  /** The ways to each endpoint, in order of preference. */
  #candidates(info: FlightInfo, name: string, { preference, apart }: Ways): Candidate[][] {
    return info.endpoints.map((endpoint) => {
      const ways = new Map<string, Candidate[]>();
      const add = (candidate: Candidate) => {
        ways.set(candidate.via, [...(ways.get(candidate.via) ?? []), candidate]);
      };
      const { ticket, split } = endpoint;
      for (const uri of endpoint.data)
        add(candidateOf(name, { uris: [uri], ticket, ...this.#beside(uri, apart) }));
      if (split !== undefined && !apart) add(candidateOf(name, { uris: split, ticket }));
      if (endpoint.here && !apart) add(this.#inline(name, endpoint.ticket));
      const found = preference.flatMap((via) => ways.get(via) ?? []);
      if (found.length > 0) return found;
      const offered = [...ways.keys()].join(", ") || "nothing that this client understands";
      throw new ArrowlaneError(
        "ERR_NO_TRANSPORT",
        `"${name}" is not to be had by ${preference.join(", ")}: the service offers ${offered}`,
      );
    });
  }

  /** How metadata comes from the service, and bodies from a data URI, where that was asked for. */
  #beside(uri: string, apart: boolean): Pick<Origin, "open"> {
    if (!apart) return {};
    return { open: () => this.#native.openSplit(uri, this.#tls?.roots, this.#tls?.serverName) };
  }

  #inline(name: string, ticket: Uint8Array): Candidate {
    const open = () => native(() => this.#native.openStream());
    return { via: "grpc", open: over(name, this.uri, open, ticket) };
  }
}

interface RawInfo extends Omit<FlightInfo, "endpoints"> {
  endpoints: (Omit<FlightEndpoint, "ticket"> & { ticket: number[] })[];
}

function infoFrom(raw: RawInfo): FlightInfo {
  const endpoints = raw.endpoints.map((endpoint) => ({
    ...endpoint,
    ticket: Uint8Array.from(endpoint.ticket),
    split: endpoint.split ?? undefined,
  }));
  return {
    ...raw,
    name: raw.name ?? undefined,
    path: raw.path ?? undefined,
    schema: raw.schema ?? undefined,
    rows: raw.rows ?? undefined,
    bytes: raw.bytes ?? undefined,
    endpoints,
  };
}

/** Reads an encoded FlightInfo, from whatever control plane it came. */
export function readFlightInfo(bytes: Uint8Array): FlightInfo {
  return infoFrom(JSON.parse(native(() => addon().readFlightInfo(bytes))) as RawInfo);
}

function descriptor(what: Descriptor): { path?: string[]; command?: Uint8Array } {
  if (typeof what === "string" && what !== "") return { path: [what] };
  if (Array.isArray(what) && what.every((part) => typeof part === "string")) return { path: what };
  const { command } = (what ?? {}) as { command?: unknown };
  if (command instanceof Uint8Array) return { command };
  throw new ArrowlaneError(
    "ERR_INVALID_ARGUMENT",
    "what to ask for is a name, an array of names, or { command }",
  );
}

/** In which order, and whether metadata comes from the service itself. */
interface Ways {
  readonly preference: readonly Via[];
  readonly apart: boolean;
}

function checkWays({ via, metadata }: GetOptions): Ways {
  if (metadata !== undefined && metadata !== "grpc") {
    throw new ArrowlaneError("ERR_INVALID_ARGUMENT", 'metadata can come by "grpc", or with the data');
  }
  const list = via === undefined ? PREFERENCE : typeof via === "string" ? [via] : via;
  if (Array.isArray(list) && list.length > 0 && list.every((one) => WAYS.has(one))) {
    return { preference: list, apart: metadata !== undefined };
  }
  throw new ArrowlaneError("ERR_INVALID_ARGUMENT", `via must be of ${[...WAYS].join(", ")}`);
}

async function answer(
  call: (cancel: NativeCancellation) => Promise<NativeText>,
  signal: AbortSignal | undefined,
): Promise<string> {
  const text = await givenUp(call, signal);
  return native(() => text.get());
}

/** What a call comes to. It keeps the process alive while it is awaited, and ends with the signal, here and at the service. */
async function givenUp<T>(
  call: (cancel: NativeCancellation) => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  checkSignal(signal);
  signal?.throwIfAborted();
  const cancel = new (addon().NativeCancellation)();
  lane().native.hold();
  try {
    return await unlessAborted(
      native(() => call(cancel)),
      signal,
    );
  } finally {
    lane().native.letGo();
    if (signal?.aborted) cancel.cancel();
  }
}

/**
 * Connects to an Arrow Flight service at `grpc+tcp://host:port`, `grpc://…` or `grpc+tls://…`.
 *
 * ```js
 * const client = await connect("grpc+tcp://127.0.0.1:8815");
 * for await (const batch of client.get("orders")) batch.dispose();
 * ```
 */
export async function connect(uri: string, options: ConnectOptions = {}): Promise<Client> {
  if (typeof uri !== "string")
    throw new ArrowlaneError("ERR_INVALID_ARGUMENT", "the address must be a string");
  checkObject("the options of connect", options);
  const { credentials = {}, headers = {}, tls = {}, deadline = DEADLINE, signal } = options;
  checkWhole("deadline", deadline, 1);
  checkSignal(signal);
  const { bearer, user, password } = credentials as { bearer?: string; user?: string; password?: string };
  const settings = {
    bearer,
    user,
    password,
    headers: Object.entries(headers).flat(),
    locations: "combined",
    deadline,
    roots: tls.roots,
    serverName: tls.serverName,
    certificate: tls.certificate,
    key: tls.key,
  };
  const connected = await givenUp((cancel) => addon().connectFlight(uri, settings, cancel), signal);
  return new Client(
    uri,
    native(() => connected.get()),
    tls,
  );
}
