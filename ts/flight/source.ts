import { sourceFailed } from "../diagnostics.js";
import { type Publisher, publishUnlisted } from "../publisher.js";
import type { Sendable } from "../sending.js";
import type { SubscriberStream } from "../subscriber-stream.js";
import { sendEach } from "./offerable.js";
import type { datasetOptions } from "./options.js";

/** Makes the batches of a dataset anew for each client that fetches it. */
export type Source = (request: SourceRequest) => Batches | Promise<Batches>;

/** What a source gives: one thing to send, or several. */
export type Batches = Sendable | Iterable<Sendable> | AsyncIterable<Sendable>;

/** For whom a source is asked. */
export interface SourceRequest {
  /** Aborted when the client is gone. */
  readonly signal: AbortSignal;
}

/** The longest time that a timer knows, in milliseconds: 24 days. Tickets that are good for longer end with their source then. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** So long the one client of a source has to come, in milliseconds. */
const SOON = 10_000;

/** @internal A source under a name: a publisher that gives each subscriber a stream of its own. */
export class OfferedSource {
  readonly #make: Source;
  readonly #served: (() => void) | undefined;
  #publisher: Publisher | undefined;
  #serving = 0;
  #retired = false;
  #tickets: NodeJS.Timeout | undefined;

  private constructor(make: Source, served: (() => void) | undefined) {
    this.#make = make;
    this.#served = served;
  }

  /** With `served`, there is one client, who comes soon or never; it is called when that one was served. */
  static async open(
    make: Source,
    { name, memory, queueBatches, queueBytes }: ReturnType<typeof datasetOptions>,
    served?: () => void,
  ): Promise<OfferedSource> {
    const source = new OfferedSource(make, served);
    const queue = { batches: queueBatches, bytes: queueBytes };
    const onSubscriber = (stream: SubscriberStream) => source.#serve(name, stream);
    source.#publisher = await publishUnlisted(name, { memory, queue, minSubscribers: 0, onSubscriber });
    if (served !== undefined) source.retire(SOON);
    return source;
  }

  get publisher(): Publisher {
    return this.#publisher as Publisher;
  }

  /** Is offered no more: closed when nobody is served, and no ticket of before is good any more (`life` in milliseconds). */
  retire(life: number, expired = () => {}): void {
    if (this.#retired) return;
    const over = () => {
      this.#retired = true;
      expired();
      this.#closeIfIdle();
    };
    clearTimeout(this.#tickets);
    if (life <= 0) over();
    else this.#tickets = setTimeout(over, Math.min(life, LONGEST_TIMER)).unref();
  }

  #closeIfIdle(): void {
    if (this.#retired && this.#serving === 0) void this.publisher.close();
  }

  /** What goes wrong ends this client's stream, and nobody else's. */
  async #serve(name: string, stream: SubscriberStream): Promise<void> {
    this.#serving++;
    // Who left is told by a send at times, before the stream is.
    let left = () => stream.hasLeft;
    try {
      const made = await this.#make({ signal: stream.signal });
      await sendEach(made, stream.signal, async (one) => {
        try {
          await stream.send(one, { signal: stream.signal });
        } catch (error) {
          if ((error as { code?: unknown }).code === "ERR_CLOSED") left = () => true;
          throw error;
        }
      });
    } catch (error) {
      if (!left()) {
        stream.fail(error);
        sourceFailed(name, error);
      }
    } finally {
      this.#serving--;
      // The stream is finished first.
      setImmediate(() => this.#wasServed());
    }
  }

  #wasServed(): void {
    this.#served?.();
    if (this.#served === undefined) this.#closeIfIdle();
    else this.retire(0);
  }
}
