import type { Data, Vector } from "apache-arrow";
import type { BatchPlan, BodyAccess, Layout } from "./arrow/plan.js";
import { arrow } from "./arrow-layer.js";
import { Dictionary, dictionaryKeys, releaseDictionaries } from "./dictionaries.js";
import { ArrowlaneError, DisposedError, LeaseRevokedError } from "./errors.js";
import { readLayout } from "./layout.js";
import { keeps, known, type Stack, unknown } from "./leases.js";
import { lane, native } from "./native/lane.js";

const disposed = () => new DisposedError();
const revoked = () => new LeaseRevokedError();

/** What is left to do for a body whose handles were all collected without dispose. */
interface Remains {
  handle: number;
  /** Set when ArrayBuffers were made: with the last of them, native code lets go of the body by itself. */
  opened: boolean;
  dictionaries: Map<number, Dictionary>;
}

const forgotten = new FinalizationRegistry<Remains>(({ handle, opened, dictionaries }) => {
  // Not detached: arrays over the bytes may still be referred to, and they keep the lease by themselves.
  if (!opened) lane().native.abandon(handle);
  releaseDictionaries(dictionaries, { detach: false });
});

/**
 * One body in this environment: the native handle, its ArrayBuffers (made on first use, shared by all handles) and
 * everything that was made over them. It ends with its last handle's dispose.
 *
 * Being told of a collection costs more than the rest of a short life. So only those that outlive the turn they came in are
 * {@link watch}ed; whoever makes one has that done.
 */
export class SharedBody implements BodyAccess {
  readonly handle: number;
  readonly plan: BatchPlan | undefined;
  readonly rows: number;
  guard: BodyAccess["guard"] = undefined;
  /** Set where silent copies are refused. */
  strict = false;
  /** Where it was asked for, if that is wanted. */
  stack: Stack | undefined;
  #handles = 1;
  #layout: Layout | undefined;
  #buffers: ArrayBuffer | ArrayBuffer[] | undefined;
  #made: Data[] = [];
  #copied = 0;
  #remains: Remains | undefined;
  /** It outlived the turn it came in, and can be taken away. */
  #known = false;
  #revoked = false;

  constructor(handle: number, rows: number, plan: BatchPlan | undefined) {
    this.handle = handle;
    this.rows = rows;
    this.plan = plan;
  }

  /** Has the body let go of when all of its handles are collected without dispose. */
  watch(): this {
    if (this.#remains === undefined && this.#handles > 0 && !this.#opened) this.#watched();
    return this;
  }

  /** It is held beyond the turn it came in. */
  outlived(): void {
    if (this.#handles === 0 || this.#known) return;
    this.watch();
    this.#known = true;
    known(this.handle, this);
    if (this.#buffers !== undefined) keeps(this.#buffers, this);
  }

  get #opened(): boolean {
    const buffers = this.#buffers;
    return buffers !== undefined && !(Array.isArray(buffers) && buffers.length === 0);
  }

  #watched(): Remains {
    if (this.#remains === undefined) {
      this.#remains = { handle: this.handle, opened: this.#opened, dictionaries: new Map() };
      forgotten.register(this, this.#remains, this);
    }
    return this.#remains;
  }

  /** Bytes that had to be copied because of their alignment. */
  get copiedBytes(): number {
    return this.#copied;
  }

  get isRevoked(): boolean {
    return this.#revoked;
  }

  /** It ended, in one way or another. */
  get isDisposed(): boolean {
    return this.#handles === 0;
  }

  /** What reads throw after its end. */
  gone(): ArrowlaneError {
    return this.#revoked ? revoked() : disposed();
  }

  /** Where the parts of the batch lie; makes the ArrayBuffers. */
  layout(): Layout {
    if (this.#layout === undefined) {
      const { calls, scratch } = lane();
      let buffers = native(() => calls.open(this.handle));
      if (typeof buffers === "number") {
        lane().reserve(buffers);
        buffers = calls.open(this.handle) as ArrayBuffer | ArrayBuffer[];
        this.#layout = readLayout(lane().scratch, this.rows);
      } else {
        this.#layout = readLayout(scratch, this.rows);
      }
      this.#buffers = buffers;
      if (this.#remains !== undefined) this.#remains.opened = this.#opened;
      if (this.#known) keeps(buffers, this);
    }
    return this.#layout;
  }

  arrayBuffer(index: number): ArrayBuffer {
    const buffers = this.#buffers;
    if (buffers === undefined)
      throw new ArrowlaneError("ERR_INTERNAL", "a body was read before it was opened");
    return Array.isArray(buffers) ? buffers[index] : buffers;
  }

  dictionary(id: number): Vector {
    if (this.plan === undefined) throw new ArrowlaneError("ERR_INTERNAL", "a dictionary without a plan");
    const { dictionaries } = this.#watched();
    let dictionary = dictionaries.get(id);
    if (dictionary === undefined) {
      dictionary = Dictionary.open(this.handle, this.plan, id, dictionaryKeys(this.handle));
      dictionaries.set(id, dictionary);
    }
    return dictionary.vector;
  }

  made(data: Data): void {
    this.#made.push(data);
  }

  copied(bytes: number): void {
    if (this.strict) {
      throw new ArrowlaneError(
        "ERR_COPY_REQUIRED",
        `a buffer of ${bytes} bytes is not aligned for its type and would have to be copied: its producer should align buffers to 64 bytes, or unset strictZeroCopy`,
      );
    }
    this.#copied += bytes;
  }

  /** One handle more. */
  retain(): this {
    this.#handles++;
    return this;
  }

  /** One handle less; with the last one, every later read throws and the lease ends. */
  release(): void {
    if (this.#revoked || --this.#handles > 0) return;
    this.#end(disposed);
  }

  /** Ends it for all handles, whatever they are used for. Whether it had not ended before. */
  revoke(): boolean {
    if (this.#handles === 0) return false;
    this.#handles = 0;
    this.#revoked = true;
    this.#end(revoked);
    return true;
  }

  #end(error: () => ArrowlaneError): void {
    if (this.#known) unknown(this.handle);
    const remains = this.#remains;
    if (remains === undefined) lane().departed(this);
    else forgotten.unregister(this);
    if (this.#made.length > 0) arrow().poison(this.#made, error);
    this.#made = [];
    const buffers = this.#buffers;
    this.#buffers = undefined;
    const { native: natively, calls } = lane();
    if (buffers === undefined) natively.abandon(this.handle);
    else if (Array.isArray(buffers)) natively.dispose(this.handle, buffers);
    else calls.dispose1(this.handle, buffers);
    if (remains !== undefined) releaseDictionaries(remains.dictionaries, { detach: true, error });
    lane().stirred();
  }

  /** Key/values that were sent with the batch. */
  metadata(): Map<string, string> {
    const flat = native(() => lane().native.metadata(this.handle));
    const map = new Map<string, string>();
    for (let n = 0; n + 1 < flat.length; n += 2) map.set(flat[n], flat[n + 1]);
    return map;
  }
}
