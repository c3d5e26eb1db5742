import { ArrowlaneError } from "../errors.js";
import { agree } from "./agree.js";
import { countZeros, EMPTY, sliceBits } from "./bitmap.js";
import { aligned, bytesOf } from "./bytes.js";
import { flattenViews } from "./flat-views.js";
import type { AnyData, AnyVector } from "./foreign.js";
import { type JsonField, physicalOf } from "./json-schema.js";

/** One field's values as IPC wants them: exactly the rows asked for, offsets from 0, bitmaps from bit 0. */
export interface FlatNode {
  length: number;
  nulls: number;
  buffers: Uint8Array[];
  /** Of `buffers`, how many are variadic; given for view columns only. */
  variadic?: number;
  children: FlatNode[];
}

/** Told of each dictionary met, by the id its field has in the JSON schema. */
export type FoundDictionary = (id: number, values: AnyVector, field: JsonField) => void;

/**
 * `length` rows of `data` from `start` on. Buffers are views of the caller's memory where the bytes can go as they
 * are, and copies where offsets or bits must move. `data` may be of any copy of apache-arrow.
 */
export function flattenData(
  data: AnyData | undefined,
  field: JsonField,
  start: number,
  length: number,
  found: FoundDictionary,
): FlatNode {
  if (data === undefined || data === null) return absent(field, length, found);
  agree(data, field);
  if (field.dictionary !== undefined) {
    const bytes = field.dictionary.indexType.bitWidth >> 3;
    if (data.dictionary) found(field.dictionary.id, data.dictionary, field);
    const { nulls, bitmap } = validity(data, start, length, field);
    return { length, nulls, buffers: [bitmap, fixed(data.values, start, length, bytes)], children: [] };
  }
  const physical = physicalOf(field.type);
  // Asked for all that have no validity below: the Data of a disposed batch throws here.
  if (physical.kind === "null" || physical.kind === "union") void data.nullCount;
  const inner = (i: number, from: number, count: number) =>
    flattenData(data.children[i], childOf(field, i), from, count, found);
  if (physical.kind === "null") return { length, nulls: length, buffers: [], children: [] };
  if (physical.kind === "union") {
    const typeIds = fixed(data.typeIds, start, length, 1);
    if (!physical.dense) {
      const children = field.children.map((_, i) => inner(i, start, length));
      return { length, nulls: 0, buffers: [typeIds], children };
    }
    const ranges = denseRanges(data, field, typeIds, start, length);
    const children = field.children.map((_, i) => inner(i, ranges.begin[i], ranges.count[i]));
    return { length, nulls: 0, buffers: [typeIds, ranges.offsets], children };
  }
  const { nulls, bitmap } = validity(data, start, length, field);
  switch (physical.kind) {
    case "bool": {
      const values = bytesOf(data.values);
      const begin = data.offset + start;
      const bits =
        values.length * 8 < begin + length ? padded(values, Math.ceil((begin + length) / 8)) : values;
      return { length, nulls, buffers: [bitmap, sliceBits(bits, begin, length)], children: [] };
    }
    case "fixed":
      return {
        length,
        nulls,
        buffers: [bitmap, fixed(data.values, start, length, physical.bytes)],
        children: [],
      };
    case "binary": {
      const { offsets, begin, end } = rebased(data, start, length, physical.offsetBytes, field);
      const values = bytesOf(data.values);
      if (end > values.length) throw broken(field, `its offsets reach ${end} in ${values.length} bytes`);
      return { length, nulls, buffers: [bitmap, offsets, values.subarray(begin, end)], children: [] };
    }
    case "list": {
      const { offsets, begin, end } = rebased(data, start, length, physical.offsetBytes, field);
      return { length, nulls, buffers: [bitmap, offsets], children: [inner(0, begin, end - begin)] };
    }
    case "fixedlist": {
      const child = inner(0, start * physical.size, length * physical.size);
      return { length, nulls, buffers: [bitmap], children: [child] };
    }
    case "struct": {
      const children = field.children.map((_, i) => inner(i, start, length));
      return { length, nulls, buffers: [bitmap], children };
    }
    case "view": {
      const views = fixed(data.values, start, length, 16);
      const out = flattenViews(views, bitmap, data.variadicBuffers ?? [], (what) => broken(field, what));
      return {
        length,
        nulls,
        buffers: [bitmap, out.views, ...out.variadic],
        variadic: out.variadic.length,
        children: [],
      };
    }
    default:
      throw broken(field, `apache-arrow does not hold ${physical.kind} columns`);
  }
}

/** A column that its library never built: no rows, or rows that are all null. */
function absent(field: JsonField, length: number, found: FoundDictionary): FlatNode {
  const nothing: AnyData = {
    type: { typeId: 0 },
    length,
    offset: 0,
    nullCount: length,
    nullBitmap: new Uint8Array(Math.ceil(length / 8)),
    children: [],
  };
  if (field.dictionary !== undefined) found(field.dictionary.id, noValues(field), field);
  return flattenData(nothing, field, 0, length, found);
}

/** The same object for the same field: it is sent once. */
const withoutValues = new WeakMap<JsonField, AnyVector>();

