import type { Data, Vector } from "apache-arrow";
import { ArrowlaneError } from "../errors.js";
import type { Guard } from "./guarded-array.js";

/** Where the parts of one batch lie, in IPC order: what the native side gives for a batch. */
export interface Layout {
  readonly rows: number;
  /** Length and null count of each field, depth-first: two numbers a field. */
  readonly nodes: ArrayLike<number>;
  /** Offset in its ArrayBuffer and byte length of each buffer: two numbers a buffer, (0, 0) for an empty one. */
  readonly buffers: ArrayLike<number>;
  /** How many data buffers each view column has, in order. */
  readonly variadic: ArrayLike<number>;
  /** Which ArrayBuffer of the body each buffer lies in; absent when all lie in the first. */
  readonly bufferSource?: ArrayLike<number>;
}

/** The bytes behind a layout, and what is to know about the Data that are made over them. */
export interface BodyAccess {
  arrayBuffer(index: number): ArrayBuffer;
  /** The current values of the dictionary `id`. */
  dictionary(id: number): Vector;
  /** Told of every Data made, children too: what `poison` is to be given when the handle is disposed. */
  made(data: Data): void;
  /** Told when a buffer had to be copied because its address is not aligned for its type. */
  copied?(bytes: number): void;
  /** Shared by all Data made for this handle; set by the plan on first use. One handle, one BodyAccess. */
  guard?: Guard | undefined;
}

/** The typed-array classes that apache-arrow reads values through. */
export type ElementKind = "i8" | "u8" | "i16" | "u16" | "i32" | "u32" | "i64" | "u64" | "f32" | "f64";

/** Any typed array that a column's values can be read through. */
export type ElementArray =
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | Float32Array
  | Float64Array;

/** Bytes of one element of each kind. */
export const ELEMENT_BYTES: Record<ElementKind, number> = {
  i8: 1,
  u8: 1,
  i16: 2,
  u16: 2,
  i32: 4,
  u32: 4,
  i64: 8,
  u64: 8,
  f32: 4,
  f64: 8,
};

/** A typed array of `kind` over part of `buffer`. One construction per kind, so that each stays monomorphic. */
export function elementArray(
  kind: ElementKind,
  buffer: ArrayBuffer,
  offset: number,
  count: number,
): ElementArray {
  switch (kind) {
    case "f64":
      return new Float64Array(buffer, offset, count);
    case "i32":
      return new Int32Array(buffer, offset, count);
    case "i64":
      return new BigInt64Array(buffer, offset, count);
    case "u8":
      return new Uint8Array(buffer, offset, count);
    case "f32":
      return new Float32Array(buffer, offset, count);
    case "u32":
      return new Uint32Array(buffer, offset, count);
    case "i8":
      return new Int8Array(buffer, offset, count);
    case "i16":
      return new Int16Array(buffer, offset, count);
    case "u16":
      return new Uint16Array(buffer, offset, count);
    case "u64":
      return new BigUint64Array(buffer, offset, count);
  }
}

/**
 * `count` elements of the layout's buffer `index`, in place; a copy only where the address is not aligned.
 * Throws `ERR_INVALID_DATA` when the buffer is shorter than its field says: the bytes behind it are another's.
 */
export function readElements(
  kind: ElementKind,
  alignment: number,
  layout: Layout,
  body: BodyAccess,
  index: number,
  count: number,
): ElementArray {
  const bytes = count * ELEMENT_BYTES[kind];
  if (bytes === 0) return elementArray(kind, NOTHING, 0, 0);
  const offset = layout.buffers[2 * index];
  if (!(layout.buffers[2 * index + 1] >= bytes)) throw tooShort(layout, index, bytes);
  const buffer = body.arrayBuffer(layout.bufferSource === undefined ? 0 : layout.bufferSource[index]);
  if (offset % alignment !== 0) {
    body.copied?.(bytes);
    return elementArray(kind, buffer.slice(offset, offset + bytes), 0, count);
  }
  return elementArray(kind, buffer, offset, count);
}

/** The whole of the layout's buffer `index`. */
export function readBytes(layout: Layout, body: BodyAccess, index: number): Uint8Array {
  const length = layout.buffers[2 * index + 1];
  if (length === undefined) throw tooShort(layout, index, 0);
  if (length === 0) return new Uint8Array(NOTHING);
  const buffer = body.arrayBuffer(layout.bufferSource === undefined ? 0 : layout.bufferSource[index]);
  return new Uint8Array(buffer, layout.buffers[2 * index], length);
}

const NOTHING = new ArrayBuffer(0);

function tooShort(layout: Layout, index: number, bytes: number): ArrowlaneError {
  const have = layout.buffers[2 * index + 1];
  return new ArrowlaneError(
    "ERR_INVALID_DATA",
    have === undefined
      ? `the batch has ${layout.buffers.length / 2} buffers where its schema needs one at ${index}: its producer is at fault`
      : `buffer ${index} of the batch has ${have} bytes where its column needs ${bytes}: its producer is at fault`,
  );
}
