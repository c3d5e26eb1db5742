/** Key/values that travel with a batch. */
import { checkObject, wrong } from "./options.js";

type Metadata = ReadonlyMap<string, string> | Record<string, string>;

/** Key/values of a batch, where they are given: a Map or an object, of strings. */
export function checkMetadata(value: unknown): void {
  if (value === undefined) return;
  checkObject("metadata", value);
  const map = value as ReadonlyMap<unknown, unknown>;
  const entries = typeof map.entries === "function" ? [...map.entries()] : Object.entries(value as object);
  for (const [key, text] of entries) {
    if (typeof key !== "string") throw wrong("a key of metadata", "a string", key);
    if (typeof text !== "string") throw wrong(`metadata.${key}`, "a string", text);
  }
}

/** Key, value, key, value…, as native code takes them. */
export function flatPairs(metadata: Metadata): string[] {
  const entries = isMap(metadata) ? metadata : Object.entries(metadata);
  return [...entries].flat();
}

function isMap(metadata: object): metadata is ReadonlyMap<string, string> {
  return typeof (metadata as { entries?: unknown }).entries === "function";
}