/** The dictionary of a column that its library never built: readers want one, though nothing refers to it. */
function noValues(field: JsonField): AnyVector {
  let values = withoutValues.get(field);
  if (values === undefined) {
    const data: AnyData = {
      type: { typeId: 0 },
      length: 0,
      offset: 0,
      nullCount: 0,
      nullBitmap: EMPTY,
      children: [],
    };
    values = { length: 0, data: [data] };
    withoutValues.set(field, values);
  }
  return values;
}

function childOf(field: JsonField, i: number): JsonField {
  const child = field.children[i];
  if (child === undefined) throw broken(field, `its type lacks child ${i}`);
  return child;
}

function validity(data: AnyData, start: number, length: number, field: JsonField) {
  const { nullCount, offset } = data;
  const none = { nulls: 0, bitmap: EMPTY };
  if (length === 0 || nullCount === 0) return none;
  const nullBitmap = bytesOf(data.nullBitmap);
  if (nullBitmap.length === 0) return none;
  const begin = offset + start;
  if (nullBitmap.length * 8 < begin + length) {
    throw broken(field, `its validity bitmap has ${nullBitmap.length} bytes for ${begin + length} values`);
  }
  const whole = start === 0 && length === data.length;
  const nulls = whole ? nullCount : countZeros(nullBitmap, begin, length);
  return nulls === 0 ? none : { nulls, bitmap: sliceBits(nullBitmap, begin, length) };
}

/** The bytes of `length` values of `width` bytes; values that the library left out (all null) are zeros. */
function fixed(values: unknown, start: number, length: number, width: number): Uint8Array {
  if (length === 0 || width === 0) return EMPTY;
  const [begin, bytes] = [start * width, length * width];
  if (ArrayBuffer.isView(values) && values.byteLength >= begin + bytes) {
    return new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset + begin, bytes);
  }
  return padded(bytesOf(values), begin + bytes).subarray(begin);
}

function padded(bytes: Uint8Array, length: number): Uint8Array {
  const out = new Uint8Array(length);
  out.set(bytes);
  return out;
}

/** The offsets of `length` values from `start`, moved to begin at 0, and the range of the child they cover. */
function rebased(data: AnyData, start: number, length: number, width: 4 | 8, field: JsonField) {
  const bytes = bytesOf(data.valueOffsets);
  if (length === 0 || bytes.length === 0) {
    return { offsets: new Uint8Array((length + 1) * width), begin: 0, end: 0 };
  }
  if (bytes.length < (start + length + 1) * width) {
    throw broken(field, `it has ${bytes.length / width} offsets for ${start + length} values`);
  }
  const slice = bytes.subarray(start * width, (start + length + 1) * width);
  if (width === 4) {
    const from = aligned(slice, 4, Int32Array);
    const begin = from[0];
    const end = from[length];
    if (!(begin >= 0 && end >= begin)) throw broken(field, `its offsets run from ${begin} to ${end}`);
    if (begin === 0) return { offsets: slice, begin, end };
    return { offsets: bytesOf(from.map((offset) => offset - begin)), begin, end };
  }
  const from = aligned(slice, 8, BigInt64Array);
  const [first, last] = [from[0], from[length]];
  const [begin, end] = [Number(first), Number(last)];
  if (!(begin >= 0 && end >= begin)) throw broken(field, `its offsets run from ${begin} to ${end}`);
  if (begin === 0) return { offsets: slice, begin, end };
  return { offsets: bytesOf(from.map((offset) => offset - first)), begin, end };
}

/** For each child of a dense union, the range that these rows use, and offsets relative to it. */
function denseRanges(data: AnyData, field: JsonField, typeIds: Uint8Array, start: number, length: number) {
  const count = new Array<number>(field.children.length).fill(0);
  const begin = new Array<number>(field.children.length).fill(0);
  const bytes = fixed(data.valueOffsets, start, length, 4);
  if (length === 0 || field.type.name !== "union") return { offsets: bytes, begin, count };
  const childOfType = new Map(field.type.typeIds.map((typeId, i) => [typeId & 0xff, i]));
  const offsets = aligned(bytes, 4, Int32Array);
  const end = new Array<number>(field.children.length).fill(0);
  const low = new Array<number>(field.children.length).fill(Number.POSITIVE_INFINITY);
  for (let i = 0; i < length; i++) {
    const child = childOfType.get(typeIds[i]);
    if (child === undefined)
      throw broken(field, `row ${start + i} has the type id ${typeIds[i]}, which it lacks`);
    if (offsets[i] < low[child]) low[child] = offsets[i];
    if (offsets[i] >= end[child]) end[child] = offsets[i] + 1;
  }
  low.forEach((first, i) => {
    if (first < 0) throw broken(field, `an offset is ${first}`);
    begin[i] = Number.isFinite(first) ? first : 0;
    count[i] = end[i] - begin[i];
  });
  if (begin.every((first) => first === 0)) return { offsets: bytes, begin, count };
  const moved = offsets.map((offset, i) => offset - begin[childOfType.get(typeIds[i]) ?? 0]);
  return { offsets: bytesOf(moved), begin, count };
}

function broken(field: JsonField, what: string): ArrowlaneError {
  return new ArrowlaneError(
    "ERR_INVALID_DATA",
    `column ${JSON.stringify(field.name)} cannot be sent: ${what}. Build it with apache-arrow's own functions`,
  );
}
