import { orAborted } from "./aborted.js";
import type { Flat, FlatBatch } from "./arrow/flatten.js";
import type { JsonSchema } from "./arrow/json-schema.js";
import type { AnySchema } from "./arrow/schema.js";
import type { WriterOptions, WriterPlan } from "./arrow/writer.js";
import { arrow, hasArrow } from "./arrow-layer.js";
import { Batch, insideOf } from "./batch.js";
import { ArrowlaneError, copyRequired, type ErrorCode } from "./errors.js";
import { layoutLength, type OutgoingLayout, writeLayout } from "./layout.js";
import { flatPairs } from "./metadata.js";
import { lane, native } from "./native/lane.js";
import { flatBytes, type Outgoing } from "./outgoing.js";
import { Room } from "./room.js";
import { schemaHandle } from "./schemas.js";
import type { Sendable, SendOptions } from "./sending.js";
import { type Block, notOurs, publisherOf, takeBlock, Writer, writerOf } from "./writer.js";

/** Answers of `NativeLane.allocate` and `pack`. */
const NEEDS_GROWTH = -1;
const TOO_LARGE = -3;
/** Answer of `NativeLane.send` and `resend`: fewer subscribers than `minSubscribers`. */
const NO_SUBSCRIBER = -1;
/** Answer of `NativeLane.forward`. */
const HAS_TO_BE_COPIED = -1;
const NOTHING: readonly number[] = [];

/** A dictionary that was sent, and what it was made of. */
interface SentDictionary {
  key: object;
  rows: number;
  handle: number;
}

/** What is sent, in order, over a publisher or to one of its subscribers. */
export class Outbox {
  readonly room = new Room();
  readonly #publisher: number;
  readonly #connection: number;
  readonly #strict: boolean;
  readonly #dictionaries = new Map<number, SentDictionary>();
  readonly #plans = new WeakMap<object, WriterPlan>();
  /** The last of the sends that wait; those that come after it wait behind it. */
  #tail: Promise<unknown> | undefined;
  #growing: Promise<void> | undefined;
  /** Nobody waits any more: what is not sent by now never is. */
  #givenUp = false;
  /** No subscriber is waited for any more. */
  #closing = false;

  constructor(publisher: number, connection: number, strict: boolean) {
    this.#publisher = publisher;
    this.#connection = connection;
    this.#strict = strict;
  }

