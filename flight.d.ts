// Generated from ts/flight.ts by `npm run types`; do not edit.
import type { ArrowlaneError, Batch, LeaseOptions, Publisher, Sendable } from "./index.js";
import { Binary, Bool, DataType, Date_, Decimal, Duration, FixedSizeBinary, FixedSizeList, Float, Int, Interval, LargeBinary, LargeUtf8, Null, RecordBatch, Schema, Table, Time, Timestamp, TypeMap, Utf8, Vector } from 'apache-arrow';

interface JsonMetadata {
	key: string;
	value: string;
}
type JsonTimeUnit = "SECOND" | "MILLISECOND" | "MICROSECOND" | "NANOSECOND";
interface JsonIntType {
	name: "int";
	bitWidth: number;
	isSigned: boolean;
}
type JsonType = {
	name: "null" | "bool" | "utf8" | "largeutf8" | "binary" | "largebinary" | "utf8view" | "binaryview" | "list" | "largelist" | "listview" | "largelistview" | "struct" | "runendencoded";
} | JsonIntType | {
	name: "floatingpoint";
	precision: "HALF" | "SINGLE" | "DOUBLE";
} | {
	name: "fixedsizebinary";
	byteWidth: number;
} | {
	name: "decimal";
	bitWidth?: number;
	precision: number;
	scale: number;
} | {
	name: "date";
	unit: "DAY" | "MILLISECOND";
} | {
	name: "time";
	unit: JsonTimeUnit;
	bitWidth: number;
} | {
	name: "timestamp";
	unit: JsonTimeUnit;
	timezone?: string | null;
} | {
	name: "duration";
	unit: JsonTimeUnit;
} | {
	name: "interval";
	unit: "YEAR_MONTH" | "DAY_TIME" | "MONTH_DAY_NANO";
} | {
	name: "union";
	mode: "SPARSE" | "DENSE";
	typeIds: number[];
} | {
	name: "fixedsizelist";
	listSize: number;
} | {
	name: "map";
	keysSorted: boolean;
};
interface JsonDictionary {
	id: number;
	indexType: JsonIntType;
	isOrdered: boolean;
}
interface JsonField {
	name: string;
	nullable: boolean;
	type: JsonType;
	children: JsonField[];
	dictionary?: JsonDictionary;
	metadata?: JsonMetadata[];
}
interface JsonSchema {
	fields: JsonField[];
	metadata?: JsonMetadata[];
}
type UnknownColumns = any;
type ElementArray = Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | BigInt64Array | BigUint64Array | Float32Array | Float64Array;
type BoolColumn = Bitmap;
declare class Bitmap {
	#private;
	private constructor();
	/** The number of bits. */
	readonly length: number;
	/** The bits as they lie: bit `i` is bit `i % 8` of byte `i / 8`. */
	readonly bytes: Uint8Array;
	/** The bit of row `i`. */
	get(i: number): boolean;
	/** Sets the bit of row `i`. */
	set(i: number, value: boolean): void;
	/** Sets the bits of all rows. */
	fill(value: boolean): void;
	/** How many of the first `rows` bits are false. */
	countFalse(rows: number): number;
}
declare class BinaryColumn {
	#private;
	protected constructor();
	/** The number of values so far. */
	get length(): number;
	/** The bytes used so far. */
	get bytes(): number;
	/** The bytes that are left of the column's budget. */
	get remainingBytes(): number;
	/**
	 * Adds the next value; `null` in a nullable column. Throws `ERR_OUT_OF_SPACE`, adding nothing, when the budget
	 * or the rows are used up.
	 */
	append(value: Uint8Array | null): void;
}
declare class Utf8Column extends BinaryColumn {
	/** Adds the next value, as a string or as UTF-8 bytes; see {@link BinaryColumn.append}. */
	append(value: string | Uint8Array | null): void;
}
/** Makes the batches of a dataset anew for each client that fetches it. */
export type Source = (request: SourceRequest) => Batches | Promise<Batches>;
type Batches = Sendable | Iterable<Sendable> | AsyncIterable<Sendable>;
/** For whom a source is asked. */
export interface SourceRequest {
	/** Aborted when the client is gone. */
	readonly signal: AbortSignal;
}
/** A way by which data comes from a server: the scheme of a data URI, or the control plane itself. */
export type Via = "shm" | "tcp" | "ucx" | "fabric" | "grpc" | "http";
/** How data is fetched. */
export interface ReadOptions extends LeaseOptions {
	/** Ends the transfer; whoever waits, or asks next, gets the signal's reason. Batches that are held stay valid. */
	signal?: AbortSignal;
	/** Throw `ERR_COPY_REQUIRED` instead of copying a buffer; pass over ways that copy. */
	strictZeroCopy?: boolean;
	/** Whom to trust at data URIs with `tls=1`, in PEM: the system's roots, and the URI's host for a name, unless said otherwise. */
	tls?: {
		roots?: string;
		serverName?: string;
	};
}
/** A way that was tried and did not work. */
export interface Attempt {
	readonly via: string;
	readonly error: ArrowlaneError;
}
/**
 * The batches of one dataset or topic from a server, each under a lease of its own. It connects when first asked: in order
 * of preference, by the first way that works. Once a batch has come there is no other way any more.
 */
