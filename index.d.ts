// Generated from ts/index.ts by `npm run types`; do not edit.
import { Binary, Bool, DataType, Date_, Decimal, Duration, FixedSizeBinary, FixedSizeList, Float, Int, Interval, LargeBinary, LargeUtf8, Null, RecordBatch, Schema, Table, Time, Timestamp, TypeMap, Utf8, Vector } from 'apache-arrow';

type ElementArray = Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | BigInt64Array | BigUint64Array | Float32Array | Float64Array;
/** What a column of type `T` is written through. */
export type ColumnOf<T extends DataType> = DataType extends T ? any : T extends Null ? null : T extends Bool ? BoolColumn : T extends Utf8 | LargeUtf8 ? Utf8Column : T extends Binary | LargeBinary ? BinaryColumn : T extends Int | Float | Decimal | Date_ | Time | Timestamp | Duration | Interval | FixedSizeBinary ? T["TArray"] : T extends FixedSizeList<infer V> ? V["TArray"] : ElementArray;
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
/** How much room a writer's columns of variable width get. */
export interface WriterOptions {
	/** Bytes for the values of each Utf8 and Binary column: one number for all, or one by column name. */
	bytes?: number | Record<string, number>;
}
type UnknownColumns = any;
/** A column of a batch: an apache-arrow Vector over the batch's bytes. */
export interface Column<T extends DataType = UnknownColumns> extends Vector<T> {
	/**
	 * The bytes of a uint8 or fixed-size binary column as values of another fixed-width type: any but booleans and nested ones.
	 * Never a copy; what it gives ends with the batch.
	 *
	 * A uint8 column of n × w bytes has n values of w bytes. A fixed-size binary one has as many values as rows where the widths
	 * are the same, and k times as many where a row has k times the width. Nulls stay where the widths are the same, and are
	 * refused elsewhere. Throws `ERR_INVALID_ARGUMENT` where the column or the type are none of these, or the widths do not
	 * fit; `ERR_ALIGNMENT` where the bytes do not lie as the type needs them.
	 *
	 * ```js
	 * const samples = batch.column("payload").reinterpret(new Float32()); // apache-arrow's Float32
	 * ```
	 */
	reinterpret<R extends DataType>(type: R): Column<R>;
}
/** The stable codes of every error that arrowlane throws; README.md says what each means and what to do. */
export type ErrorCode = "ERR_ALIGNMENT" | "ERR_ARROW" | "ERR_BAD_ADDRESS" | "ERR_BAD_NAME" | "ERR_BIND" | "ERR_BUSY" | "ERR_CANCELLED" | "ERR_CLOSED" | "ERR_CONNECTION" | "ERR_COPY_REQUIRED" | "ERR_DAMAGED_DATA" | "ERR_DEVICE" | "ERR_DICTIONARY_OVERFLOW" | "ERR_DISPOSED" | "ERR_EVICTED" | "ERR_INTERNAL" | "ERR_INVALID_ARGUMENT" | "ERR_INVALID_ARROW" | "ERR_INVALID_DATA" | "ERR_INVALID_SCHEMA" | "ERR_IO" | "ERR_LEASE_ENDED" | "ERR_LEASE_REVOKED" | "ERR_MEMORY" | "ERR_NO_TRANSPORT" | "ERR_NOT_A_BATCH" | "ERR_NOT_FOUND" | "ERR_NOT_PERMITTED" | "ERR_OTHER_PROCESS" | "ERR_OTHER_USER" | "ERR_OUT_OF_MEMORY" | "ERR_OUT_OF_SPACE" | "ERR_PRODUCER" | "ERR_PROTOCOL" | "ERR_PUBLISHER_LOST" | "ERR_RELEASED" | "ERR_REMOTE" | "ERR_RUNTIME" | "ERR_SCHEMA" | "ERR_SCHEMA_MISMATCH" | "ERR_SYSTEM" | "ERR_TICKET" | "ERR_TIMEOUT" | "ERR_TOPIC_NOT_FOUND" | "ERR_TOPIC_TAKEN" | "ERR_TRANSPORT" | "ERR_TRANSPORT_UNAVAILABLE" | "ERR_UNAUTHENTICATED" | "ERR_UNKNOWN_FORMAT" | "ERR_UNKNOWN_OUTPUT" | "ERR_UNSAFE_FOLDER" | "ERR_UNSUPPORTED" | "ERR_UNSUPPORTED_PLATFORM" | "ERR_UNSUPPORTED_TYPE";
/** An error of arrowlane: a stable `code`, a sentence on what to do, and the cause where there is one. */
export declare class ArrowlaneError extends Error {
	readonly code: ErrorCode;
	constructor(code: ErrorCode, message: string, options?: {
		cause?: unknown;
	});
}
/** Thrown by every read of a batch after its handle was disposed. */
export declare class DisposedError extends ArrowlaneError {
	constructor(message?: string, options?: {
		cause?: unknown;
	});
}
/** Thrown by every read of a batch that was taken away: by `leaseTimeout`, or by `close({ revoke: true })`. */
export declare class LeaseRevokedError extends ArrowlaneError {
	constructor(message?: string, options?: {
		cause?: unknown;
	});
}
/** Thrown where a column has a type that apache-arrow cannot hold, or that cannot be written in place. */
export declare class UnsupportedTypeError extends ArrowlaneError {
	constructor(message: string, options?: {
		cause?: unknown;
	});
}
/** What a subscription says of keeping its batches. */
export interface LeaseOptions {
	/**
	 * Milliseconds after which a batch that is still held makes a warning: one `process.emitWarning` of the type
	 * `LeaseWarning` with the code `ARROWLANE_LEASE_WARNING`, which names topic, sequence and age. 5000 unless said otherwise; 0 or `Infinity`: never.
	 */
	leaseWarning?: number;
	/** Milliseconds after which `onLeaseTimeout` happens; never, unless said. 0 or `Infinity`: never. */
	leaseTimeout?: number;
	/**
	 * `"warn"` (unless said otherwise): one warning more, `ARROWLANE_LEASE_TIMEOUT`. `"revoke"`: that, and the batch is taken
	 * away: every later read throws `ERR_LEASE_REVOKED`, and its memory goes back. Jobs outside of JavaScript that were
	 * given its bytes must be done by then. What other native code holds (`exportTo`) stays its own until it releases it.
	 */
	onLeaseTimeout?: "warn" | "revoke";
	/**
	 * Has warnings say where the batch was asked for (their `detail`). Costs a stack trace for each batch. Off, unless the environment has
	 * `ARROWLANE_LEASE_STACKS=1`.
	 */
	leaseStacks?: boolean;
}
/** How a batch is shared. */
export interface ShareOptions {
	/**
	 * Milliseconds for which the token keeps the batch while nobody opens it: 60,000 unless said otherwise. `Infinity`: until it
	 * is opened or revoked, or this thread ends.
	 */
	timeout?: number;
}
/** A token as data: what `postMessage` and `structuredClone` make of it. */
export interface BatchTokenData {
	/** The version of this form. */
	readonly version: number;
	/** The process whose threads may open it. */
	readonly process: number;
	/** A random number of 128 bits, in hexadecimal digits. */
	readonly id: string;
}
/**
 * Stands for a batch in every thread of this process: post it, and `Batch.open` it there. See `Batch.share`.
 *
 * Posting it, or cloning it in another way, makes plain data of it that stands for the same batch. That has no methods:
 * `Batch.revoke(token)` takes any.
 */
