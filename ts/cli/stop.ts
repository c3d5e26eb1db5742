/** SIGINT and SIGTERM as a request to close cleanly. */

export type StopSignal = "SIGINT" | "SIGTERM" | "SIGPIPE";

const NUMBERS: Record<StopSignal, number> = { SIGINT: 2, SIGPIPE: 13, SIGTERM: 15 };

/**
 * The first SIGINT or SIGTERM asks a command to stop; a second one ends the process as if nobody listened. Losing
 * the reader of standard output (`| head`) counts as a request too.
 */
export class Stop {
  readonly #abort = new AbortController();
  #requested: StopSignal | undefined;
  readonly #onSignal = (signal: NodeJS.Signals) => this.request(signal as StopSignal);

  constructor() {
    process.on("SIGINT", this.#onSignal);
    process.on("SIGTERM", this.#onSignal);
  }

  /** Aborted when it is time to stop. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** What asked to stop, if anything did. */
  get requested(): StopSignal | undefined {
    return this.#requested;
  }

  /** The exit status that says so: 128 and the signal's number. */
  get status(): number {
    return this.#requested === undefined ? 0 : 128 + NUMBERS[this.#requested];
  }

  request(signal: StopSignal): void {
    if (this.#requested !== undefined) return;
    this.#requested = signal;
    this.unlisten();
    this.#abort.abort();
  }

  /** From now on the signals do what they do anyway. */
  unlisten(): void {
    process.off("SIGINT", this.#onSignal);
    process.off("SIGTERM", this.#onSignal);
  }

  /**
   * Ends the process by the signal itself: the way out where a read of a pipe is under way that may never end, and
   * that an ordinary exit would wait for. A shell sees the same status.
   */
  dieBySignal(): void {
    if (this.#requested !== undefined) process.kill(process.pid, this.#requested);
  }
}