export declare class Transfer<T extends TypeMap = UnknownColumns> implements AsyncIterableIterator<Batch<T>> {
	#private;
	private constructor();
	/** What the server calls it. */
	readonly name: string;
	/** How the batches come; `undefined` until a way has worked. */
	get via(): string | undefined;
	/** The ways that were tried before and did not work. */
	get tried(): readonly Attempt[];
	[Symbol.asyncIterator](): this;
	/** The next batch, which the caller disposes. Rejects with what ended the last way that was left. */
	next(): Promise<IteratorResult<Batch<T>>>;
	/** Ends the transfer, as leaving a `for await` loop does. */
	return(): Promise<IteratorResult<Batch<T>>>;
	/** Ends delivery. Batches that were not taken go back; batches that are held stay valid. */
	close(): void;
	[Symbol.asyncDispose](): Promise<void>;
}
/** Where something is fetched: a data URI, or two, where metadata and bodies come over connections of their own. */
export type DataSource = string | {
	readonly metadata: string;
	readonly data: string;
};
/**
 * Fetches what `ticket` stands for from the server at a data URI, or at the first of several that works. No control plane is
 * needed: whoever has a URI and a ticket can use them (`server.endpoints(name)` gives both).
 *
 * ```js
 * for await (const batch of readFrom("tcp://127.0.0.1:9000?want_data=1", ticket)) batch.dispose();
 * ```
 */
export declare function readFrom<T extends TypeMap = UnknownColumns>(source: DataSource | readonly DataSource[], ticket: string | Uint8Array, options?: ReadOptions): Transfer<T>;
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
	 * itself handed out (Flight's handshake gives one). What it throws refuses the caller, who is told its message. Without it
	 * everybody is let in. Data URIs ask nobody: there the ticket is what counts.
	 */
	authenticate?: (credentials: Credentials, peer: string) => string | Promise<string>;
	/**
	 * Answers what clients of Flight send in exchanges (`DoExchange`); without, there are none. Called once for each, it gives the
	 * answers, and is asked for no more than the client takes.
	 */
	exchange?: Exchange;
	/** The certificate and key, in PEM, of a `grpc+tls:` address, and of `tcp://…?tls=1`; with `clientRoots`, clients must show a certificate from there. */
	tls?: {
		certificate: string;
		key: string;
		clientRoots?: string;
	};
	/**
	 * Where data is served: `shm:` (between processes of this user), `tcp://host:port` (in TLS with `?tls=1`), `ucx://host:port`; port 0 leaves
	 * the choice to the system. `["shm:"]` unless said otherwise.
	 */
	data?: readonly string[];
	/** How long a ticket can be redeemed, in milliseconds: 10 minutes unless said otherwise. */
	ticketLife?: number;
}
/** What a caller of Flight shows. */
export type Credentials = {
	readonly kind: "none";
} | {
	readonly kind: "bearer";
	readonly token: string;
} | {
	readonly kind: "basic";
	readonly user: string;
	readonly password: string;
};
/** How a dataset is kept. */
export interface PutOptions {
	/** The most memory that it may take, in bytes: 16 GiB unless said otherwise. It takes what it needs. */
	memory?: number;
	/** How far each client may lag behind: batches sent and not yet taken (64), and their bytes (256 MiB). */
	queue?: {
		batches?: number;
		bytes?: number;
	};
	/** The schema, where there may be no batch to see it by; a function needs it. */
	schema?: Schema;
	/** Gives up; nothing is offered then that was not before. */
	signal?: AbortSignal;
}
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
/**
 * Offers datasets and topics to whoever holds a ticket. Data is served by a thread of its own: a busy event loop delays
 * nobody. An idle server does not keep the process alive.
 */