export declare class BatchToken implements BatchTokenData {
	private constructor();
	readonly version: number;
	readonly process: number;
	readonly id: string;
	/**
	 * Takes the token's own reference back, where nobody has opened it yet: from then on it opens only as long as somebody has a
	 * handle of the batch. Returns whether it still had its reference. Doing it twice does nothing.
	 */
	revoke(): boolean;
}
/** The device that a batch's memory is on, as in the C Device Interface. */
export interface Device {
	/** `"cpu"` until other devices come. */
	readonly type: "cpu";
	/** Which of the devices of that type; 0 for the CPU. */
	readonly id: bigint;
}
/** Which shared memory a batch's body lies in: the same in every process that maps it. */
export interface Location {
	/** Device and inode of the memfd. */
	readonly memory: string;
	/** Bytes from its start. */
	readonly offset: bigint;
}
/**
 * A record batch whose bytes lie where their producer wrote them.
 *
 * `column` and `toArrow` give apache-arrow objects over those bytes, without a copy. `dispose` gives the memory back:
 * when the last handle of a body is disposed (slices and selections are handles of their own), everything that was
 * taken from it throws `ERR_DISPOSED` when read, and raw typed arrays have length 0. A batch that is never disposed is
 * given back when neither it nor anything taken from it is referred to any more; that may be late.
 *
 * A handle belongs to its thread. Writing into the arrays is possible, changes nothing for anybody else, and is
 * thrown away with the batch. Jobs outside of JavaScript that were given the bytes (`fs.read`, `fs.write`, `crypto`) know
 * nothing of `dispose` and touch memory that may be another batch's by then: await them first.
 */
