import { ArrowlaneError, type ErrorCode } from "../errors.js";
import { addon } from "./addon.js";
import type { NativeLane } from "./binding.js";

/** Numbers per record in the mailbox; `crates/node/src/events.rs` has the same. */
const RECORD = 8;
/** Records per call. */
const RECORDS = 256;
/** First length of the scratch array: layouts of some thousand buffers. */
const SCRATCH = 16 * 1024;

/** The calls that every batch makes: `crates/node/src/calls.rs`. */
export interface Calls {
  /** A block as an ArrayBuffer, its handle in the scratch array; or a negative number that says why not. */
  allocate(publisher: number, bytes: number): ArrayBuffer | number;
  /**
   * Sends a block, whose ArrayBuffer is detached unless that was done. The number of subscribers; or a negative number,
   * and then the scratch array has the handle to `resend` it with.
   *
   * In the scratch array: publisher, block (-1: no bytes), schema, rows, connection (0: all), then what `writeLayout`
   * writes.
   */
  send(buffer?: ArrayBuffer, metadata?: string[]): number;
  /** Writes a batch's layout into the scratch array (`readLayout`) and returns its buffers: one as itself, several
   *  (or none) as an array. A number says how long the scratch array would have to be. */
  open(batch: number): ArrayBuffer | ArrayBuffer[] | number;
  /** Ends this environment's hold on a batch: its one buffer is detached. */
  dispose1(batch: number, buffer: ArrayBuffer): void;
}

/** Where a record says that its batch was taken at once; `crates/node/src/events.rs` has the same. */
const TAKEN = 0;

/** Kinds of record; `crates/node/src/events.rs` has the same list. */
export const Kind = {
  Batch: 1,
  Connected: 2,
  Ended: 3,
  Failed: 4,
  Retry: 5,
  Room: 6,
  Joined: 7,
  Left: 8,
  Closed: 9,
  Pulse: 10,
  Lost: 11,
  Reconnected: 12,
  Dropped: 13,
  Evicted: 14,
} as const;

/**
 * Is told what happened to a publisher or subscription: the kind of record and the record's further numbers. Returns
 * `true` for a batch that the application took at once.
 */
export interface Owner {
  happened(kind: number, mailbox: Float64Array, at: number): boolean;
}

/** A batch's body that arrived, and wants to know when it outlives the turn. */
interface Arrived {
  outlived(): void;
}

/**
 * This environment's way into the native side (the main thread and each worker have one). The native side writes
 * what happened into `mailbox` and calls once; `scratch` carries the numbers of single calls.
 */
export class Lane {
  readonly native: NativeLane;
  readonly calls: Calls;
  /** Records, and behind them the number of bodies in `#fresh`. */
  readonly mailbox = new Float64Array(RECORD * RECORDS + 1);
  scratch = new Float64Array(SCRATCH);
  readonly #owners = new Map<number, Owner>();
  readonly #onLoop: boolean;
  #idling = false;
  /** Bodies that came in this turn and may still be there. */
  #fresh: Arrived[] = [];
  /** Called after bodies outlived the turn they came in. */
  outlived: (() => void) | undefined;

  constructor() {
    const threadsafe =
      process.env.ARROWLANE_WAKEUP === "threadsafe-function" ||
      "bun" in process.versions ||
      "deno" in process.versions;
    this.native = native(() => {
      const happened = (count: number) => this.#happened(count);
      return new (addon().NativeLane)(happened, this.mailbox, this.scratch, threadsafe);
    });
    this.calls = this.native.calls() as Calls;
    this.#onLoop = this.native.onLoop;
  }

  /** Has `owner` told what happens to the publisher or subscription `id`. */
  own(id: number, owner: Owner): void {
    this.#owners.set(id, owner);
  }

  disown(id: number): void {
    this.#owners.delete(id);
  }

  /** Makes the scratch array long enough for `length` numbers. */
  reserve(length: number): void {
    if (length <= this.scratch.length) return;
    this.scratch = new Float64Array(2 * length);
    this.native.replaceScratch(this.scratch);
  }

  /**
   * Something may have been put aside for the end of this turn. Where the event loop itself watches, it sends that
   * before it sleeps; elsewhere it is asked to.
   */
  stirred(): void {
    if (this.#onLoop || this.#idling) return;
    this.#idling = true;
    setImmediate(() => {
      this.#idling = false;
      this.native.idle();
    });
  }

  /** What a record of kind `Failed` means. */
  failure(id: number): ArrowlaneError {
    const [code = "ERR_INTERNAL", message = "it failed for an unknown reason"] = this.native.takeError(id);
    return new ArrowlaneError(code as ErrorCode, message);
  }

  /** A body came in this turn. */
  arrived(body: Arrived): void {
    this.#fresh.push(body);
    this.mailbox[RECORD * RECORDS] = this.#fresh.length;
  }

  /** It is gone again. */
  departed(body: Arrived): void {
    if (this.#fresh.at(-1) !== body) return;
    this.#fresh.pop();
    this.mailbox[RECORD * RECORDS] = this.#fresh.length;
  }

  /** Called with the number of records; with none after all callbacks, promises included, when `#fresh` has any. */
  #happened(count: number): void {
    if (count === 0) {
      this.settle();
      this.outlived?.();
    }
    const { mailbox } = this;
    let thrown: { error: unknown } | undefined;
    for (let n = 0; n < count; n++) {
      const at = n * RECORD;
      try {
        const owner = this.#owners.get(mailbox[at + 1]);
        if (owner !== undefined) {
          if (owner.happened(mailbox[at], mailbox, at + 2)) mailbox[at] = TAKEN;
        }
        // It was on its way to a subscription that has been closed since.
        else if (mailbox[at] === Kind.Batch) this.native.abandon(mailbox[at + 2]);
      } catch (error) {
        // A callback of the user's threw: what else arrived is told all the same, then the error surfaces.
        thrown ??= { error };
      }
    }
    this.stirred();
    if (thrown !== undefined) throw thrown.error;
  }

  /** Takes all bodies that came for such as outlive their turn. */
  settle(): void {
    for (const body of this.#fresh) body.outlived();
    this.#fresh = [];
    this.mailbox[RECORD * RECORDS] = 0;
  }
}

let current: Lane | undefined;

/** This environment's lane, made on first use. */
export function lane(): Lane {
  current ??= new Lane();
  return current;
}

/** Calls native code and turns what it throws into an {@link ArrowlaneError} with its code. */
export function native<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw translated(error);
  }
}

/** What native code threw, as an {@link ArrowlaneError}. */
export function translated(error: unknown): unknown {
  if (error instanceof ArrowlaneError || !(error instanceof Error)) return error;
  const { code } = error as { code?: unknown };
  if (typeof code !== "string" || !code.startsWith("ERR_")) return error;
  return new ArrowlaneError(code as ErrorCode, error.message, { cause: error });
}
