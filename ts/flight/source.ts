import type { Schema } from "apache-arrow";
import { arrow } from "../arrow-layer.js";
import type { Batch } from "../batch.js";
import { sourceFailed } from "../diagnostics.js";
import { ArrowlaneError } from "../errors.js";
import { type Publisher, publishUnlisted } from "../publisher.js";
import { schemaHandle } from "../schemas.js";
import type { Sendable } from "../sending.js";
import type { SubscriberStream } from "../subscriber-stream.js";
import { Subscription } from "../subscription.js";
import { each } from "./offerable.js";
import { Transfer } from "./transfer.js";

/** Makes the batches of a dataset anew for each client that fetches it. */
export type Source = (request: SourceRequest) => Batches | Promise<Batches>;

/** What a source gives: one thing to send, or several. */
type Batches = Sendable | Iterable<Sendable> | AsyncIterable<Sendable>;

/** For whom a source is asked. */
export interface SourceRequest {
  /** Aborted when the client is gone. */
  readonly signal: AbortSignal;
}

/** How a source's batches are kept. */
interface SourceOptions {
  memory: number;
  queue: { batches: number; bytes: number };
  schema: Schema | undefined;
}

/** @internal A source under a name: a publisher that gives each subscriber a stream of its own. */
export class OfferedSource {
  readonly #make: Source;
  #publisher: Publisher | undefined;
  #serving = 0;
  #retired = false;
  #tickets: NodeJS.Timeout | undefined;

  private constructor(make: Source) {
    this.#make = make;
  }

  static async open(name: string, make: Source, options: SourceOptions): Promise<OfferedSource> {
    if (options.schema === undefined) {
      throw new ArrowlaneError(
        "ERR_INVALID_ARGUMENT",
        "a function that makes batches needs the option schema: nobody has seen one of them yet",
      );
    }
    const { memory, queue } = options;
    const source = new OfferedSource(make);
    const onSubscriber = (stream: SubscriberStream) => source.#serve(name, stream);
    source.#publisher = await publishUnlisted(name, { memory, queue, minSubscribers: 0, onSubscriber });
    return source;
  }

  /** The number under which the native side knows its schema. */
  static schema(schema: Schema): number {
    return schemaHandle(arrow().schemaToJson(schema), schema);
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
    else this.#tickets = setTimeout(over, life).unref();
  }

  #closeIfIdle(): void {
    if (this.#retired && this.#serving === 0) void this.publisher.close();
  }

  /** What goes wrong ends this client's stream, and nobody else's. */
  async #serve(name: string, stream: SubscriberStream): Promise<void> {
    this.#serving++;
    try {
      const made = await this.#make({ signal: stream.signal });
      const delivered = made instanceof Transfer || made instanceof Subscription;
      for await (const one of each(made)) {
        await stream.send(one, { signal: stream.signal });
        if (delivered) (one as Batch).dispose();
      }
    } catch (error) {
      if (!stream.hasLeft) {
        stream.fail(error);
        sourceFailed(name, error);
      }
    } finally {
      this.#serving--;
      // The stream is finished first.
      setImmediate(() => this.#closeIfIdle());
    }
  }
}
