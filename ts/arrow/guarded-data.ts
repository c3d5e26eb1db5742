import { Data, type DataType, type Struct, type Vector } from "apache-arrow";
import { type Guard, guardedArray } from "./guarded-array.js";
import type { ElementArray } from "./layout.js";

/** The buffers that apache-arrow's Data takes: offsets, values, validity, type ids. */
export type DataBuffers = [
  valueOffsets: Int32Array | BigInt64Array | undefined,
  values: ArrayBufferView | undefined,
  nullBitmap: Uint8Array | undefined,
  typeIds?: Int8Array | undefined,
];

const NO_BITMAP = new Uint8Array(0);
/**
 * apache-arrow's Data over bytes that are lent, not owned: reads ask the guard first. All Data of a handle, and all
 * that apache-arrow derives from them (slices, list elements, clones), share one guard, so that no list of what was
 * derived need be kept.
 *
 * Every `get` and `isValid` passes `getValid`, every iteration reads `nullCount`, every slice and write passes
 * `clone` or `nullCount`; these are methods and accessors in apache-arrow too, so nothing is added to the way
 * of a live read. The fields themselves are plain; `poison` replaces them.
 */
export class GuardedData<T extends DataType = DataType> extends Data<T> {
  readonly #guard: Guard;

  constructor(
    guard: Guard,
    type: T,
    length: number,
    nullCount: number,
    buffers: DataBuffers | Data<T>,
    children?: Data[],
    dictionary?: Vector,
    variadic?: readonly Uint8Array[],
    offset = 0,
  ) {
    super(type, offset, length, nullCount, buffers as Data<T>, children, dictionary, variadic);
    this.#guard = guard;
  }

  /** The guard of `data`, when it is one of ours. */
  static guardOf(data: Data): Guard | undefined {
    return #guard in data ? (data as GuardedData).#guard : undefined;
  }

  override getValid(index: number): boolean {
    const { error } = this.#guard;
    if (error !== undefined) throw error();
    // Known to have no nulls; unions never do, they carry -1.
    return this._nullCount === 0 || super.getValid(index);
  }

  override setValid(index: number, value: boolean): boolean {
    this.#guard.check();
    return super.setValid(index, value);
  }

  override get nullCount(): number {
    this.#guard.check();
    return super.nullCount;
  }

  override get nullable(): boolean {
    this.#guard.check();
    return super.nullable;
  }

  override get byteLength(): number {
    this.#guard.check();
    return super.byteLength;
  }

  override clone<R extends DataType = T>(
    type: R = this.type as unknown as R,
    offset: number = this.offset,
    length: number = this.length,
    nullCount: number = this._nullCount,
    buffers?: Data<R>["buffers"],
    children: Data[] = this.children,
    variadicBuffers: readonly Uint8Array[] = this.variadicBuffers,
  ): Data<R> {
    this.#guard.check();
    const from = (buffers ?? this) as unknown as Data<R>;
    return new GuardedData<R>(
      this.#guard,
      type,
      length,
      nullCount,
      from,
      children,
      this.dictionary,
      variadicBuffers,
      offset,
    );
  }

  /** Other values in place of these, under the same guard; without nulls, or as many and null where these are. */
  over<R extends DataType>(type: R, length: number, values: ElementArray): GuardedData<R> {
    const guarded = guardedArray(this.#guard, values);
    if (this.nullCount === 0) {
      return new GuardedData(this.#guard, type, length, 0, [undefined, guarded, NO_BITMAP]);
    }
    const buffers: DataBuffers = [undefined, guarded, this.nullBitmap];
    const { offset } = this;
    return new GuardedData(
      this.#guard,
      type,
      length,
      this.nullCount,
      buffers,
      [],
      undefined,
      undefined,
      offset,
    );
  }

  override slice(offset: number, length: number): Data<T> {
    this.#guard.check();
    const slice = super.slice(offset, length);
    if (readsValuesDirectly(this.type.typeId)) {
      const fields = slice as { values: ElementArray };
      fields.values = guardedArray(this.#guard, fields.values);
    }
    return slice;
  }
}

/** Int, Float, Decimal, Time, Timestamp: the types whose `toArray` takes `values.subarray` and nothing else. */
function readsValuesDirectly(typeId: number): boolean {
  return typeId === 2 || typeId === 3 || typeId === 7 || typeId === 9 || typeId === 10;
}

/** The rows of a batch as apache-arrow keeps them: a struct of the columns, without nulls of its own. */
export function rowsData(guard: Guard, type: Struct, rows: number, columns: Data[]): Data<Struct> {
  return new GuardedData(guard, type, rows, 0, [undefined, undefined, NO_BITMAP], columns);
}
