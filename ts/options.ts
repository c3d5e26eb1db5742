/** Checks what callers pass: each names the option, what it may be, and what was given. */
import { inspect } from "node:util";
import { ArrowlaneError } from "./errors.js";

/** What was given, in few words. */
function shown(value: unknown): string {
  return inspect(value, { depth: 0, maxStringLength: 40, breakLength: Infinity });
}

/** The error that says what was expected. */
export function wrong(name: string, expected: string, value: unknown): ArrowlaneError {
  return new ArrowlaneError("ERR_INVALID_ARGUMENT", `${name} must be ${expected}, not ${shown(value)}`);
}

/** A whole number of a range; without a `most`, any that JavaScript counts exactly. */
export function checkWhole(name: string, value: unknown, least: number, most?: number): void {
  const limit = most ?? Number.MAX_SAFE_INTEGER;
  if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= limit) return;
  throw wrong(name, `a whole number from ${least}${most === undefined ? "" : ` to ${most}`}`, value);
}

/** An object of options. */
export function checkObject(name: string, value: unknown): void {
  if (typeof value !== "object" || value === null) throw wrong(name, "an object", value);
}

/** `true` or `false`, where it is given. */
export function checkFlag(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== "boolean") throw wrong(name, "true or false", value);
}

/** A function, where it is given. */
export function checkFunction(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== "function") throw wrong(name, "a function", value);
}

/** An AbortSignal of any realm, where it is given. */
export function checkSignal(value: unknown): void {
  if (value === undefined) return;
  const { aborted, addEventListener } = (value ?? {}) as Partial<AbortSignal>;
  if (typeof aborted !== "boolean" || typeof addEventListener !== "function") {
    throw wrong("signal", "an AbortSignal", value);
  }
}