export declare class Batch<T extends TypeMap = UnknownColumns> {
	#private;
	private constructor();
	/**
	 * Takes over a batch from other native code by the C Device Interface: the addresses of an `ArrowDeviceArray` (128
	 * bytes) and an `ArrowSchema` that describe a struct array. Both are moved from: their `release` is cleared, and
	 * what they held is released when the batch ends. Without a copy.
	 *
	 * The addresses must be right; nothing can check that. Throws `ERR_RELEASED`, `ERR_NOT_A_BATCH`, `ERR_DEVICE`,
	 * `ERR_INVALID_ARROW`, `ERR_BAD_ADDRESS`, and then nothing was moved.
	 */
	static importFrom(arrayAddress: bigint, schemaAddress: bigint): Batch;
	/**
	 * Opens what `share` gave, or a clone of it, in any thread of this process: a handle of its own over the same bytes, which
	 * ends like any other. It shows the rows and columns that the shared handle showed.
	 *
	 * The first `open` takes the token's own reference over. Later ones, and those after `revoke` or the time-out, need that
	 * somebody in this process has a handle of the batch still, or `open` throws `ERR_LEASE_ENDED`. In another process it throws
	 * `ERR_OTHER_PROCESS`.
	 */
	static open<T extends TypeMap = UnknownColumns>(token: BatchTokenData): Batch<T>;
	/** `token.revoke()`, for clones as well, which have no methods. */
	static revoke(token: BatchTokenData): boolean;
	/** The schema, as apache-arrow knows it. Throws `ERR_UNSUPPORTED_TYPE` when it cannot hold a column. */
	get schema(): Schema<T>;
	/** Number of rows; known after dispose too, as `byteLength` is. */
	get length(): number;
	/** Names of the columns, in order. */
	get columnNames(): string[];
	/** Length of the whole body in bytes, of which a slice or selection shows a part; without dictionaries. */
	get byteLength(): number;
	/** Key/values that were sent with the batch. */
	get metadata(): ReadonlyMap<string, string>;
	/** The device that the bytes are on. */
	get device(): Device;
	/**
	 * Whether nothing was copied that need not be: the bytes lie in the producer's memory, or where the network's transport put
	 * them (`"tcp"`, `"ucx"`, `"fabric"`); and nothing was copied since. gRPC and HTTP copy.
	 */
	get zeroCopy(): boolean;
	/**
	 * Which transport brought it: `"shm"`, or `"unix"` where memory cannot be shared; from other hosts `"tcp"`, `"ucx"`, `"fabric"`,
	 * `"grpc"` or `"http"`; `"import"` and `"copy"` for batches made here.
	 */
	get via(): string;
	/** Which shared memory the body lies in; `undefined` for memory of this process alone. */
	get location(): Location | undefined;
	/** The address of the body's first byte in this process; 0 for a batch without bytes. */
	get address(): bigint;
	/** Whether the batch was taken away: by `leaseTimeout`, or by `close({ revoke: true })`. */
	get revoked(): boolean;
	/** Whether this handle was disposed. */
	get disposed(): boolean;
	/** A column over the shared bytes. Throws `ERR_UNSUPPORTED_TYPE` when apache-arrow cannot hold its type. */
	column<K extends keyof T & string>(name: K): Column<T[K]>;
	/** The whole batch as an apache-arrow RecordBatch over the shared bytes. */
	toArrow(): RecordBatch<T>;
	/** Rows `begin` to `end` (as `Array.prototype.slice` counts) as a handle of their own on the same lease. */
	slice(begin?: number, end?: number): Batch<T>;
	/** Some columns, in the order given, as a handle of their own on the same lease. */
	select<K extends keyof T & string>(names: readonly K[]): Batch<Pick<T, K>>;
	/**
	 * The same rows and columns in memory of this process: independent of the lease and of its producer. A handle of its
	 * own, to be disposed like any other. Throws `ERR_OUT_OF_MEMORY` where the machine or the cgroup has not that much left.
	 */
	copy(): Batch<T>;
	/**
	 * A token for other threads of this process: post it, and `Batch.open` it there. Without a copy.
	 *
	 * The token has a reference of its own, so this handle may be disposed at once. The reference ends with the first of: it is
	 * opened (then the new handle has it), `token.revoke()`, `timeout`, and the end of this thread. Several threads can open
	 * one token as long as one handle lives. All of them have the same memory: what one writes into a column, the others see.
	 */
	share(options?: ShareOptions): BatchToken;
	/**
	 * Hands the batch to other native code by the C Device Interface: writes an `ArrowDeviceArray` (128 bytes) and an
	 * `ArrowSchema` (72 bytes) to the caller's addresses. They hold a reference of their own: this handle may be disposed,
	 * and the consumer calls `release` whenever it likes, from any thread; the lease ends after that. Without a copy.
	 *
	 * What the structs held before is overwritten, not released. The addresses must be right; only that they are positive
	 * and aligned to 8 bytes is checked (`ERR_BAD_ADDRESS`).
	 */
	exportTo(arrayAddress: bigint, schemaAddress: bigint): void;
	/**
	 * Ends this handle: its own methods throw `ERR_DISPOSED` from now on. With the last handle of its body the memory goes
	 * back, and everything taken from the body throws. Doing it twice does nothing.
	 */
	dispose(): void;
	[Symbol.dispose](): void;
}
/** What happened to a subscription, as `diagnostics_channel` tells it under `arrowlane:subscription`. */
export type SubscriptionEvent = StreamEvent | LeaseEvent | TransferEvent;
/** What happened to its stream. */
export interface StreamEvent {
	/**
	 * Its publisher went away; it is connected to the next one (`reconnects` so far); batches were dropped before the next
	 * one that arrives (`dropped` so far); it was given up by its publisher.
	 */
	event: "lost" | "reconnected" | "dropped" | "evicted";
	topic: string;
	reconnects?: number;
	dropped?: number;
}
interface TransferEvent {
	/** One way did not work, and the next is tried. */
	event: "fell-through";
	topic: string;
	via: string;
	error: Error;
}
/** What happened to a batch that is held. */
export interface LeaseEvent {
	/** It is held for longer than `leaseWarning`, or than `leaseTimeout`; it was revoked. */
	event: "lease-warning" | "lease-timeout" | "lease-revoked";
	topic: string;
	/** The batch's number on its connection. */
	sequence: number;
	/** Length of its body. */
	bytes: number;
	/** For how long the application has held it, in milliseconds. */
	age: number;
	/** Where it was asked for, with `leaseStacks`. */
	stack?: string;
}
/** What happened to a publisher, as `diagnostics_channel` tells it under `arrowlane:publisher`. */
export interface PublisherEvent {
	/**
	 * A subscriber takes part; does so no more; was given up (`evictAfter`). The publisher has handed everything over. The function
	 * that a server has batches made by threw something (`error`), which ended one client's stream.
	 */
	event: "joined" | "left" | "evicted" | "closed" | "source-failed";
	topic: string;
	error?: unknown;
	/** Which subscriber; `subscriptions()` and `leases()` have the same number. */
	subscriber?: number;
}
/**
 * What happens when a subscriber's queue is full. `wait`: `send` waits for it, nothing is lost. `drop-oldest`: the oldest
 * batch that was not handed over yet is dropped; half of the queue is handed over in advance, so a queue of 2 is one
 * batch in the subscriber's hands and the latest one behind it. `drop-newest`: the batch that is being sent is dropped.
 */
