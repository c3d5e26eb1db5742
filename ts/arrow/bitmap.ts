/** Bitmaps as Arrow keeps them: bit `i` is bit `i % 8`, lowest first, of byte `i / 8`. */

/** The one empty buffer: what an absent buffer is sent as. */
export const EMPTY = new Uint8Array(0);

const ONES = Uint8Array.from({ length: 256 }, (_, byte) => {
  let ones = 0;
  for (let rest = byte; rest > 0; rest >>= 1) ones += rest & 1;
  return ones;
});

/** `length` bits from bit `begin`: a view where they start on a byte, else a shifted copy. */
export function sliceBits(bitmap: Uint8Array, begin: number, length: number): Uint8Array {
  const first = Math.floor(begin / 8);
  const bytes = Math.ceil(length / 8);
  const shift = begin % 8;
  if (shift === 0) return bitmap.subarray(first, first + bytes);
  const out = new Uint8Array(bytes);
  for (let i = 0; i < bytes; i++) {
    // Past the end reads undefined, which shifts as 0.
    out[i] = (bitmap[first + i] >> shift) | (bitmap[first + i + 1] << (8 - shift));
  }
  return out;
}

/** How many of `length` bits from bit `begin` are 0. */
export function countZeros(bitmap: Uint8Array, begin: number, length: number): number {
  const end = begin + length;
  let ones = 0;
  let i = begin;
  for (; i < end && i % 8 !== 0; i++) ones += (bitmap[Math.floor(i / 8)] >> (i % 8)) & 1;
  for (; i + 8 <= end; i += 8) ones += ONES[bitmap[i / 8]];
  for (; i < end; i++) ones += (bitmap[Math.floor(i / 8)] >> (i % 8)) & 1;
  return length - ones;
}

/** Copies `length` bits of `source`, from its first, to `target` at bit `begin`; an empty source is all ones. */
export function copyBits(target: Uint8Array, begin: number, source: Uint8Array, length: number): void {
  if (begin % 8 === 0 && source.length > 0) {
    target.set(source.subarray(0, Math.ceil(length / 8)), begin / 8);
    return;
  }
  for (let i = 0; i < length; i++) {
    const bit = source.length === 0 ? 1 : (source[i >> 3] >> (i & 7)) & 1;
    setBit(target, begin + i, bit === 1);
  }
}

/** Sets or clears one bit. */
export function setBit(bitmap: Uint8Array, index: number, on: boolean): void {
  const byte = Math.floor(index / 8);
  const mask = 1 << (index % 8);
  bitmap[byte] = on ? bitmap[byte] | mask : bitmap[byte] & ~mask;
}
