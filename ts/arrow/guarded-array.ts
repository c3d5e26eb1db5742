import type { ElementArray } from "./layout.js";

/** Whether what was made for one handle may still be read: see `GuardedData`. */
export class Guard {
  /** Makes the error that every read throws; `undefined` while reads are allowed. */
  error: (() => Error) | undefined = undefined;

  check(): void {
    if (this.error !== undefined) throw this.error();
  }
}

type Elements = new (buffer: ArrayBufferLike, offset: number, length: number) => ElementArray;
type Guarded = new (guard: Guard, buffer: ArrayBufferLike, offset: number, length: number) => ElementArray;

/** `Base` with a `subarray` that asks the guard; in all else, species and name included, it is `Base`. */
function guardedClass(Base: Elements): Guarded {
  class GuardedArray extends (Base as typeof Uint8Array) {
    readonly #guard: Guard;

    constructor(guard: Guard, buffer: ArrayBufferLike, offset: number, length: number) {
      super(buffer as ArrayBuffer, offset, length);
      this.#guard = guard;
    }

    override subarray(begin?: number, end?: number): Uint8Array<ArrayBuffer> {
      this.#guard.check();
      return super.subarray(begin, end);
    }
  }
  Object.defineProperty(GuardedArray.prototype, "constructor", {
    value: Base,
    configurable: true,
    writable: true,
  });
  return GuardedArray as unknown as Guarded;
}

const CLASSES = new Map<unknown, Guarded>(
  [
    Int8Array,
    Uint8Array,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    BigInt64Array,
    BigUint64Array,
    Float32Array,
    Float64Array,
  ].map((Base) => [Base, guardedClass(Base as Elements)]),
);

/**
 * The same elements, with a `subarray` that throws once the guard is shut: `Vector.toArray` calls it on the values
 * of a slice without asking the Data first.
 */
export function guardedArray(guard: Guard, values: ElementArray): ElementArray {
  const Class = CLASSES.get(values.constructor);
  return Class === undefined ? values : new Class(guard, values.buffer, values.byteOffset, values.length);
}
