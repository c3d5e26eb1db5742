import type { DataType, Vector } from "apache-arrow";

/** The columns of a batch whose schema the caller does not state: every name, of any type. */
// biome-ignore lint/suspicious/noExplicitAny: what is not known cannot be stated more narrowly
export type UnknownColumns = any;

/** A column of a batch: an apache-arrow Vector over the batch's bytes. */
export interface Column<T extends DataType = UnknownColumns> extends Vector<T> {
  /**
   * The bytes of a uint8 or fixed-size binary column as values of another fixed-width type: any but booleans and nested ones.
   * Never a copy; what it gives ends with the batch.
   *
   * A uint8 column of n × w bytes has n values of w bytes. A fixed-size binary one has as many values as rows where the widths
   * are the same, and k times as many where a row has k times the width. Nulls stay where the widths are the same, and are
   * refused elsewhere. Throws `ERR_INVALID_ARGUMENT` where the column or the type are none of these, or the widths do not
   * fit; `ERR_ALIGNMENT` where the bytes do not lie as the type needs them.
   *
   * ```js
   * const samples = batch.column("payload").reinterpret(new Float32()); // apache-arrow's Float32
   * ```
   */
  reinterpret<R extends DataType>(type: R): Column<R>;
}
