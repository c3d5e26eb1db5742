/** Batches that are held for too long: what is said of them, and how they are taken away. */
import { AsyncResource } from "node:async_hooks";
import { type LeaseEvent, tellOfSubscription } from "./diagnostics.js";
import { ArrowlaneError } from "./errors.js";
import type { NativeHeld } from "./native/binding.js";
import { lane, native } from "./native/lane.js";
import { checkFlag, wrong } from "./options.js";

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

/** A body that can be taken away, and where it was asked for. */
export interface Revocable {
  readonly stack: Stack | undefined;
  /** Whether there was anything to take. */
  revoke(): boolean;
}

/** A stack trace, written out when it is looked at. */
export interface Stack {
  readonly stack?: string;
}

/** Warnings of one topic and kind in one look, beyond which the others are counted. */
const MOST = 8;
/** The longest pause between two looks. */
const LONGEST = 60_000;
const WARNING = 5000;

/** What native code is told; throws `ERR_INVALID_ARGUMENT`. */
export function leaseTerms({ leaseWarning = WARNING, leaseTimeout = 0, onLeaseTimeout }: LeaseOptions) {
  checkLimit("leaseWarning", leaseWarning);
  checkLimit("leaseTimeout", leaseTimeout);
  if (onLeaseTimeout !== undefined && onLeaseTimeout !== "warn" && onLeaseTimeout !== "revoke") {
    throw wrong("onLeaseTimeout", '"warn" or "revoke"', onLeaseTimeout);
  }
  const timeout = limit(leaseTimeout);
  if (onLeaseTimeout !== undefined && timeout === undefined) {
    throw new ArrowlaneError("ERR_INVALID_ARGUMENT", "onLeaseTimeout says nothing without a leaseTimeout");
  }
  return { leaseWarning: limit(leaseWarning), leaseTimeout: timeout, revoke: onLeaseTimeout === "revoke" };
}

/** Whether stack traces are taken. */
export function wantsStacks({ leaseStacks }: LeaseOptions): boolean {
  checkFlag("leaseStacks", leaseStacks);
  return leaseStacks ?? process.env.ARROWLANE_LEASE_STACKS === "1";
}

/** Where `from` was called. */
export function stackOf(from: (...args: never[]) => unknown): Stack {
  const here: Stack = {};
  Error.captureStackTrace(here, from);
  return here;
}

function checkLimit(name: string, value: unknown): void {
  if (typeof value === "number" && value >= 0) return;
  throw wrong(name, "a number of milliseconds, 0 or Infinity for never", value);
}

function limit(milliseconds: number): number | undefined {
  return milliseconds === 0 || milliseconds === Infinity ? undefined : milliseconds;
}

/** Bodies that outlived the turn they came in, by native handle. A dead reference is overwritten when its number comes again. */
const bodies = new Map<number, WeakRef<Revocable>>();
/**
 * Arrays keep what they were taken from: a column can be taken away though nobody refers to its batch any more, and not
 * even it but a typed array.
 */
const behind = new WeakMap<ArrayBuffer, Revocable>();

/** A body outlived its turn. */
export function known(handle: number, body: Revocable): void {
  bodies.set(handle, new WeakRef(body));
}

/** It ended. */
export function unknown(handle: number): void {
  bodies.delete(handle);
}

/** Buffers of a body that outlived its turn. */
export function keeps(buffers: ArrayBuffer | readonly ArrayBuffer[], body: Revocable): void {
  if (!Array.isArray(buffers)) behind.set(buffers as ArrayBuffer, body);
  else for (const buffer of buffers) behind.set(buffer, body);
}

function bodyOf({ batch }: NativeHeld): Revocable | undefined {
  return batch === undefined ? undefined : bodies.get(batch)?.deref();
}

/** The context to look in: nobody's who subscribed or received. */
const nobody = new AsyncResource("arrowlane.Leases");
let timer: NodeJS.Timeout | undefined;

/** A subscription that said something of keeping batches begins. */
export function watchLeases(): void {
  lane().outlived = mayBeHeld;
  // What it says may be due sooner than what is waited for.
  if (timer !== undefined) look();
}

/** A batch may be held from now on: looks until there is nothing more to be said. */
export function mayBeHeld(): void {
  if (timer === undefined) look();
}

function look(): void {
  clearTimeout(timer);
  const { overdue, next } = lane().native.overdue();
  nobody.runInAsyncScope(() => {
    timer = next === undefined ? undefined : setTimeout(look, Math.min(next, LONGEST)).unref();
    tell(overdue);
  });
}

function tell(overdue: readonly NativeHeld[]): void {
  const counts = new Map<string, number>();
  for (const held of overdue) {
    const kind = `${held.timeout ? "timeout" : "warning"} ${held.topic}`;
    const count = (counts.get(kind) ?? 0) + 1;
    counts.set(kind, count);
    const body = bodyOf(held);
    const stack = body?.stack?.stack?.replace(/^.*\n/, "");
    const { topic, sequence, bytes, age } = held;
    const about = { topic, sequence, bytes, age, ...(stack === undefined ? {} : { stack }) };
    if (count <= MOST) warn(messageOf(held), held.timeout, stack);
    tellOfSubscription({ event: held.timeout ? "lease-timeout" : "lease-warning", ...about });
    if (held.revoke && body !== undefined) revoke(body, about);
  }
  for (const [kind, count] of counts) {
    if (count <= MOST) continue;
    const [, topic] = kind.split(/ (.*)/s);
    const message = `${count - MOST} more batches of topic ${JSON.stringify(topic)} have been held for too long`;
    warn(message, kind.startsWith("timeout"));
  }
}

/** As text, which every realm takes: an Error of a sandbox's own is none to Node. */
function warn(message: string, timeout: boolean, detail?: string): void {
  const code = timeout ? "ARROWLANE_LEASE_TIMEOUT" : "ARROWLANE_LEASE_WARNING";
  process.emitWarning(message, { type: "LeaseWarning", code, ...(detail === undefined ? {} : { detail }) });
}

function messageOf(held: NativeHeld): string {
  const { topic, sequence, age } = held;
  const what = `batch ${sequence} of topic ${JSON.stringify(topic)} has been held for ${age} ms`;
  return `${what}${held.batch === undefined ? " by other native code" : ""}: ${advice(held)}`;
}

function advice({ batch, revoke }: NativeHeld): string {
  if (revoke) return "it was revoked; dispose batches sooner, or keep a copy()";
  const what = batch === undefined ? "have it released sooner, or export" : "dispose it sooner, or keep";
  return `its publisher cannot use that memory; ${what} a copy()`;
}

function revoke(body: Revocable, about: Omit<LeaseEvent, "event">): void {
  if (body.revoke()) tellOfSubscription({ event: "lease-revoked", ...about });
}

/** Takes away every batch of a subscription that is held. */
export function revokeAll(subscription: number, topic: string): void {
  // Those that came in this very turn are not known yet.
  lane().settle();
  for (const held of native(() => lane().native.held(subscription))) {
    const { sequence, bytes, age } = held;
    const body = bodyOf(held);
    if (body !== undefined) revoke(body, { topic, sequence, bytes, age });
  }
}