  /** Resolves when nothing waits any more. */
  async settled(): Promise<void> {
    while (this.#tail !== undefined) await this.#tail.catch(() => {});
  }

  /** Whether anything waits for its turn, for room or for a subscriber. */
  get isWaiting(): boolean {
    return this.#tail !== undefined;
  }

  /** Rejects what waits for a subscriber, now and from now on, with `ERR_CLOSED`. */
  close(): void {
    this.#closing = true;
    this.room.changed();
  }

  /** Rejects what waits, now and from now on, with `ERR_CLOSED`. */
  giveUp(): void {
    this.#givenUp = true;
    this.room.changed();
  }

  /** Lets go of what was kept for later batches. */
  drop(): void {
    for (const { handle } of this.#dictionaries.values()) lane().native.dropDictionary(handle);
    this.#dictionaries.clear();
  }

  /** Where the columns of a writer go; remembered for the last number of rows of each schema. */
  writerPlan(schema: AnySchema | JsonSchema, rows: number, options: WriterOptions): WriterPlan {
    const known = this.#plans.get(schema);
    if (known !== undefined && known.rows === rows && options.bytes === undefined) return known;
    const json = known?.schema ?? schema;
    const plan = arrow().planWriter(json, rows, options);
    if (options.bytes === undefined) this.#plans.set(schema, plan);
    return plan;
  }

  /** A block, or the native answer that says why not. */
  tryAllocate(bytes: number): Block | number {
    const { calls, scratch } = lane();
    const buffer = native(() => calls.allocate(this.#publisher, bytes));
    if (typeof buffer === "number") return buffer;
    return { publisher: this.#publisher, handle: scratch[0], buffer };
  }

  /** A block; waits until there is one. */
  async allocate(bytes: number, signal: AbortSignal | undefined): Promise<Block> {
    for (;;) {
      signal?.throwIfAborted();
      const block = this.tryAllocate(bytes);
      if (typeof block === "object") return block;
      await this.#makeRoom(block, bytes, signal);
    }
  }

  /** Sends after everything that was asked to be sent before. */
  send(what: Sendable, options: SendOptions): Promise<number> {
    try {
      options.signal?.throwIfAborted();
      if (what instanceof Writer) {
        if (publisherOf(what) !== this.#publisher) throw notOurs();
        const outgoing = this.#take(what, what.finish());
        if (this.#tail === undefined) return this.#put(outgoing, options);
        // It waits for its turn, but nobody writes it from now on.
        const { handle, buffer } = outgoing.block as Block;
        native(() => lane().native.detach(handle, buffer));
        const drop = () => lane().native.freeBlock(handle, undefined);
        return this.#inOrder(() => this.#put({ ...outgoing, detached: true }, options), options.signal, drop);
      }
      // A Batch looks like one where apache-arrow can hold its schema; elsewhere even looking throws.
      const ours = what instanceof Batch;
      const forwarded = ours ? this.#forwarded(what, options) : HAS_TO_BE_COPIED;
      if (forwarded >= 0) return this.#sendForwarded(forwarded, options.signal);
      if (this.#tail === undefined && !ours && hasArrow() && arrow().isRecordBatch(what)) {
        const flat = arrow().flattenBatch(what);
        const outgoing = this.#placed(flat) ?? this.#copied(flat, flat);
        if (outgoing !== undefined) return this.#put(outgoing, options);
        return this.#inOrder(() => this.#sendFlat(flat, options), options.signal);
      }
      return this.#inOrder(() => this.#sendSlowly(what, options), options.signal);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Runs after everything that waits already; given up before its turn, it is dropped instead. */
  #inOrder(run: () => Promise<number>, signal?: AbortSignal, drop = () => {}): Promise<number> {
    const before = this.#tail ?? Promise.resolve();
    const turn = orAborted(before, signal).then(() => this.#checkWait());
    const sent = turn.then(run, (reason) => {
      drop();
      lane().stirred();
      throw reason;
    });
    // Also after one that was given up, what comes later waits for what came before.
    const quiet: Promise<unknown> = before
      .then(() => sent.catch(() => {}))
      .then(() => {
        if (this.#tail === quiet) this.#tail = undefined;
      });
    this.#tail = quiet;
    return sent;
  }

  async #sendSlowly(what: Sendable, options: SendOptions): Promise<number> {
    options.signal?.throwIfAborted();
    if (what instanceof Batch) return this.#sendBatch(what, options);
    if (what instanceof Uint8Array) return this.#sendFlat(flatBytes(what), options);
    if (hasArrow() && arrow().isRecordBatch(what)) return this.#sendFlat(arrow().flattenBatch(what), options);
    if (hasArrow() && arrow().isTable(what)) {
      let sent = 0;
      for (const flat of arrow().flattenTable(what)) sent = await this.#sendFlat(flat, options);
      return sent;
    }
    throw new ArrowlaneError(
      "ERR_INVALID_ARGUMENT",
      "only a Batch, a Writer, an apache-arrow RecordBatch or Table, or a Uint8Array can be sent",
    );
  }

  async #sendFlat(flat: FlatBatch, options: SendOptions): Promise<number> {
    for (const { id, key, flat: values } of flat.dictionaries) {
      const known = this.#dictionaries.get(id);
      if (known !== undefined && known.key === key && known.rows === values.rows) continue;
      this.#keepDictionary(id, key, values, await this.#allocateFor(values, options));
    }
    const placed = this.#placed(flat);
    if (placed !== undefined) return this.#put(placed, options);
    const block = await this.#allocateFor(flat, options);
    return this.#put(this.#packed(flat, flat, block), options);
  }

  async #allocateFor(flat: Flat, options: SendOptions): Promise<Block | undefined> {
    const { bytes } = arrow().packedLayout(flat);
    return bytes === 0 ? undefined : this.allocate(bytes, options.signal);
  }

  /** The batch where it lies, when all of its buffers are in one unsent writer of this publisher. */
  #placed(flat: FlatBatch): Outgoing | undefined {
    if (flat.dictionaries.length > 0) return undefined;
    let buffer: ArrayBufferLike | undefined;
    for (const view of flat.buffers) {
      if (view.length === 0) continue;
      if (buffer !== undefined && view.buffer !== buffer) return undefined;
      buffer = view.buffer;
    }
    const writer = buffer === undefined ? undefined : writerOf(buffer);
    if (writer === undefined || publisherOf(writer) !== this.#publisher) return undefined;
    const buffers = flat.buffers.flatMap((view) =>
      view.length === 0 ? [0, 0] : [view.byteOffset, view.length],
    );
    const schema = schemaHandle(flat.schema, flat.columnsKey);
    return { ...this.#take(writer, { ...flat, buffers }), schema };
  }

  /** The batch copied into a block, unless that has to be waited for. */
  #copied(flat: FlatBatch, key: FlatBatch): Outgoing | undefined {
    if (this.#strict) throw copyRequired();
    for (const { id, key: values, flat: dictionary } of flat.dictionaries) {
      const known = this.#dictionaries.get(id);
      if (known?.key !== values || known.rows !== dictionary.rows) return undefined;
    }
    const { bytes } = arrow().packedLayout(flat);
    const block = bytes === 0 ? undefined : this.tryAllocate(bytes);
    return typeof block === "number" ? undefined : this.#packed(flat, key, block);
  }

  #packed(flat: Flat, { schema, columnsKey, dictionaries }: FlatBatch, block: Block | undefined): Outgoing {
    if (this.#strict) throw copyRequired();
    const layout = arrow().packedLayout(flat);
    if (block !== undefined) arrow().packInto(flat, layout, new Uint8Array(block.buffer));
    return {
      rows: flat.rows,
      nodes: flat.nodes,
      buffers: flat.buffers.flatMap((view, i) => [layout.offsets[i], view.length]),
      variadic: flat.variadic,
      block,
      schema: schemaHandle(schema, columnsKey),
      dictionaries: dictionaries.map(({ id }) => (this.#dictionaries.get(id) as SentDictionary).handle),
    };
  }

  #keepDictionary(id: number, key: object, flat: Flat, block: Block | undefined): void {
    const layout = arrow().packedLayout(flat);
    if (block !== undefined) arrow().packInto(flat, layout, new Uint8Array(block.buffer));
    const buffers = flat.buffers.flatMap((view, i) => [layout.offsets[i], view.length]);
    const parts = { nodes: flat.nodes, buffers, variadic: flat.variadic };
    lane().reserve(layoutLength(parts, 0));
    writeLayout(lane().scratch, 0, parts, NOTHING);
    const handle = native(() => lane().native.putDictionary(block?.handle ?? -1, block?.buffer));
    const known = this.#dictionaries.get(id);
    if (known !== undefined) lane().native.dropDictionary(known.handle);
    this.#dictionaries.set(id, { key, rows: flat.rows, handle });
  }

  /** Nothing was sent with them: they are made again when they are needed. */
  #forgetDictionaries(handles: readonly number[]): void {
    for (const [id, { handle }] of this.#dictionaries) {
      if (!handles.includes(handle)) continue;
      lane().native.dropDictionary(handle);
      this.#dictionaries.delete(id);
    }
  }

  #take(writer: Writer, layout: OutgoingLayout & { rows: number }): Outgoing {
    const { block, plan } = takeBlock(writer);
    return {
      rows: layout.rows,
      nodes: layout.nodes,
      buffers: layout.buffers,
      variadic: layout.variadic,
      block,
      schema: schemaHandle(plan.schema),
      dictionaries: NOTHING,
    };
  }

  /** Sends, or waits until it can be sent. */
  #put(outgoing: Outgoing, { metadata, signal }: SendOptions): Promise<number> {
    const { block, dictionaries } = outgoing;
    lane().reserve(layoutLength(outgoing, dictionaries.length));
    const { calls, scratch } = lane();
    scratch[0] = this.#publisher;
    scratch[1] = block?.handle ?? -1;
    scratch[2] = outgoing.schema;
    scratch[3] = outgoing.rows;
    scratch[4] = this.#connection;
    writeLayout(scratch, 5, outgoing, dictionaries);
    let answer: number;
    try {
      const buffer = outgoing.detached === true ? undefined : block?.buffer;
      const pairs = metadata === undefined ? undefined : flatPairs(metadata);
      answer = native(() => calls.send(buffer, pairs));
    } catch (error) {
      this.#forgetDictionaries(dictionaries);
      throw error;
    }
    return this.#answered(answer, signal);
  }

  /** Sends what native code has ready, or waits until it can be sent. */
  #offer(outgoing: number, signal: AbortSignal | undefined): Promise<number> {
    const answer = native(() => lane().native.resend(this.#publisher, outgoing, this.#connection));
    return this.#answered(answer, signal);
  }

  #answered(answer: number, signal: AbortSignal | undefined): Promise<number> {
    lane().stirred();
    if (answer >= 0) return Promise.resolve(answer);
    const waiting = lane().scratch[0];
    if (this.#tail !== undefined) return this.#resend(waiting, answer, signal);
    const drop = () => lane().native.dropOutgoing(waiting);
    return this.#inOrder(() => this.#resend(waiting, answer, signal), undefined, drop);
  }

  async #resend(waiting: number, refused: number, signal: AbortSignal | undefined): Promise<number> {
    let handle = waiting;
    let answer = refused;
    const { native: natively } = lane();
    for (;;) {
      try {
        this.#checkWait(answer);
        await this.room.wait(signal);
      } catch (reason) {
        natively.dropOutgoing(handle);
        throw reason;
      }
      answer = native(() => natively.resend(this.#publisher, handle, this.#connection));
      lane().stirred();
      if (answer >= 0) return answer;
      handle = lane().scratch[0];
    }
  }

  /** A received batch that goes on from where it lies: the native handle to send it with, or `HAS_TO_BE_COPIED`. */
  #forwarded(batch: Batch, { metadata }: SendOptions): number {
    const { body, part } = insideOf(batch);
    const pairs = metadata === undefined ? undefined : flatPairs(metadata);
    const columns = part.columns?.slice();
    return native(() =>
      lane().native.forward(this.#publisher, body.handle, part.begin, batch.length, columns, pairs),
    );
  }

  /** From here on it holds the body by itself: its handle in JavaScript may be disposed. */
  #sendForwarded(forwarded: number, signal: AbortSignal | undefined): Promise<number> {
    if (this.#tail === undefined) return this.#offer(forwarded, signal);
    const drop = () => lane().native.dropOutgoing(forwarded);
    return this.#inOrder(() => this.#offer(forwarded, signal), signal, drop);
  }

  /** Any batch of any type, copied by native code. */
  async #sendBatch(batch: Batch, options: SendOptions): Promise<number> {
    if (this.#strict) throw copyRequired();
    for (;;) {
      const { body, part } = insideOf(batch);
      const pairs = flatPairs(options.metadata ?? batch.metadata);
      const answer = native(() =>
        lane().native.pack(
          this.#publisher,
          body.handle,
          part.begin,
          batch.length,
          part.columns?.slice(),
          pairs,
        ),
      );
      if (answer >= 0) return this.#offer(answer, options.signal);
      await this.#makeRoom(answer, lane().scratch[0], options.signal);
    }
  }

  async #makeRoom(answer: number, bytes: number, signal: AbortSignal | undefined): Promise<void> {
    if (answer === TOO_LARGE) {
      throw new ArrowlaneError(
        "ERR_OUT_OF_MEMORY",
        `a batch of ${bytes} bytes does not fit into this publisher's memory at all: raise its \`memory\` option`,
      );
    }
    this.#checkWait();
    if (answer !== NEEDS_GROWTH) return this.room.wait(signal);
    // One at a time: whoever comes meanwhile may find room then.
    this.#growing ??= this.#grow(bytes).finally(() => {
      this.#growing = undefined;
    });
    return this.#growing;
  }

  /** Throws where waiting has no point any more; with the answer of `send` or `resend`, if that is what is waited for. */
  #checkWait(answer?: number): void {
    if (!this.#givenUp && !(this.#closing && answer === NO_SUBSCRIBER)) return;
    const why = this.#givenUp ? "before this could be sent" : "while this waited for a subscriber";
    throw new ArrowlaneError("ERR_CLOSED", `the publisher was closed ${why}: it was not sent`);
  }

  async #grow(bytes: number): Promise<void> {
    const promise = native(() => lane().native.grow(this.#publisher, bytes));
    const [code, message] = await promise;
    if (code !== undefined) throw new ArrowlaneError(code as ErrorCode, message);
  }
}
