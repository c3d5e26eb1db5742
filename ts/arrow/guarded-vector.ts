import { type Data, type DataType, Vector } from "apache-arrow";
import type { Column } from "../columns.js";
import type { Guard } from "./guarded-array.js";
import { GuardedData } from "./guarded-data.js";
import { reinterpreted } from "./reinterpret.js";

/**
 * apache-arrow's Vector over lent bytes. It differs where apache-arrow hands an iteration over to the typed array's
 * own iterator, which knows nothing of a dispose that comes while it runs: then the next step throws as all reads do.
 */
class GuardedVector<T extends DataType = DataType> extends Vector<T> implements Column<T> {
  override [Symbol.iterator](): IterableIterator<T["TValue"] | null> {
    const [data] = this.data;
    const guard = GuardedData.guardOf(data);
    if (guard === undefined || data.nullCount !== 0 || data.stride !== 1) return super[Symbol.iterator]();
    if (!readsElements(data)) return super[Symbol.iterator]();
    return new ValuesIterator<T>(guard, data.values as ArrayLike<T["TValue"]>, data.length);
  }

  reinterpret<R extends DataType>(type: R): Column<R> {
    // Vectors of ours have one Data each.
    return vectorOf(reinterpreted(this.data[0] as Data as GuardedData, type)) as unknown as Column<R>;
  }
}
// To the caller it is a Vector.
Object.defineProperty(GuardedVector.prototype, "constructor", {
  value: Vector,
  configurable: true,
  writable: true,
});

const INT = 2;
const FLOAT = 3;
const TIME = 9;

/** Whether the values of `data` are its elements as they are: not for 64-bit ones, dates, half floats, indices, … */
function readsElements({ type: { typeId }, values }: Data): boolean {
  if (typeId === FLOAT) return !(values instanceof Uint16Array);
  if (typeId !== INT && typeId !== TIME) return false;
  return !(values instanceof BigInt64Array || values instanceof BigUint64Array);
}

class ValuesIterator<T extends DataType> implements IterableIterator<T["TValue"] | null> {
  readonly #guard: Guard;
  readonly #values: ArrayLike<T["TValue"]>;
  readonly #length: number;
  #index = 0;

  constructor(guard: Guard, values: ArrayLike<T["TValue"]>, length: number) {
    this.#guard = guard;
    this.#values = values;
    this.#length = length;
  }

  next(): IteratorResult<T["TValue"] | null, null> {
    if (this.#guard.error !== undefined) throw this.#guard.error();
    if (this.#index < this.#length) return { done: false, value: this.#values[this.#index++] };
    return { done: true, value: null };
  }

  [Symbol.iterator](): this {
    return this;
  }
}

/** A Vector of one of our Data. */
export function vectorOf<T extends DataType>(data: Data<T>): Column<T> {
  return new GuardedVector<T>([data]);
}
