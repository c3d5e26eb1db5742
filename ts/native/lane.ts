import { ArrowlaneError, type ErrorCode } from "../errors.js";
import { addon } from "./addon.js";
import type { NativeLane } from "./binding.js";

/** Numbers per record in the mailbox; `crates/node/src/events.rs` has the same. */
const RECORD = 8;
/** Records per call. */
const RECORDS = 256;
/** First length of the scratch array: layouts of some thousand buffers. */
const SCRATCH = 16 * 1024;

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
} as const;

/** Is told what happened to a publisher or subscription: the kind of record and the record's further numbers. */
export interface Owner {
  happened(kind: number, mailbox: Float64Array, at: number): void;
}

/**
 * This environment's way into the native side (the main thread and each worker have one). The native side writes
 * what happened into `mailbox` and calls once; `scratch` carries the numbers of single calls.
 */
export class Lane {
  readonly native: NativeLane;
  readonly mailbox = new Float64Array(RECORD * RECORDS);
  scratch = new Float64Array(SCRATCH);
  readonly #owners = new Map<number, Owner>();
  readonly #onLoop: boolean;
  #idling = false;

  constructor() {
    const threadsafe =
      process.env.ARROWLANE_WAKEUP === "threadsafe-function" ||
      "bun" in process.versions ||
      "deno" in process.versions;
    this.native = native(() => {
      const happened = (count: number) => this.#happened(count);
      return new (addon().NativeLane)(happened, this.mailbox, this.scratch, threadsafe);
    });
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

  #happened(count: number): void {
    const { mailbox } = this;
    let thrown: { error: unknown } | undefined;
    for (let n = 0; n < count; n++) {
      const at = n * RECORD;
      try {
        const owner = this.#owners.get(mailbox[at + 1]);
        if (owner !== undefined) owner.happened(mailbox[at], mailbox, at + 2);
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
