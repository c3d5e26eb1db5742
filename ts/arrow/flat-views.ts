import { EMPTY } from "./bitmap.js";
import { aligned, bytesOf } from "./bytes.js";

const INLINE = 12;

/**
 * Views with only those parts of their data buffers that they use: a slice of a view column shares all buffers of
 * the whole. The views are the caller's own bytes unless an offset has to move.
 */
export function flattenViews(
  views: Uint8Array,
  validity: Uint8Array,
  buffers: readonly Uint8Array[],
  broken: (what: string) => Error,
): { views: Uint8Array; variadic: Uint8Array[] } {
  if (buffers.length === 0) return { views, variadic: [] };
  const words = aligned(views, 4, Int32Array);
  const low = new Array<number>(buffers.length).fill(Number.POSITIVE_INFINITY);
  const high = new Array<number>(buffers.length).fill(0);
  for (let at = 0, row = 0; at < words.length; at += 4, row++) {
    const size = words[at];
    if (size <= INLINE || isNull(validity, row)) continue;
    const buffer = words[at + 2];
    const begin = words[at + 3];
    if (!(begin >= 0 && begin + size <= buffers[buffer]?.length)) {
      throw broken(`row ${row} points to bytes ${begin} to ${begin + size} of data buffer ${buffer}`);
    }
    if (begin < low[buffer]) low[buffer] = begin;
    if (begin + size > high[buffer]) high[buffer] = begin + size;
  }
  const variadic = buffers.map((bytes, i) => (high[i] === 0 ? EMPTY : bytes.subarray(low[i], high[i])));
  if (low.every((begin) => begin === 0 || begin === Number.POSITIVE_INFINITY)) return { views, variadic };
  const moved = words.slice();
  for (let at = 0, row = 0; at < words.length; at += 4, row++) {
    if (words[at] > INLINE && !isNull(validity, row)) moved[at + 3] = words[at + 3] - low[words[at + 2]];
  }
  return { views: bytesOf(moved), variadic };
}

function isNull(validity: Uint8Array, row: number): boolean {
  return validity.length > 0 && ((validity[row >> 3] >> (row & 7)) & 1) === 0;
}