export type Overflow = "wait" | "drop-oldest" | "drop-newest";
/** How one subscriber is served. */
export interface Policy {
	/** How far it may lag behind: batches not yet taken, and their bytes. */
	readonly queue: {
		readonly batches: number;
		readonly bytes: number;
	};
	/** What happens beyond that. */
	readonly overflow: Overflow;
	/** Whether it began with the latest batch that was published before it came. */
	readonly last: boolean;
}
/** What subscribers may ask for. */
export interface Permits {
	/**
	 * Policies beside the publisher's own; a subscriber that asks for another fails with `ERR_NOT_PERMITTED`. Unless said
	 * otherwise: those that lose batches, and `wait` where that is the publisher's own.
	 */
	overflow?: readonly Overflow[];
	/** The largest queue: a subscriber that asks for more gets this. The publisher's own `queue` unless said otherwise. */
	queue?: {
		batches?: number;
		bytes?: number;
	};
}
/** What a publisher does with subscribers that do not keep up. */
export interface PolicyOptions {
	/** What happens when a subscriber's queue is full and it asked for nothing else; `wait` unless said otherwise. */
	overflow?: Overflow;
	/**
	 * Milliseconds after which a subscriber is given up that holds batches, or has a full queue, and has freed nothing: it
	 * gets nothing more and fails with `ERR_EVICTED`. What it holds stays valid; the memory returns when it frees it or
	 * dies. Never, unless said.
	 */
	evictAfter?: number;
	/**
	 * Keep the latest batch for subscribers that ask to begin with it. It takes its memory until the next one is sent, or
	 * until the memory is needed. Not with `onSubscriber`.
	 */
	last?: boolean;
	/** What subscribers may ask for. */
	permits?: Permits;
}
/** What a subscriber asks for; its publisher's default where it says nothing. */
export interface PolicyRequest {
	/** How far it may lag behind. More than the publisher permits is cut to that. */
	queue?: {
		batches?: number;
		bytes?: number;
	};
	/** What happens beyond that; `ERR_NOT_PERMITTED` where the publisher does not allow it. */
	overflow?: Overflow;
	/** Begin with the latest batch that was published; `ERR_NOT_PERMITTED` where the publisher does not keep it. */
	last?: boolean;
}
/** One subscriber's figures at a moment, as its publisher knows them. */
export interface SubscriberStatistics {
	/** Which subscriber of this publisher; never used again. */
	readonly id: number;
	/** Its process, where the system says. */
	readonly pid: number | undefined;
	/** How it is served. */
	readonly policy: Policy;
	/**
	 * Whether it takes part, gets no more but holds batches still, was given up and holds batches still, or is gone, while
	 * somebody reads still to whom it had forwarded what it held.
	 */
	readonly state: "active" | "ended" | "evicted" | "orphaned";
	/** Batches that it was sent, and the bytes of all bodies. */
	readonly sent: number;
	readonly sentBytes: number;
	/** Batches that it was not sent, because its queue was full. */
	readonly dropped: number;
	/** How often `send` had to wait for it, and how long all together, in milliseconds. */
	readonly waited: number;
	readonly waitedFor: number;
	/** Batches sent and not yet taken. */
	readonly inFlight: number;
	/** Batches that wait in the publisher and may be dropped yet. */
	readonly queued: number;
	/** Batches (and dictionaries) that it holds or has not taken yet, and the bytes of their memory. */
	readonly leases: number;
	readonly bytes: number;
	/** For how long it has had the oldest of those batches, in milliseconds. */
	readonly oldestLease: number | undefined;
}
/** One batch that a subscriber holds or has not taken yet, as its publisher knows it. */
export interface LeaseStatistics {
	/** Which subscriber of this publisher: its `id` in `subscriptions()`. */
	readonly subscriber: number;
	/** Its process, where the system says. */
	readonly pid: number | undefined;
	/** The batch's number on that connection; the subscriber's warnings have the same. */
	readonly sequence: number;
	/** Bytes of its memory. */
	readonly bytes: number;
	/** For how long it has been lent, in milliseconds: since it was sent, which is before it was taken. */
	readonly age: number;
}
/**
 * A batch that is written where it will be read: its typed arrays lie in the publisher's shared memory.
 *
 * Send it, or `dispose` it. Until it is sent nobody sees it; from then on its arrays have length 0. Await file and crypto
 * jobs that write into them before that: they do not notice. A writer that is neither sent nor disposed keeps its memory
 * until its arrays are collected. It belongs to its thread.
 */