export declare class Server {
	#private;
	private constructor();
	/** The address of its Flight service, with the port that was bound; `undefined` without one. */
	get control(): string | undefined;
	/** Bytes that went over its Flight service's connections. */
	controlBytes(): {
		received: number;
		sent: number;
	};
	/** The data URIs at which it serves; `readFrom` takes them, with a ticket. */
	get data(): readonly string[];
	/** Addresses that were asked for and cannot be had on this machine, and why. */
	get unavailable(): readonly Unavailable[];
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
	put(name: string, what: Offerable, options?: PutOptions): Promise<void>;
	/**
	 * Offers what is in a file: Arrow IPC file or stream, or Parquet, told apart by content. It is read now, as a whole, off the
	 * event loop; changing the file later changes nothing.
	 */
	putFile(name: string, path: string, options?: Omit<PutOptions, "schema" | "signal">): Promise<void>;
	/** Offers a name no more. Whether it was offered. Transfers that go on are finished. */
	remove(name: string): boolean;
	/** What it offers, by name. */
	offers(): Offer[];
	/** URIs and a ticket for what is offered under a name now: for a control plane of your own to hand out. */
	endpoints(name: string): Endpoints;
	/** Listens no more and offers nothing; transfers that go on are finished, batches that clients hold stay valid. */
	close(): Promise<void>;
	[Symbol.asyncDispose](): Promise<void>;
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
export declare function serve(options?: ServeOptions): Promise<Server>;
/** How a client connects, and what it shows. */
export interface ConnectOptions {
	/** A token, or a name and a password; shown with every call. */
	credentials?: {
		bearer: string;
	} | {
		user: string;
		password: string;
	};
	/** Further request headers. */
	headers?: Readonly<Record<string, string>>;
	/** Whom to trust at a `grpc+tls:` address, in PEM (the system's roots unless said otherwise), and what to show there. */
	tls?: {
		roots?: string;
		serverName?: string;
		certificate?: string;
		key?: string;
	};
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
export type Descriptor = string | readonly string[] | {
	command: Uint8Array;
};
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
	readonly split: readonly [
		metadata: string,
		data: string
	] | undefined;
}
/**
 * A connection to an Arrow Flight service, ours or anybody's. Idle, it does not keep the process alive. It belongs to its
 * thread.
 */
export declare class Client {
	#private;
	private constructor();
	/** The address that it was connected to. */
	readonly uri: string;
	/** All that the service lists. */
	list(options?: {
		signal?: AbortSignal;
	}): Promise<FlightInfo[]>;
	/** Where something is, and with which ticket it is read. `poll`: of a service that needs time, once it is known as a whole. */
	info(what: Descriptor, options?: {
		signal?: AbortSignal;
		poll?: boolean;
	}): Promise<FlightInfo>;
	/** The schema of something, as Arrow's JSON. */
	schema(what: Descriptor, options?: {
		signal?: AbortSignal;
	}): Promise<JsonSchema>;
	/**
	 * The batches of something: asks where it is when first asked for one, then fetches it by the first way that works; `via` and
	 * `tried` say which.
	 */
	get<T extends TypeMap = UnknownColumns>(what: Descriptor, options?: GetOptions): Transfer<T>;
	/** As `get`, of a FlightInfo that came from anywhere: another service (Flight SQL), a message, a file. Its encoded bytes will do. */
	read<T extends TypeMap = UnknownColumns>(info: FlightInfo | Uint8Array, options?: GetOptions): Transfer<T>;
	/** Uploads batches under a name. Async iterables are read once, to their end, before the first is sent. */
	put(name: string, what: Exclude<Offerable, Source | Publisher>, options?: PutOptions): Promise<void>;
	/**
	 * Sends batches, and fetches what the service answers them (`DoExchange`), both as fast as the other side takes them. It begins
	 * when first asked for an answer. What the iterable throws ends the exchange for both. `schema` is needed where there may be no batch.
	 */
	exchange<T extends TypeMap = UnknownColumns>(what: Descriptor, batches: Exclude<Offerable, Source | Publisher>, options?: ReadOptions & Omit<PutOptions, "signal">): Transfer<T>;
	/** Bytes that went over its connections to the service. */
	bytes(): {
		received: number;
		sent: number;
	};
}
/** Reads an encoded FlightInfo, from whatever control plane it came. */
export declare function readFlightInfo(bytes: Uint8Array): FlightInfo;
/**
 * Connects to an Arrow Flight service at `grpc+tcp://host:port`, `grpc://…` or `grpc+tls://…`.
 *
 * ```js
 * const client = await connect("grpc+tcp://127.0.0.1:8815");
 * for await (const batch of client.get("orders")) batch.dispose();
 * ```
 */
export declare function connect(uri: string, options?: ConnectOptions): Promise<Client>;

export {};
