import { ArrowlaneError } from "../errors.js";
import type { Layout } from "./layout.js";

/** Where the buffers of a flat batch go in one block. */
export interface PackedLayout {
  /** The size of the block. */
  bytes: number;
  /** The offset of each buffer; 0 for empty ones. */
  offsets: number[];
}

interface Buffers {
  readonly buffers: readonly Uint8Array[];
}

/** Offsets for the buffers of a flat batch, one after the other, each aligned to `align` bytes. */
export function packedLayout(flat: Buffers, align = 64): PackedLayout {
  let bytes = 0;
  const offsets = flat.buffers.map((buffer) => {
    if (buffer.length === 0) return 0;
    const offset = alignUp(bytes, align);
    bytes = offset + buffer.length;
    return offset;
  });
  return { bytes, offsets };
}

/** Copies the buffers of a flat batch to their places: the one copy of a send. */
export function packInto(flat: Buffers, layout: PackedLayout, target: Uint8Array): void {
  if (target.length < layout.bytes) {
    throw new ArrowlaneError(
      "ERR_INVALID_ARGUMENT",
      `the target has ${target.length} bytes where the layout needs ${layout.bytes}`,
    );
  }
  flat.buffers.forEach((buffer, i) => {
    if (buffer.length > 0) target.set(buffer, layout.offsets[i]);
  });
}

/** The layout by which a plan reads what {@link packInto} wrote. */
export function layoutOf(
  flat: Buffers & Pick<Layout, "rows" | "nodes" | "variadic">,
  packed: PackedLayout,
): Layout {
  const buffers = flat.buffers.flatMap((buffer, i) => [packed.offsets[i], buffer.length]);
  return { rows: flat.rows, nodes: flat.nodes, buffers, variadic: flat.variadic };
}

/** `bytes` rounded up to a multiple of `align`. */
export function alignUp(bytes: number, align: number): number {
  return Math.ceil(bytes / align) * align;
}
