/** How sure a benchmark is of a ratio. */
import { expect, test } from "@jest/globals";
import { paired } from "../../ts/bench/intervals.js";

test("the median of pairs lies within ranks that tossing a coin would leave with 95 % certainty", () => {
  // Of 30 tosses, 9 or fewer heads happen in 2.1 % of cases, 10 or fewer in 4.9 %: nine go at either end.
  const ours = Array.from({ length: 30 }, (_, n) => n + 1);
  expect(
    paired(
      ours,
      ours.map(() => 1),
    ),
  ).toEqual([10, 15.5, 21]);
  // Of six, none go; the tails have 1.6 % each.
  expect(paired([6, 1, 5, 2, 4, 3], [1, 1, 1, 1, 1, 1])).toEqual([1, 3.5, 6]);
});

test("pairs are divided one by one, and what has no partner is left out", () => {
  expect(paired([2, 6, 9], [1, 2])).toEqual([2, 2.5, 3]);
});
