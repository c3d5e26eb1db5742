import type { TypeMap } from "apache-arrow";
import type { Batch } from "../batch.js";
import type { UnknownColumns } from "../columns.js";
import { tellOfSubscription } from "../diagnostics.js";
import { ArrowlaneError } from "../errors.js";
import { type LeaseOptions, leaseTerms } from "../leases.js";
import { checkFlag, checkObject, checkSignal } from "../options.js";
import type { Origin } from "../origin.js";
import { Subscription } from "../subscription.js";

/** A way by which data comes from a server: the scheme of a data URI, or the control plane itself. */
export type Via = "shm" | "tcp" | "ucx" | "fabric" | "grpc" | "http";

/** How data is fetched. */
export interface ReadOptions extends LeaseOptions {
  /** Ends the transfer; whoever waits, or asks next, gets the signal's reason. Batches that are held stay valid. */
  signal?: AbortSignal;
  /** Throw `ERR_COPY_REQUIRED` instead of copying a buffer; pass over ways that copy. */
  strictZeroCopy?: boolean;
  /** Whom to trust at data URIs with `tls=1`, in PEM: the system's roots, and the URI's host for a name, unless said otherwise. */
  tls?: { roots?: string; serverName?: string };
}

/** A way that was tried and did not work. */
export interface Attempt {
  readonly via: string;
  readonly error: ArrowlaneError;
}

/** A way that can be tried. */
export interface Candidate {
  readonly via: string;
  open(options: ReadOptions): Subscription;
}

/** The parts of what is fetched, one after the other, and the ways to each in order of preference. */
type Parts = readonly (readonly Candidate[])[];

/**
 * The batches of one dataset or topic from a server, each under a lease of its own. It connects when first asked: in order
 * of preference, by the first way that works. Once a batch has come there is no other way any more.
 */
export class Transfer<T extends TypeMap = UnknownColumns> implements AsyncIterableIterator<Batch<T>> {
  /** What the server calls it. */
  readonly name: string;
  readonly #options: ReadOptions;
  readonly #tried: Attempt[] = [];
  #find: (() => Promise<Parts>) | undefined;
  /** The parts that are left; of the first one, the ways that were not tried. */
  #parts: (readonly Candidate[])[] = [];
  #current: { readonly subscription: Subscription; readonly via: string; delivered: boolean } | undefined;
  #via: string | undefined;
  #ended = false;
  /** Calls of `next` are answered one after the other. */
  #tail: Promise<unknown> = Promise.resolve();

  /** @internal Use `readFrom`, or a client. */
  constructor(name: string, find: () => Promise<Parts>, options: ReadOptions) {
    checkObject("the options", options);
    checkSignal(options.signal);
    checkFlag("strictZeroCopy", options.strictZeroCopy);
    leaseTerms(options);
    this.name = name;
    this.#find = find;
    this.#options = options;
  }

  /** How the batches come; `undefined` until a way has worked. */
  get via(): string | undefined {
    return this.#via;
  }

  /** The ways that were tried before and did not work. */
  get tried(): readonly Attempt[] {
    return this.#tried;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next batch, which the caller disposes. Rejects with what ended the last way that was left. */
  next(): Promise<IteratorResult<Batch<T>>> {
    const result = this.#tail.then(() => this.#step());
    this.#tail = result.catch(() => {});
    return result;
  }

  async #step(): Promise<IteratorResult<Batch<T>>> {
    await this.#begin();
    while (!this.#ended) {
      this.#unlessAborted();
      const current = this.#current ?? this.#open();
      if (current === undefined) break;
      try {
        const result = await current.subscription.next();
        this.#via ??= current.via;
        current.delivered = true;
        if (!result.done) return result as IteratorResult<Batch<T>>;
        this.#parts.shift();
        this.#current = undefined;
      } catch (error) {
        this.#failed(current, error);
      }
    }
    this.#ended = true;
    return { done: true, value: undefined };
  }

