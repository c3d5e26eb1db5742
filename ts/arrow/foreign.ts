/**
 * Shapes of apache-arrow's objects as plain properties: whatever copy of the library (ESM or CommonJS, another
 * version) made them, they are read by `typeId` and property only, never by `instanceof`, and never handed to
 * our copy's code: a CommonJS copy writing an ESM copy's table has produced unreadable streams.
 */

/** Any apache-arrow data type; which optional property is there depends on `typeId`. */
export interface AnyType {
  readonly typeId: number;
  readonly children?: readonly AnyField[] | null;
}

/** Any apache-arrow field. */
export interface AnyField {
  readonly name: string;
  readonly type: AnyType;
  readonly nullable: boolean;
  readonly metadata?: ReadonlyMap<string, string> | null;
}

/** Any apache-arrow schema. */
export interface AnySchema {
  readonly fields: readonly AnyField[];
  readonly metadata?: ReadonlyMap<string, string> | null;
}

/** Any apache-arrow Data. `offset` counts bits of bitmaps only; the other buffers are already sliced. */
export interface AnyData {
  readonly type: AnyType;
  readonly length: number;
  readonly offset: number;
  readonly nullCount: number;
  readonly values?: unknown;
  readonly valueOffsets?: unknown;
  readonly nullBitmap?: unknown;
  readonly typeIds?: unknown;
  readonly variadicBuffers?: readonly Uint8Array[] | null;
  readonly children: readonly (AnyData | undefined)[];
  readonly dictionary?: AnyVector | null;
}

/** Any apache-arrow Vector. */
export interface AnyVector {
  readonly data: readonly AnyData[];
  readonly length: number;
}

/** Any apache-arrow RecordBatch. */
export interface AnyRecordBatch {
  readonly schema: AnySchema;
  readonly data: AnyData;
  readonly numRows: number;
}

/** Any apache-arrow Table. */
export interface AnyTable {
  readonly schema: AnySchema;
  readonly batches: readonly AnyRecordBatch[];
}

const STRUCT = 13;

/** Whether `x` is a schema of any copy of apache-arrow. */
export function isSchema(x: unknown): x is AnySchema {
  const fields = property(x, "fields");
  return (
    Array.isArray(fields) && fields.every((f) => typeof property(property(f, "type"), "typeId") === "number")
  );
}

/** Whether `x` is a record batch of any copy of apache-arrow. */
export function isRecordBatch(x: unknown): x is AnyRecordBatch {
  const data = property(x, "data");
  return (
    isSchema(property(x, "schema")) &&
    property(property(data, "type"), "typeId") === STRUCT &&
    Array.isArray(property(data, "children"))
  );
}

/** Whether `x` is a table of any copy of apache-arrow. */
export function isTable(x: unknown): x is AnyTable {
  const batches = property(x, "batches");
  return isSchema(property(x, "schema")) && Array.isArray(batches) && batches.every(isRecordBatch);
}

function property(x: unknown, name: string): unknown {
  return typeof x === "object" && x !== null ? (x as Record<string, unknown>)[name] : undefined;
}
