import type { Data } from "apache-arrow";
import { GuardedData } from "./guarded-data.js";

interface Fields {
  values: unknown;
  valueOffsets: unknown;
  nullBitmap: unknown;
  typeIds: unknown;
  variadicBuffers: unknown;
  _nullCount: number;
}

const NULL = 1;
/** A null count that marks what is poisoned; like -1 it says "unknown", so that the bitmap is asked. */
const POISONED = -2;
const throwers = new WeakMap<() => Error, object>();

/**
 * Ends all reading of `datas` and of everything that apache-arrow derived from them: every later read throws
 * what `error` makes. Detaching their buffers is not enough: apache-arrow then returns `undefined`, `false` and
 * `null` as if they were data.
 *
 * Two things are done. The guard that these Data share with their slices, clones and list elements is shut, which
 * ends `get`, `isValid`, iteration, `slice`, `nullCount` and writing. And the buffers of these Data themselves are
 * replaced by an object that throws whatever is done with it, for readers that take them directly (`toArray`).
 * `error` should be one function per kind of error: the throwing object is kept for it.
 */
export function poison(datas: Iterable<Data>, error: () => Error): void {
  const thrower = throwerOf(error);
  for (const data of datas) {
    const fields = data as unknown as Fields;
    if (fields._nullCount === POISONED) continue;
    const guard = GuardedData.guardOf(data);
    if (guard !== undefined) guard.error ??= error;
    if (fields.values !== undefined) fields.values = thrower;
    if (fields.valueOffsets !== undefined) fields.valueOffsets = thrower;
    if (fields.typeIds !== undefined) fields.typeIds = thrower;
    fields.nullBitmap = thrower;
    fields.variadicBuffers = thrower;
    fields._nullCount = POISONED;
    // Searching these touches nothing but the length.
    if (data.length === 0 || data.type.typeId === NULL)
      Object.defineProperty(data, "length", shutLength(error));
  }
}

function shutLength(error: () => Error): PropertyDescriptor {
  return {
    get() {
      throw error();
    },
    configurable: true,
    enumerable: true,
  };
}

/** The object that throws `error()` on everything that is done with it; one for each `error`. */
function throwerOf(error: () => Error): object {
  let thrower = throwers.get(error);
  if (thrower === undefined) {
    const trap = () => {
      throw error();
    };
    const traps: ProxyHandler<object> = {
      get: trap,
      set: trap,
      has: trap,
      deleteProperty: trap,
      ownKeys: trap,
      getOwnPropertyDescriptor: trap,
      defineProperty: trap,
      getPrototypeOf: trap,
      setPrototypeOf: trap,
      isExtensible: trap,
      preventExtensions: trap,
    };
    thrower = new Proxy({}, traps);
    throwers.set(error, thrower);
  }
  return thrower;
}