export declare class Writer<T extends TypeMap = UnknownColumns> {
	#private;
	private constructor();
	/** The number of rows there is room for. */
	get rows(): number;
	/** The number of rows that will be sent: all, until set. */
	get length(): number;
	set length(rows: number);
	/** Which shared memory it lies in: the same that its subscribers see. `undefined` where memory cannot be shared. */
	get location(): Location | undefined;
	/**
	 * A column to write: a typed array for fixed width, whose contents are unspecified until written; a builder with `append`
	 * for Utf8 and Binary, one value for each row; `set(row, value)` for Bool, all `false` when first asked for. A FixedSizeList
	 * is the array of its values, a decimal its 32-bit words. A column that is never asked for is sent as it lies there.
	 */
	column<K extends keyof T & string>(name: K): ColumnOf<T[K]>;
	/** Says which values of a nullable column are there; all are, until one is set otherwise. */
	validity(name: keyof T & string): Bitmap;
	/** Gives the memory back unsent. Doing it twice, or after `send`, does nothing. */
	dispose(): void;
	[Symbol.dispose](): void;
}
/** What can be sent: see `Publisher.send`. A `Uint8Array` arrives as one row of one Binary column, `value`. */
export type Sendable = Batch | Writer | RecordBatch | Table | Uint8Array;
/** What can be said of one sending. */
export interface SendOptions {
	/** Key/values that travel with the batch; a `Batch` that is sent on keeps its own where nothing is said. */
	metadata?: ReadonlyMap<string, string> | Record<string, string>;
	/** Gives up waiting; rejects with the signal's reason, and the batch is not sent. */
	signal?: AbortSignal;
}
/** One subscriber's own stream; ends when the function that `onSubscriber` gave resolves. */
export declare class SubscriberStream {
	#private;
	private constructor();
	/** Whether the subscriber is gone. */
	get hasLeft(): boolean;
	/** Aborted when the subscriber is gone. */
	get signal(): AbortSignal;
	/**
	 * Sends to this subscriber alone; see `Publisher.send`. Rejects with `ERR_CLOSED` when it left, or when the
	 * publisher was closed.
	 */
	send(what: Sendable, options?: SendOptions): Promise<void>;
}
/** How a publisher behaves. */
export interface PublishOptions extends PolicyOptions {
	/**
	 * The most memory that it takes for batches, shared where that is possible, in bytes: 1 GiB unless said otherwise. At most 64 MiB are taken at first, more
	 * as it is needed; what lay idle for some seconds goes back to the system when blocks come and go.
	 */
	memory?: number;
	/**
	 * How far one subscriber may lag behind that asks for nothing else: batches sent and not yet taken (64; 65,536 at
	 * most), and their bytes (256 MiB). One batch always fits.
	 */
	queue?: {
		batches?: number;
		bytes?: number;
	};
	/** `send` waits while there are fewer subscribers; 1 unless said otherwise. With 0, batches that nobody gets are dropped. */
	minSubscribers?: number;
	/**
	 * Gives every subscriber a stream of its own: called once for each, it sends to that one alone; the stream ends when
	 * it resolves. Then `send` on the publisher itself is not available. What it throws is an unhandled rejection, unless
	 * its subscriber has left.
	 */
	onSubscriber?: (stream: SubscriberStream) => Promise<void>;
	/** Reject with `ERR_COPY_REQUIRED` where `send` would have to copy; `publish` itself, where memory cannot be shared. */
	strictZeroCopy?: boolean;
}
/** How a publisher is closed. */
export interface CloseOptions {
	/**
	 * Ends every stream that has not ended with this error instead of its end, for a producer that has to stop in the
	 * middle: subscribers get `ERR_REMOTE`, which names its `code` and message, and do not take what came for all.
	 */
	error?: unknown;
	/**
	 * Gives up waiting for subscribers that do not take what was sent: what is not sent rejects with `ERR_CLOSED`, and streams
	 * that miss something end with an error (`ERR_REMOTE`, or `ERR_PUBLISHER_LOST` where there is no room even for that). The
	 * publisher is closed then, and `close` rejects with the signal's reason.
	 */
	signal?: AbortSignal;
}
/** A publisher's figures at a moment. */
export interface PublisherStatistics {
	/** Subscribers that take part. */
	readonly subscribers: number;
	/** Batches (and dictionaries) that subscribers hold or have not taken yet, over all of them. */
	readonly leases: number;
	/** Bytes of blocks that are being written, are queued, or are held by subscribers; whole pages. */
	readonly bytesInUse: number;
	/** Bytes of memory for batches taken so far. */
	readonly capacity: number;
}
/**
 * A topic's sending side. Lossless unless `overflow` says otherwise: `send` resolves when the batch is on its way to
 * every subscriber, and waits while one of them is too far behind, there is no memory left, or there is no subscriber
 * at all.
 *
 * An idle publisher does not keep the process alive; a pending `send`, `allocate` or `close` does. It belongs to its
 * thread. After `close` every call rejects (or throws) with `ERR_CLOSED`.
 */
