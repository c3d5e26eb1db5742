import type {
  Binary,
  Bool,
  DataType,
  Date_,
  Decimal,
  Duration,
  FixedSizeBinary,
  FixedSizeList,
  Float,
  Int,
  Interval,
  LargeBinary,
  LargeUtf8,
  Null,
  Time,
  Timestamp,
  Utf8,
} from "apache-arrow";
import { ArrowlaneError } from "../errors.js";
import { countZeros, setBit } from "./bitmap.js";
import type { JsonField } from "./json-schema.js";
import type { ElementArray, ElementKind } from "./layout.js";

/** A span of a writer's block. */
export interface Place {
  readonly offset: number;
  readonly length: number;
}

/** Where one column's buffers lie in a writer's block. */
export type ColumnPlace = { readonly field: JsonField } & (
  | { readonly kind: "null" }
  | { readonly kind: "bool"; readonly validity: Place | undefined; readonly values: Place }
  | {
      readonly kind: "fixed";
      readonly validity: Place | undefined;
      readonly values: Place;
      readonly element: ElementKind;
      /** Elements per row. */
      readonly stride: number;
      readonly listSize?: number;
    }
  | BinaryPlace
);

type BinaryPlace = {
  readonly field: JsonField;
  readonly kind: "binary";
  readonly validity: Place | undefined;
  readonly offsets: Place;
  readonly offsetBytes: 4 | 8;
  readonly values: Place;
};

/** What a column of type `T` is written through. */
export type ColumnOf<T extends DataType> = DataType extends T
  ? // biome-ignore lint/suspicious/noExplicitAny: without a schema's types the caller says what the column is
    any
  : T extends Null
    ? null
    : T extends Bool
      ? BoolColumn
      : T extends Utf8 | LargeUtf8
        ? Utf8Column
        : T extends Binary | LargeBinary
          ? BinaryColumn
          : T extends Int | Float | Decimal | Date_ | Time | Timestamp | Duration | Interval | FixedSizeBinary
            ? T["TArray"]
            : T extends FixedSizeList<infer V>
              ? V["TArray"]
              : ElementArray;

/** A Bool column: one bit a row. */
export type BoolColumn = Bitmap;

/** Bits over a writer's block: a Bool column's values, or which values of a column are there. */
export class Bitmap {
  /** The number of bits. */
  readonly length: number;
  /** The bits as they lie: bit `i` is bit `i % 8` of byte `i / 8`. */
  readonly bytes: Uint8Array;

  /** @internal Columns come from a writer. */
  constructor(bytes: Uint8Array, length: number) {
    this.bytes = bytes;
    this.length = length;
  }

  /** The bit of row `i`. */
  get(i: number): boolean {
    this.#check(i);
    return ((this.bytes[Math.floor(i / 8)] >> (i % 8)) & 1) === 1;
  }

  /** Sets the bit of row `i`. */
  set(i: number, value: boolean): void {
    this.#check(i);
    setBit(this.bytes, i, value);
  }

  /** Sets the bits of all rows. */
  fill(value: boolean): void {
    this.bytes.fill(value ? 0xff : 0);
  }

  /** How many of the first `rows` bits are false. */
  countFalse(rows: number): number {
    return countZeros(this.bytes, 0, rows);
  }

  #check(i: number): void {
    if (i >= 0 && i < this.length && Number.isInteger(i)) return;
    throw new ArrowlaneError(
      "ERR_INVALID_ARGUMENT",
      `there is no row ${i}: the column has room for ${this.length}`,
    );
  }
}

/** Bits over `place` of a block, all set to `value`. */
export function bitmapOver(buffer: ArrayBuffer, place: Place, length: number, value: boolean): Bitmap {
  const bitmap = new Bitmap(new Uint8Array(buffer, place.offset, place.length), length);
  bitmap.fill(value);
  return bitmap;
}

const encoder = new TextEncoder();

/** A Binary column being filled, one value after the other, within its budget of bytes. */
export class BinaryColumn {
  /** @internal The bytes of its budget. */
  protected readonly values: Uint8Array;
  readonly #offsets: Int32Array | BigInt64Array;
  readonly #rows: number;
  readonly #name: string;
  readonly #validity: (() => Bitmap) | undefined;
  #length = 0;
  #bytes = 0;

  /** @internal Made by a BatchWriter. `validity` gives the column's bitmap when it is nullable. */
  constructor(buffer: ArrayBuffer, place: BinaryPlace, rows: number, validity: (() => Bitmap) | undefined) {
    this.values = new Uint8Array(buffer, place.values.offset, place.values.length);
    this.#offsets =
      place.offsetBytes === 4
        ? new Int32Array(buffer, place.offsets.offset, rows + 1)
        : new BigInt64Array(buffer, place.offsets.offset, rows + 1);
    this.#offsets[0] = (place.offsetBytes === 4 ? 0 : 0n) as never;
    this.#rows = rows;
    this.#name = place.field.name;
    this.#validity = validity;
  }

  /** The number of values so far. */
  get length(): number {
    return this.#length;
  }

  /** The bytes used so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The bytes that are left of the column's budget. */
  get remainingBytes(): number {
    return this.values.length - this.#bytes;
  }

  /**
   * Adds the next value; `null` in a nullable column. Throws `ERR_OUT_OF_SPACE`, adding nothing, when the budget
   * or the rows are used up.
   */
  append(value: Uint8Array | null): void {
    this.checkRow();
    if (value === null) {
      this.commitNull();
      return;
    }
    if (value.length > this.remainingBytes) throw this.full(value.length);
    this.values.set(value, this.#bytes);
    this.commit(value.length);
  }

  /** @internal */
  protected checkRow(): void {
    if (this.#length < this.#rows) return;
    throw new ArrowlaneError(
      "ERR_OUT_OF_SPACE",
      `column ${JSON.stringify(this.#name)} has all its ${this.#rows} values: send this batch and allocate another`,
    );
  }

  /** @internal */
  protected commitNull(): void {
    if (this.#validity === undefined) {
      throw new ArrowlaneError(
        "ERR_INVALID_ARGUMENT",
        `column ${JSON.stringify(this.#name)} is not nullable: make its field nullable to write nulls`,
      );
    }
    this.#validity().set(this.#length, false);
    this.commit(0);
  }

  /** @internal Ends the value whose bytes were just written. */
  protected commit(bytes: number): void {
    this.#bytes += bytes;
    this.#length += 1;
    const offsets = this.#offsets;
    if (offsets instanceof Int32Array) offsets[this.#length] = this.#bytes;
    else offsets[this.#length] = BigInt(this.#bytes);
  }

  /** @internal */
  protected full(bytes?: number): ArrowlaneError {
    return new ArrowlaneError(
      "ERR_OUT_OF_SPACE",
      `column ${JSON.stringify(this.#name)} has ${this.remainingBytes} of ${this.values.length} bytes left, and the ` +
        `value needs ${bytes ?? "more"}: allocate with a larger options.bytes, or send in smaller batches`,
    );
  }
}

/** A Utf8 column being filled, one string after the other, within its budget of bytes. */
export class Utf8Column extends BinaryColumn {
  /** Adds the next value, as a string or as UTF-8 bytes; see {@link BinaryColumn.append}. */
  override append(value: string | Uint8Array | null): void {
    if (typeof value !== "string") {
      super.append(value);
      return;
    }
    this.checkRow();
    const { read, written } = encoder.encodeInto(value, this.values.subarray(this.bytes));
    if (read < value.length) throw this.full();
    this.commit(written);
  }
}
