/** Wrong usage of the command line. */
import { CommanderError, InvalidArgumentError } from "commander";

/** An error of the caller's own: exit status 2. */
export function wrongUsage(message: string): CommanderError {
  return new CommanderError(2, "arrowlane.usage", message);
}

/** Parses a whole number from 1. */
export function positive(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError("It must be a whole number from 1.");
}

/** Parses a size in bytes: `1000000`, `64MB`, `2GiB`. */
export function size(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b)?$/i.exec(text);
  if (match !== null) {
    const [, number, prefix = "", binary] = match;
    const power = " kmgt".indexOf(prefix.toLowerCase() || " ");
    const value = Math.floor(Number(number) * (binary ? 1024 : 1000) ** power);
    if (Number.isSafeInteger(value) && value > 0) return value;
  }
  throw new InvalidArgumentError("It must be a number of bytes, as in 1000000, 64MB or 2GiB.");
}