export declare class Publisher {
	#private;
	private constructor();
	/** The topic. */
	readonly topic: string;
	/** Subscribers that take part at this moment. */
	get subscribers(): number;
	/** Its URI: what subscribers are greeted with. */
	get uri(): string;
	/** Its figures at this moment. */
	statistics(): PublisherStatistics;
	/** Each subscriber's policy and figures at this moment; those that left and hold batches still are among them. */
	subscriptions(): SubscriberStatistics[];
	/** The batches that each subscriber holds or has not taken yet, the oldest first. Dictionaries are not among them. */
	leases(): LeaseStatistics[];
	/**
	 * Memory to write `rows` rows of `schema` into, where subscribers will read them. The caller sends or disposes it.
	 *
	 * Waits while all of the publisher's memory is held, and while more is taken, off the event loop. Rejects with
	 * `ERR_OUT_OF_MEMORY` when the batch can never fit or the machine has no more, with `ERR_UNSUPPORTED_TYPE` for a column
	 * that cannot be written in place (nested other than FixedSizeList, views, dictionaries).
	 */
	allocate<T extends TypeMap>(schema: Schema<T>, rows: number, options?: WriterOptions & {
		signal?: AbortSignal;
	}): Promise<Writer<T>>;
	/**
	 * Sends a batch to every subscriber, in the order of the calls, and resolves to the number of those it was given to as
	 * soon as it is on its way: not when they have read it. A `Writer` and a RecordBatch over one unsent writer's arrays go without a copy, and
	 * that writer is spent by the call. Everything else stays the caller's: a `Batch` that was received is forwarded from where
	 * it lies, as it was received, and its lease ends when this handle is disposed and every subscriber is done with it; the
	 * rest is copied once. The caller leaves it as it is until this resolves (and disposes a `Batch` after that). Await file and
	 * crypto jobs that still write the arrays first.
	 *
	 * A Table goes as its batches, one that has none as a batch without rows. The first batch fixes the topic's schema: others are refused with
	 * `ERR_SCHEMA_MISMATCH`. Further codes: `ERR_CLOSED`, `ERR_OUT_OF_MEMORY`, `ERR_INVALID_DATA`, `ERR_COPY_REQUIRED`.
	 */
	send(what: Sendable, options?: SendOptions): Promise<number>;
	/**
	 * Ends the stream: after what was sent before, every subscriber sees its end. The name is free then. Resolves when
	 * everything is handed over; batches that subscribers hold stay valid. Forwarded ones are another publisher's memory:
	 * `close` waits until nobody downstream reads them any more; given up by `signal`, their leases end when that is so
	 * all the same. Streams that `onSubscriber` still serves end
	 * with an error (`ERR_REMOTE` at the subscriber), and their `send` rejects with `ERR_CLOSED`: let them finish first.
	 *
	 * Sends that wait for room are waited for; those that wait for a subscriber reject with `ERR_CLOSED`, as none can come any
	 * more. With `error`, every send that waits rejects so, and all streams end with that error.
	 */
	close(options?: CloseOptions): Promise<void>;
	[Symbol.asyncDispose](): Promise<void>;
}
/**
 * Opens a topic for subscribers of this user on this machine. Rejects with `ERR_TOPIC_TAKEN` when a live publisher has
 * that name; what a dead one left behind is taken over. A name is any text of 1 to 1024 bytes (`ERR_BAD_NAME`), never a
 * path. Where memory cannot be shared (no memfd), batches go through the socket, with a copy on either side; where there is no
 * native part for the platform it rejects with `ERR_UNSUPPORTED_PLATFORM`.
 *
 * ```js
 * const out = await publish("camera/frames");
 * const writer = await out.allocate(schema, 1_000_000);
 * writer.column("temperature").fill(21.5);
 * await out.send(writer);
 * await out.close();
 * ```
 */
