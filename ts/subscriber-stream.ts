import { ArrowlaneError, describe } from "./errors.js";
import { lane, native } from "./native/lane.js";
import { Outbox } from "./outbox.js";
import { checkSending, type Sendable, type SendOptions } from "./sending.js";

/** One subscriber's own stream; ends when the function that `onSubscriber` gave resolves. */
export class SubscriberStream {
  readonly #publisher: number;
  readonly #connection: number;
  readonly #outbox: Outbox;
  #left = false;
  #gone: AbortController | undefined;
  #failure: unknown;

  /** @internal */
  constructor(publisher: number, connection: number, strict: boolean) {
    this.#publisher = publisher;
    this.#connection = connection;
    this.#outbox = new Outbox(publisher, connection, strict);
  }

  /** Whether the subscriber is gone. */
  get hasLeft(): boolean {
    return this.#left;
  }

  /** Aborted when the subscriber is gone. */
  get signal(): AbortSignal {
    if (this.#gone === undefined) {
      this.#gone = new AbortController();
      if (this.#left) this.#gone.abort(gone());
    }
    return this.#gone.signal;
  }

  /**
   * Sends to this subscriber alone; see `Publisher.send`. Rejects with `ERR_CLOSED` when it left, or when the
   * publisher was closed.
   */
  async send(what: Sendable, options: SendOptions = {}): Promise<void> {
    checkSending(options);
    await this.#outbox.send(what, options);
  }

  /** @internal */
  left(): void {
    this.#left = true;
    this.changed();
    this.#gone?.abort(gone());
  }

  /** @internal It will end with this error. */
  fail(error: unknown): void {
    this.#failure = error ?? new Error("it failed for an unknown reason");
  }

  /** @internal */
  changed(): void {
    this.#outbox.room.changed();
  }

  /** @internal Ends the stream well, or with what `onSubscriber` threw. */
  finish(publisherEnded: boolean, failure: unknown = this.#failure): void {
    this.#outbox.drop();
    if (!this.#left && !publisherEnded) {
      const said = failure === undefined ? undefined : describe(failure);
      native(() => lane().native.finishConnection(this.#publisher, this.#connection, said));
    }
    lane().stirred();
  }
}

function gone(): ArrowlaneError {
  return new ArrowlaneError("ERR_CLOSED", "the subscriber has left");
}
