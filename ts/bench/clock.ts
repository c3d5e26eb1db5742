import type { Outcome } from "./child.js";
import { quantile } from "./rows.js";

/** Takes the time of round trips after those that warm up. */
export class Clock {
  readonly #warm: number;
  readonly #times: Float64Array;
  #count = 0;
  #started = 0;

  constructor(warm: number, rounds: number) {
    this.#warm = warm;
    this.#times = new Float64Array(rounds);
  }

  /** A round begins. */
  start(): void {
    this.#started = performance.now();
  }

  /** It ended; whether another one is to follow. */
  stop(): boolean {
    const took = performance.now() - this.#started;
    const index = this.#count++ - this.#warm;
    if (index >= 0) this.#times[index] = took;
    return index + 1 < this.#times.length;
  }

  /** Microseconds one way: half a round trip. */
  oneWay(): Outcome {
    return { p50: quantile(this.#times, 0.5) * 500, p99: quantile(this.#times, 0.99) * 500 };
  }
}