export declare function publish(topic: string, options?: PublishOptions): Promise<Publisher>;
/** How a subscription behaves. */
export interface SubscribeOptions extends PolicyRequest, LeaseOptions {
	/** Wait for a publisher that is not there yet (the default); with `false`, fail with `ERR_TOPIC_NOT_FOUND`. */
	wait?: boolean;
	/**
	 * When the publisher goes away without ending its stream, wait for the next one instead of failing with
	 * `ERR_PUBLISHER_LOST`. What is sent between the two is missed; batches that are held stay valid. A stream that ends
	 * well ends the subscription all the same.
	 */
	reconnect?: boolean;
	/** Called when it is connected to the next publisher, with how often that happened. */
	onReconnect?: (reconnects: number) => void;
	/** Ends the subscription; whoever waits, or asks next, gets the signal's reason. Batches that are held stay valid. */
	signal?: AbortSignal;
	/**
	 * Throw `ERR_COPY_REQUIRED` instead of copying a buffer that is not aligned for its type; fail with it when the publisher
	 * cannot share its memory.
	 */
	strictZeroCopy?: boolean;
}
/** How a subscription is closed. */
export interface EndOptions {
	/**
	 * Takes away every batch of it that is held: later reads throw `ERR_LEASE_REVOKED`, and the memory goes back. Jobs outside
	 * of JavaScript that were given the bytes must be done. What other native code holds stays its own until it releases it.
	 */
	revoke?: boolean;
}
/** A subscription's figures at a moment. */
export interface SubscriptionStatistics {
	/** How it is served; `undefined` until its publisher said so. */
	readonly policy: Policy | undefined;
	/** Batches that arrived. */
	readonly received: number;
	/** Batches that it was not sent because its queue was full, as its publishers said. */
	readonly dropped: number;
	/** Batches that arrived and were not taken yet. */
	readonly queued: number;
	/** Leases of shared memory that have not ended (of batches, and of the dictionaries that it keeps), and their bytes. */
	readonly leases: number;
	readonly bytes: number;
	/** How often it went over to another publisher. */
	readonly reconnects: number;
}
/**
 * The batches of a topic, each under a lease of its own.
 *
 * Iterate it (`for await`), or give `forEach` a callback. It connects when first asked; one consumer at a time. Batches
 * that are held stay valid when it ends or is closed. An idle subscription does not keep the process alive; a pending
 * `next()` does. It belongs to its thread: another thread subscribes for itself.
 */