  /** What arrived before the signal and was not taken goes back. */
  #unlessAborted(): void {
    const { signal } = this.#options;
    if (signal?.aborted !== true) return;
    this.close();
    throw signal.reason;
  }

  async #begin(): Promise<void> {
    const find = this.#find;
    if (find === undefined || this.#ended) return;
    this.#find = undefined;
    try {
      this.#parts = [...(await find())];
    } catch (error) {
      this.#ended = true;
      throw error;
    }
  }

  #open() {
    const [[candidate, ...others] = []] = this.#parts;
    if (candidate === undefined) return undefined;
    this.#parts[0] = others;
    this.#current = { subscription: candidate.open(this.#options), via: candidate.via, delivered: false };
    return this.#current;
  }

  /** Goes on to the next way, unless something came by this one, or there is none. */
  #failed({ via, delivered }: { via: string; delivered: boolean }, error: unknown): void {
    this.#current = undefined;
    const attempt = error instanceof ArrowlaneError && this.#options.signal?.aborted !== true;
    if (delivered || !attempt) {
      this.#ended = true;
      throw error;
    }
    this.#tried.push({ via, error });
    if (this.#parts[0].length === 0) {
      this.#ended = true;
      throw this.#tried.length === 1 ? error : exhausted(this.name, this.#tried);
    }
    tellOfSubscription({ event: "fell-through", topic: this.name, via, error });
  }

  /** Ends the transfer, as leaving a `for await` loop does. */
  return(): Promise<IteratorResult<Batch<T>>> {
    this.close();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** Ends delivery. Batches that were not taken go back; batches that are held stay valid. */
  close(): void {
    this.#ended = true;
    this.#current?.subscription.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }
}

function exhausted(name: string, tried: readonly Attempt[]): ArrowlaneError {
  const ways = tried.map(({ via, error }) => `${via}: ${error.message}`).join("; ");
  return new ArrowlaneError(
    "ERR_NO_TRANSPORT",
    `"${name}" could be fetched in none of ${tried.length} ways (${ways})`,
    {
      cause: tried.at(-1)?.error,
    },
  );
}

/** A way over a data URI, or over one for metadata and one for bodies: bodies say what it is called. */
export function candidateOf(name: string, origin: Origin): Candidate {
  const data = origin.uris.at(-1) ?? "";
  return {
    via: data.slice(0, data.indexOf(":")),
    open: ({ tls, ...options }) => new Subscription(name, options, { ...origin, tls }),
  };
}

/** Where something is fetched: a data URI, or two, where metadata and bodies come over connections of their own. */
export type DataSource = string | { readonly metadata: string; readonly data: string };

/**
 * Fetches what `ticket` stands for from the server at a data URI, or at the first of several that works. No control plane is
 * needed: whoever has a URI and a ticket can use them (`server.endpoints(name)` gives both).
 *
 * ```js
 * for await (const batch of readFrom("tcp://127.0.0.1:9000?want_data=1", ticket)) batch.dispose();
 * ```
 */
export function readFrom<T extends TypeMap = UnknownColumns>(
  source: DataSource | readonly DataSource[],
  ticket: string | Uint8Array,
  options: ReadOptions = {},
): Transfer<T> {
  const list = (Array.isArray(source) ? source : [source]).map(urisOf);
  if (list.length === 0) throw new ArrowlaneError("ERR_INVALID_ARGUMENT", "there is no URI to read from");
  if (typeof ticket !== "string" && !(ticket instanceof Uint8Array)) {
    throw new ArrowlaneError("ERR_INVALID_ARGUMENT", "the ticket must be a string or a Uint8Array");
  }
  const bytes = typeof ticket === "string" ? new TextEncoder().encode(ticket) : ticket;
  const [name] = list[0][0].split("?");
  const candidates = list.map((uris) => candidateOf(name, { uris, ticket: bytes }));
  return new Transfer<T>(name, () => Promise.resolve([candidates]), options);
}

function urisOf(source: DataSource): string[] {
  if (typeof source === "string") return [source];
  const { metadata, data } = (source ?? {}) as Partial<{ metadata: unknown; data: unknown }>;
  if (typeof metadata === "string" && typeof data === "string") return [metadata, data];
  throw new ArrowlaneError("ERR_INVALID_ARGUMENT", "a source is a data URI, or { metadata, data } with two");
}
