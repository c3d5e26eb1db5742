import { dissociated } from "./dissociated.js";
import { fanout } from "./fanout.js";
import { flight } from "./flight.js";
import { handoff } from "./handoff.js";
import { python } from "./python.js";
import { rate } from "./rate.js";
import { recycle } from "./recycle.js";
import type { BenchOptions } from "./rows.js";

export type { BenchOptions, Row } from "./rows.js";

/** The benchmarks of `arrowlane bench NAME`: each prints its rows on standard output. */
export const benches: Record<string, (options: BenchOptions) => Promise<void>> = {
  dissociated,
  fanout,
  flight,
  handoff,
  python,
  rate,
  recycle,
};