export declare class Subscription<T extends TypeMap = UnknownColumns> implements AsyncIterableIterator<Batch<T>> {
	#private;
	private constructor();
	/** The topic, or what the server calls it. */
	readonly topic: string;
	/** Its figures at this moment; after its end, batches that are still held count on. */
	statistics(): SubscriptionStatistics;
	[Symbol.asyncIterator](): this;
	/** The next batch, which the caller disposes. Rejects once with what ended the subscription; then it is done. */
	next(): Promise<IteratorResult<Batch<T>>>;
	/** Ends the subscription, as leaving a `for await` loop does. */
	return(): Promise<IteratorResult<Batch<T>>>;
	/**
	 * Calls `callback` with every batch, as it arrives, until the stream ends. The callback disposes the batch, or the
	 * batch waits for the garbage collector. What it throws ends the subscription and rejects the promise. It is not
	 * awaited: for work that waits, iterate.
	 */
	forEach(callback: (batch: Batch<T>) => void): Promise<void>;
	/** Ends delivery. Batches that were not taken go back; batches that are held stay valid, unless they are revoked. */
	close(options?: EndOptions): void;
	[Symbol.asyncDispose](): Promise<void>;
}
/**
 * Subscribes to a topic of this user on this machine, or, given a data URI with its `ticket`, to what a server offers. Connects when the first batch is asked for; late joiners start
 * with the next batch. Ends with the publisher's stream; rejects with `ERR_PUBLISHER_LOST` when the publisher died
 * in the middle of it, unless `reconnect` has it wait for the next one; with `ERR_NOT_PERMITTED` when the publisher does
 * not allow what was asked for, with `ERR_EVICTED` when it gave this subscriber up.
 *
 * ```js
 * for await (const batch of subscribe("camera/frames")) {
 *   try {
 *     console.log(batch.column("temperature").get(0));
 *   } finally {
 *     batch.dispose();
 *   }
 * }
 * ```
 */
export declare function subscribe<T extends TypeMap = UnknownColumns>(topic: string, options?: SubscribeOptions): Subscription<T>;

export {};
