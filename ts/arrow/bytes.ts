import { ArrowlaneError } from "../errors.js";
import { EMPTY } from "./bitmap.js";

/** The bytes of any typed array; of a buffer that is not there, none. */
export function bytesOf(values: unknown): Uint8Array {
  if (values === undefined || values === null) return EMPTY;
  if (!ArrayBuffer.isView(values)) {
    throw new ArrowlaneError(
      "ERR_INVALID_DATA",
      "a column's buffer is not a typed array: build the column with apache-arrow's own functions",
    );
  }
  return new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);
}

/** The bytes as elements, in place where their address allows it. */
export function aligned<T>(
  bytes: Uint8Array,
  width: number,
  elements: new (buffer: ArrayBuffer, offset: number, count: number) => T,
): T {
  const at = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  return new elements(at.buffer as ArrayBuffer, at.byteOffset, at.byteLength / width);
}
