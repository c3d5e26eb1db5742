import { describe } from "./errors.js";
import { lane, native } from "./native/lane.js";
import { Outbox } from "./outbox.js";
import { checkSending, type Sendable, type SendOptions } from "./sending.js";

/** One subscriber's own stream; ends when the function that `onSubscriber` gave resolves. */
export class SubscriberStream {
  readonly #publisher: number;
  readonly #connection: number;
  readonly #outbox: Outbox;
  #left = false;

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
  }

  /** @internal */
  changed(): void {
    this.#outbox.room.changed();
  }

  /** @internal Ends the stream well, or with what `onSubscriber` threw. */
  finish(publisherEnded: boolean, failure?: unknown): void {
    this.#outbox.drop();
    if (!this.#left && !publisherEnded) {
      const said = failure === undefined ? undefined : describe(failure);
      native(() => lane().native.finishConnection(this.#publisher, this.#connection, said));
    }
    lane().stirred();
  }
}
