import type { Layout } from "./arrow/plan.js";

/**
 * Reads a layout as `NativeLane.open` writes it: nodes, (length, null count)…, buffers, (range, offset, length)…,
 * variadic counts, count….
 */
export function readLayout(numbers: Float64Array, rows: number): Layout {
  let at = 0;
  const nodes = new Array<number>(2 * numbers[at++]);
  for (let n = 0; n < nodes.length; n++) nodes[n] = numbers[at++];
  const count = numbers[at++];
  const buffers = new Array<number>(2 * count);
  let sources: number[] | undefined;
  for (let n = 0; n < count; n++) {
    const range = numbers[at++];
    if (range !== 0) {
      sources ??= new Array<number>(count).fill(0);
      sources[n] = range;
    }
    buffers[2 * n] = numbers[at++];
    buffers[2 * n + 1] = numbers[at++];
  }
  const variadic = new Array<number>(numbers[at++]);
  for (let n = 0; n < variadic.length; n++) variadic[n] = numbers[at++];
  return sources === undefined
    ? { rows, nodes, buffers, variadic }
    : { rows, nodes, buffers, variadic, bufferSource: sources };
}

/** The parts of an outgoing batch, as `NativeLane.send` reads them. */
export interface OutgoingLayout {
  readonly nodes: ArrayLike<number>;
  /** Offset in the block and byte length, two numbers a buffer. */
  readonly buffers: ArrayLike<number>;
  readonly variadic: ArrayLike<number>;
}

/** How many numbers {@link writeLayout} writes, and those before it. */
export function layoutLength(layout: OutgoingLayout, dictionaries: number): number {
  return 9 + layout.nodes.length + layout.buffers.length + layout.variadic.length + dictionaries;
}

/** Writes a layout from `at` on: counts before each list, dictionary handles last. */
export function writeLayout(
  numbers: Float64Array,
  at: number,
  layout: OutgoingLayout,
  dictionaries: readonly number[],
): void {
  const put = (count: number, list: ArrayLike<number>) => {
    numbers[at++] = count;
    for (let n = 0; n < list.length; n++) numbers[at++] = list[n];
  };
  put(layout.nodes.length / 2, layout.nodes);
  put(layout.buffers.length / 2, layout.buffers);
  put(layout.variadic.length, layout.variadic);
  put(dictionaries.length, dictionaries);
}
