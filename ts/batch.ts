import type { RecordBatch, Schema, TypeMap } from "apache-arrow";
import type { BatchPlan } from "./arrow/plan.js";
import { hasArrow } from "./arrow-layer.js";
import { SharedBody } from "./body.js";
import type { Column, UnknownColumns } from "./columns.js";
import { ArrowlaneError, DisposedError } from "./errors.js";
import { mayBeHeld } from "./leases.js";
import { lane, native } from "./native/lane.js";
import { planOf } from "./schemas.js";
import {
  type BatchToken,
  type BatchTokenData,
  openShared,
  revokeShared,
  type ShareOptions,
  share,
} from "./sharing.js";

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

/** What a batch is made of, inside the library. */
export interface BatchOrigin {
  /** Native handle of the schema. */
  readonly schema: number;
  readonly bytes: number;
  readonly lent: boolean;
  readonly via: string;
  /** Whether key/values came along. */
  readonly annotated: boolean;
}

/** Rows and columns of a body that a handle stands for. */
interface Part {
  readonly begin: number;
  readonly end: number;
  /** Indices of columns; absent: all of them. */
  readonly columns: readonly number[] | undefined;
}

let inspect: (batch: Batch) => { body: SharedBody; part: Part; origin: BatchOrigin };

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
export class Batch<T extends TypeMap = UnknownColumns> {
  readonly #body: SharedBody;
  readonly #part: Part;
  readonly #origin: BatchOrigin;
  #vectors: (Column | undefined)[] | undefined;
  #arrow: RecordBatch<T> | undefined;
  #metadata: ReadonlyMap<string, string> | undefined;
  #disposed = false;

