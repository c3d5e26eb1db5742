/** How sure one can be of a ratio, from pairs that were measured one right after the other. */

/** What pairs of figures say: the median of their ratios, between what it is with 95 % certainty. */
export type Interval = [least: number, median: number, greatest: number];

/**
 * The median of `ours[n] ÷ theirs[n]`, with its 95 % confidence interval by order statistics: nothing is assumed of how the
 * ratios are spread. With fewer than six pairs there is no such interval, and least and greatest stand in for it.
 */
export function paired(ours: readonly number[], theirs: readonly number[]): Interval {
  const count = Math.min(ours.length, theirs.length);
  const ratios = Array.from({ length: count }, (_, n) => ours[n] / theirs[n]).sort((a, b) => a - b);
  const skip = ranksOutside(count);
  const middle = (count - 1) / 2;
  const median = (ratios[Math.floor(middle)] + ratios[Math.ceil(middle)]) / 2;
  return [ratios[skip], median, ratios[count - 1 - skip]].map((x) => Number(x.toPrecision(4))) as Interval;
}

/** How many ratios at either end can be left out, so that the median lies between the rest with 95 % certainty. */
function ranksOutside(count: number): number {
  // Whether a ratio is below the true median is the toss of a coin: how many are has the binomial distribution.
  let [chance, tail, outside] = [0.5 ** count, 0, 0];
  for (let below = 0; below < count; below++) {
    tail += chance;
    if (tail > 0.025) break;
    outside = below;
    chance *= (count - below) / (below + 1);
  }
  return outside;
}
