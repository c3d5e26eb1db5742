import { randomBytes } from "node:crypto";
import type { SharedBody } from "./body.js";
import { ArrowlaneError } from "./errors.js";
import type { NativeView } from "./native/binding.js";
import { lane, native } from "./native/lane.js";
import { checkObject, wrong } from "./options.js";

/** What the tokens of this library look like; others are refused. */
const VERSION = 1;
/** Milliseconds for which a token that nobody opens keeps its batch. */
const TIMEOUT = 60_000;
/** The longest that a timer of Node's waits. */
const LONGEST = 2 ** 31 - 1;

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
export class BatchToken implements BatchTokenData {
  readonly version: number = VERSION;
  readonly process: number = process.pid;
  readonly id: string;

  /** @internal Tokens come from `Batch.share`. */
  constructor(id: string) {
    this.id = id;
  }

  /**
   * Takes the token's own reference back, where nobody has opened it yet: from then on it opens only as long as somebody has a
   * handle of the batch. Returns whether it still had its reference. Doing it twice does nothing.
   */
  revoke(): boolean {
    return revokeShared(this);
  }
}

/** Rows and columns that a handle shows. */
interface Part {
  readonly begin: number;
  readonly end: number;
  readonly columns: readonly number[] | undefined;
}

/** A token for a part of a body. */
export function share(body: SharedBody, part: Part, options: ShareOptions): BatchToken {
  checkObject("options", options);
  const { timeout = TIMEOUT } = options;
  if (typeof timeout !== "number" || !(timeout >= 0)) {
    throw wrong("timeout", "a number of milliseconds, or Infinity", timeout);
  }
  const id = randomBytes(16).toString("hex");
  const { begin, end, columns } = part;
  const view: NativeView = { begin, end, strict: body.strict };
  if (columns !== undefined) view.columns = [...columns];
  expireIn(native(() => lane().native.share(body.handle, id, view, timeout)));
  return new BatchToken(id);
}

/** Opens what a token stands for; the batch's record is in the scratch array. */
export function openShared(token: BatchTokenData): NativeView & { via: string } {
  const id = idOf(token);
  const view = native(() => lane().native.openShared(id));
  if (view) return { ...view, via: view.via ?? "" };
  throw new ArrowlaneError(
    "ERR_LEASE_ENDED",
    "nobody in this process has the batch of this token any more, and the token has not kept it: it was opened or revoked " +
      "before, its time was up, or the thread that shared it has ended. Open it sooner, or keep the shared batch until it is opened",
  );
}

/** Takes its own reference from a token. Whether it had one. */
export function revokeShared(token: BatchTokenData): boolean {
  const id = idOf(token);
  const revoked = native(() => lane().native.revokeShared(id));
  lane().stirred();
  return revoked;
}

function idOf(token: BatchTokenData): string {
  const { version, process: owner, id } = (token ?? {}) as Partial<BatchTokenData>;
  if (typeof id !== "string" || !/^[0-9a-f]{32}$/.test(id) || typeof owner !== "number") {
    throw wrong("token", "what share() gave, or a clone of it", token);
  }
  if (version !== VERSION) {
    throw new ArrowlaneError(
      "ERR_INVALID_ARGUMENT",
      `the token has version ${version}, and this arrowlane knows version ${VERSION}: all threads have to use one copy of it`,
    );
  }
  if (owner !== process.pid) {
    throw new ArrowlaneError(
      "ERR_OTHER_PROCESS",
      `the token belongs to process ${owner}, and this is process ${process.pid}: tokens are for threads of one process; ` +
        "publish the batch for others",
    );
  }
  return id;
}

let timer: NodeJS.Timeout | undefined;
let due = Number.POSITIVE_INFINITY;

/** Looks after so many milliseconds for tokens of this thread whose time is up. Nothing stays alive for it. */
function expireIn(milliseconds: number): void {
  const at = performance.now() + milliseconds;
  if (at >= due) return;
  due = at;
  clearTimeout(timer);
  timer = setTimeout(expire, Math.min(Math.ceil(milliseconds), LONGEST));
  timer.unref();
}

function expire(): void {
  due = Number.POSITIVE_INFINITY;
  const next = lane().native.expireShares();
  if (typeof next === "number") expireIn(next);
  lane().stirred();
}