  static {
    inspect = (batch) => ({ body: batch.#live(), part: batch.#part, origin: batch.#origin });
  }

  /** @internal Batches come from subscriptions, `importFrom` and `copy`. */
  constructor(body: SharedBody, origin: BatchOrigin, part: Part) {
    this.#body = body;
    this.#origin = origin;
    this.#part = part;
  }

  /**
   * Takes over a batch from other native code by the C Device Interface: the addresses of an `ArrowDeviceArray` (128
   * bytes) and an `ArrowSchema` that describe a struct array. Both are moved from: their `release` is cleared, and
   * what they held is released when the batch ends. Without a copy.
   *
   * The addresses must be right; nothing can check that. Throws `ERR_RELEASED`, `ERR_NOT_A_BATCH`, `ERR_DEVICE`,
   * `ERR_INVALID_ARROW`, `ERR_BAD_ADDRESS`, and then nothing was moved.
   */
  static importFrom(arrayAddress: bigint, schemaAddress: bigint): Batch {
    native(() => lane().native.importFrom(arrayAddress, schemaAddress));
    return batchFromScratch("import");
  }

  /**
   * Opens what `share` gave, or a clone of it, in any thread of this process: a handle of its own over the same bytes, which
   * ends like any other. It shows the rows and columns that the shared handle showed.
   *
   * The first `open` takes the token's own reference over. Later ones, and those after `revoke` or the time-out, need that
   * somebody in this process has a handle of the batch still, or `open` throws `ERR_LEASE_ENDED`. In another process it throws
   * `ERR_OTHER_PROCESS`.
   */
  static open<T extends TypeMap = UnknownColumns>(token: BatchTokenData): Batch<T> {
    const { via, strict, begin, end, columns } = openShared(token);
    const batch = batchFromRecord(lane().scratch, 0, via, { begin, end, columns: columns ?? undefined });
    const { body } = inspect(batch);
    body.strict = strict;
    body.watch();
    return batch as Batch<T>;
  }

  /** `token.revoke()`, for clones as well, which have no methods. */
  static revoke(token: BatchTokenData): boolean {
    return revokeShared(token);
  }

  /** The schema, as apache-arrow knows it. Throws `ERR_UNSUPPORTED_TYPE` when it cannot hold a column. */
  get schema(): Schema<T> {
    const plan = this.#plan();
    const { columns } = this.#part;
    if (columns === undefined) return plan.schema as Schema<T>;
    return this.toArrow().schema;
  }

  /** Number of rows; known after dispose too, as `byteLength` is. */
  get length(): number {
    return this.#part.end - this.#part.begin;
  }

  /** Names of the columns, in order. */
  get columnNames(): string[] {
    const { names } = this.#plan();
    return this.#part.columns?.map((i) => names[i]) ?? [...names];
  }

  /** Length of the whole body in bytes, of which a slice or selection shows a part; without dictionaries. */
  get byteLength(): number {
    return this.#origin.bytes;
  }

  /** Key/values that were sent with the batch. */
  get metadata(): ReadonlyMap<string, string> {
    if (this.#metadata === undefined) {
      const body = this.#live();
      this.#metadata = this.#origin.annotated ? body.metadata() : new Map();
    }
    return this.#metadata;
  }

  /** The device that the bytes are on. */
  get device(): Device {
    return { type: "cpu", id: 0n };
  }

  /**
   * Whether nothing was copied that need not be: the bytes lie in the producer's memory, or where the network's transport put
   * them (`"tcp"`, `"ucx"`, `"fabric"`); and nothing was copied since. gRPC and HTTP copy.
   */
  get zeroCopy(): boolean {
    const { lent, via } = this.#origin;
    return (lent || RECEIVED_IN_PLACE.has(via)) && this.#body.copiedBytes === 0;
  }

  /**
   * Which transport brought it: `"shm"`, or `"unix"` where memory cannot be shared; from other hosts `"tcp"`, `"ucx"`, `"fabric"`,
   * `"grpc"` or `"http"`; `"import"` and `"copy"` for batches made here.
   */
  get via(): string {
    return this.#origin.via;
  }

  /** Which shared memory the body lies in; `undefined` for memory of this process alone. */
  get location(): Location | undefined {
    const [device, inode, offset] = native(() => lane().native.location(this.#live().handle));
    return device === undefined ? undefined : { memory: `memfd:${device}:${inode}`, offset };
  }

  /** The address of the body's first byte in this process; 0 for a batch without bytes. */
  get address(): bigint {
    return native(() => lane().native.addresses(this.#live().handle))[0] ?? 0n;
  }

  /** Whether the batch was taken away: by `leaseTimeout`, or by `close({ revoke: true })`. */
  get revoked(): boolean {
    return this.#body.isRevoked;
  }

  /** Whether this handle was disposed. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /** A column over the shared bytes. Throws `ERR_UNSUPPORTED_TYPE` when apache-arrow cannot hold its type. */
  column<K extends keyof T & string>(name: K): Column<T[K]> {
    const body = this.#live();
    const plan = this.#plan();
    const { begin, end, columns } = this.#part;
    const index = columns === undefined ? plan.indexOf(name) : columns.find((i) => plan.names[i] === name);
    if (index === undefined || index < 0) {
      throw new ArrowlaneError(
        "ERR_INVALID_ARGUMENT",
        `there is no column ${JSON.stringify(name)}: the batch has ${this.columnNames.join(", ")}`,
      );
    }
    this.#vectors ??= [];
    let vector = this.#vectors[index];
    if (vector === undefined) {
      vector = plan.columnVector(index, body.layout(), body, begin, end);
      this.#vectors[index] = vector;
    }
    return vector as Column<T[K]>;
  }

  /** The whole batch as an apache-arrow RecordBatch over the shared bytes. */
  toArrow(): RecordBatch<T> {
    const body = this.#live();
    if (this.#arrow === undefined) {
      const { begin, end, columns } = this.#part;
      const metadata = this.#origin.annotated ? new Map(this.metadata) : undefined;
      this.#arrow = this.#plan().toRecordBatch(
        body.layout(),
        body,
        metadata,
        columns,
        begin,
        end,
      ) as unknown as RecordBatch<T>;
    }
    return this.#arrow;
  }

  /** Rows `begin` to `end` (as `Array.prototype.slice` counts) as a handle of their own on the same lease. */
  slice(begin = 0, end = this.length): Batch<T> {
    const { length } = this;
    const at = (index: number) => (index < 0 ? Math.max(length + index, 0) : Math.min(index, length));
    const first = at(Math.trunc(begin) || 0);
    const last = Math.max(first, at(Math.trunc(end) || 0));
    const offset = this.#part.begin;
    return this.#handle({ ...this.#part, begin: offset + first, end: offset + last });
  }

  /** Some columns, in the order given, as a handle of their own on the same lease. */
  select<K extends keyof T & string>(names: readonly K[]): Batch<Pick<T, K>> {
    const plan = this.#plan();
    const among = this.#part.columns ?? plan.names.map((_, i) => i);
    const columns = names.map((name) => {
      const index = among.find((i) => plan.names[i] === name);
      if (index !== undefined) return index;
      throw new ArrowlaneError(
        "ERR_INVALID_ARGUMENT",
        `there is no column ${JSON.stringify(name)}: the batch has ${this.columnNames.join(", ")}`,
      );
    });
    return this.#handle({ ...this.#part, columns }) as unknown as Batch<Pick<T, K>>;
  }

  /**
   * The same rows and columns in memory of this process: independent of the lease and of its producer. A handle of its
   * own, to be disposed like any other. Throws `ERR_OUT_OF_MEMORY` where the machine or the cgroup has not that much left.
   */
  copy(): Batch<T> {
    const { handle } = this.#live();
    const { begin, columns } = this.#part;
    native(() => lane().native.copy(handle, begin, this.length, columns?.slice()));
    return batchFromScratch("copy");
  }

  /**
   * A token for other threads of this process: post it, and `Batch.open` it there. Without a copy.
   *
   * The token has a reference of its own, so this handle may be disposed at once. The reference ends with the first of: it is
   * opened (then the new handle has it), `token.revoke()`, `timeout`, and the end of this thread. Several threads can open
   * one token as long as one handle lives. All of them have the same memory: what one writes into a column, the others see.
   */
  share(options: ShareOptions = {}): BatchToken {
    return share(this.#live(), this.#part, options);
  }

  /**
   * Hands the batch to other native code by the C Device Interface: writes an `ArrowDeviceArray` (128 bytes) and an
   * `ArrowSchema` (72 bytes) to the caller's addresses. They hold a reference of their own: this handle may be disposed,
   * and the consumer calls `release` whenever it likes, from any thread; the lease ends after that. Without a copy.
   *
   * What the structs held before is overwritten, not released. The addresses must be right; only that they are positive
   * and aligned to 8 bytes is checked (`ERR_BAD_ADDRESS`).
   */
  exportTo(arrayAddress: bigint, schemaAddress: bigint): void {
    const { handle } = this.#live();
    const { begin, columns } = this.#part;
    native(() =>
      lane().native.exportTo(handle, begin, this.length, columns?.slice(), arrayAddress, schemaAddress),
    );
    // It may be held there though this handle is disposed in this very turn.
    mayBeHeld();
  }

  /**
   * Ends this handle: its own methods throw `ERR_DISPOSED` from now on. With the last handle of its body the memory goes
   * back, and everything taken from the body throws. Doing it twice does nothing.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#arrow = undefined;
    this.#vectors = undefined;
    this.#body.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #live(): SharedBody {
    const body = this.#body;
    if (body.isDisposed) throw body.gone();
    if (this.#disposed) throw new DisposedError();
    return body;
  }

  #plan(): BatchPlan {
    this.#live();
    return this.#body.plan ?? planOf(this.#origin.schema);
  }

  #handle(part: Part): Batch<T> {
    return new Batch<T>(this.#live().retain(), this.#origin, part);
  }
}

/** Looks into a batch that is not disposed. */
export function insideOf(batch: Batch): { body: SharedBody; part: Part; origin: BatchOrigin } {
  return inspect(batch);
}

/** Ways in which a batch comes; `crates/node/src/events.rs` has the same list. */
const WAYS = ["shm", "unix", "tcp", "ucx", "fabric", "grpc", "http"];
/** Ways on which a body is received straight to where it is read. */
const RECEIVED_IN_PLACE = new Set(["tcp", "ucx", "fabric"]);

/** A handle of a batch that arrived: described in a record at `at`. */
export function batchFromMailbox(at: number, via: string, strict: boolean | undefined): Batch {
  const batch = batchFromRecord(lane().mailbox, at, via);
  const { body } = inspect(batch);
  body.strict = strict ?? false;
  lane().arrived(body);
  return batch;
}

function batchFromRecord(numbers: Float64Array, at: number, via: string, part?: Part): Batch {
  const [handle, schema, rows, bytes] = [numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]];
  const [way, texts] = [numbers[at + 4], numbers[at + 5]];
  const origin = {
    schema,
    bytes,
    lent: (way & 1) > 0,
    via: way > 1 ? WAYS[way >> 1] : via,
    annotated: texts > 0,
  };
  const body = new SharedBody(handle, rows, hasArrow() ? planOf(schema) : undefined);
  return new Batch(body, origin, part ?? { begin: 0, end: rows, columns: undefined });
}

/** A handle of a batch that native code has just described in a record in the scratch array. */
export function batchFromScratch(via: string): Batch {
  const batch = batchFromRecord(lane().scratch, 0, via);
  inspect(batch).body.watch();
  return batch;
}
