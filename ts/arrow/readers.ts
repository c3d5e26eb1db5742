import { Bool, type Data, type DataType, Decimal, type Dictionary, Float, Int, Interval } from "apache-arrow";
import { ArrowlaneError } from "../errors.js";
import type { Guard } from "./guarded-array.js";
import { GuardedData } from "./guarded-data.js";
import { bufferCount, type JsonField, type Physical, physicalOf } from "./json-schema.js";
import { type BodyAccess, type ElementKind, type Layout, readBytes, readElements } from "./layout.js";

/** Builds one field's Data from a layout. Compiled once per schema: it knows its own indices into the layout. */
export type Reader = (layout: Layout, body: BodyAccess, guard: Guard) => Data;

/** The next free indices into a layout while a schema is compiled. */
export interface Cursor {
  node: number;
  /** Buffers so far, not counting the variadic ones, whose number each batch says anew. */
  buffer: number;
  variadic: number;
}

/** Moves the cursor past a field that is not read. */
export function skip(field: JsonField, cursor: Cursor): void {
  const physical: Physical =
    field.dictionary === undefined ? physicalOf(field.type) : { kind: "fixed", bytes: 4 };
  cursor.node += 1;
  cursor.buffer += bufferCount(physical);
  if (physical.kind === "view") cursor.variadic += 1;
  if (field.dictionary === undefined) for (const child of field.children) skip(child, cursor);
}

/** The reader of a field whose apache-arrow type is `type`; the cursor moves past the field and its children. */
export function compile(field: JsonField, type: DataType, cursor: Cursor): Reader {
  if (field.dictionary !== undefined) return compileDictionary(type as Dictionary, at(cursor, 2));
  const physical = physicalOf(field.type);
  const here = at(cursor, bufferCount(physical));
  const children = () =>
    field.children.map((child, i) => compile(child, (type.children ?? [])[i].type, cursor));
  switch (physical.kind) {
    case "null":
      return (layout, body, guard) => {
        const length = lengthOf(layout, here);
        return made(body, new GuardedData(guard, type, length, length, [undefined, undefined, undefined]));
      };
    case "bool":
      return (layout, body, guard) => {
        const length = lengthOf(layout, here);
        const first = firstBuffer(layout, here);
        const bitmap = validity(layout, body, here, first, length);
        const bits = readElements("u8", 1, layout, body, first + 1, (length + 7) >>> 3);
        return made(
          body,
          new GuardedData(guard, type, length, nulls(layout, here), [undefined, bits, bitmap]),
        );
      };
    case "fixed":
      return compileFixed(type, here, physical.bytes);
    case "binary": {
      const kind: ElementKind = physical.offsetBytes === 4 ? "i32" : "i64";
      return (layout, body, guard) => {
        const length = lengthOf(layout, here);
        const first = firstBuffer(layout, here);
        const bitmap = validity(layout, body, here, first, length);
        const offsets = readOffsets(kind, layout, body, first + 1, length);
        const values = readBytes(layout, body, first + 2);
        checkEnd(offsets, length, values.length, here);
        return made(
          body,
          new GuardedData(guard, type, length, nulls(layout, here), [offsets, values, bitmap]),
        );
      };
    }
    case "view": {
      here.variadic = cursor.variadic;
      cursor.variadic += 1;
      return compileView(type, here);
    }
    case "list": {
      const kind: ElementKind = physical.offsetBytes === 4 ? "i32" : "i64";
      const [child] = children();
      return (layout, body, guard) => {
        const length = lengthOf(layout, here);
        const first = firstBuffer(layout, here);
        const bitmap = validity(layout, body, here, first, length);
        const offsets = readOffsets(kind, layout, body, first + 1, length);
        const values = [child(layout, body, guard)];
        checkLists(offsets, length, values[0].length, here);
        return made(
          body,
          new GuardedData(guard, type, length, nulls(layout, here), [offsets, undefined, bitmap], values),
        );
      };
    }
    case "fixedlist":
    case "struct": {
      const readers = children();
      const size = physical.kind === "fixedlist" ? physical.size : 1;
      return (layout, body, guard) => {
        const length = lengthOf(layout, here);
        const bitmap = validity(layout, body, here, firstBuffer(layout, here), length);
        const values = readers.map((read) => read(layout, body, guard));
        checkChildren(values, length * size, here);
        return made(
          body,
          new GuardedData(guard, type, length, nulls(layout, here), [undefined, undefined, bitmap], values),
        );
      };
    }
    case "union": {
      const readers = children();
      return (layout, body, guard) => {
        const length = lengthOf(layout, here);
        const first = firstBuffer(layout, here);
        const typeIds = readElements("i8", 1, layout, body, first, length) as Int8Array;
        const offsets = physical.dense
          ? (readElements("i32", 4, layout, body, first + 1, length) as Int32Array)
          : undefined;
        const values = readers.map((read) => read(layout, body, guard));
        if (!physical.dense) checkChildren(values, length, here);
        return made(
          body,
          new GuardedData(guard, type, length, -1, [offsets, undefined, undefined, typeIds], values),
        );
      };
    }
    default:
      throw new ArrowlaneError("ERR_UNSUPPORTED_TYPE", `apache-arrow cannot hold ${physical.kind} columns`);
  }
}

function compileFixed(type: DataType, here: Cursor, bytes: number): Reader {
  const { kind, stride, alignment } = elementsOf(type, bytes);
  return (layout, body, guard) => {
    const length = lengthOf(layout, here);
    const first = firstBuffer(layout, here);
    const bitmap = validity(layout, body, here, first, length);
    const values = readElements(kind, alignment, layout, body, first + 1, length * stride);
    return made(body, new GuardedData(guard, type, length, nulls(layout, here), [undefined, values, bitmap]));
  };
}

function compileDictionary(type: Dictionary, here: Cursor): Reader {
  const { kind, alignment } = elementsOf(type.indices, type.indices.bitWidth >> 3);
  return (layout, body, guard) => {
    const length = lengthOf(layout, here);
    const first = firstBuffer(layout, here);
    const bitmap = validity(layout, body, here, first, length);
    const indices = readElements(kind, alignment, layout, body, first + 1, length);
    const values = body.dictionary(type.id);
    const count = nulls(layout, here);
    return made(body, new GuardedData(guard, type, length, count, [undefined, indices, bitmap], [], values));
  };
}

function compileView(type: DataType, here: Cursor): Reader {
  return (layout, body, guard) => {
    const length = lengthOf(layout, here);
    const first = firstBuffer(layout, here);
    const bitmap = validity(layout, body, here, first, length);
    const views = readElements("u8", 1, layout, body, first + 1, length * 16);
    const variadic: Uint8Array[] = [];
    const count = layout.variadic[here.variadic];
    for (let i = 0; i < count; i++) variadic.push(readBytes(layout, body, first + 2 + i));
    const buffers: [undefined, typeof views, Uint8Array] = [undefined, views, bitmap];
    return made(
      body,
      new GuardedData(guard, type, length, nulls(layout, here), buffers, [], undefined, variadic),
    );
  };
}

/** Takes the cursor's place for a field with `buffers` buffers. */
function at(cursor: Cursor, buffers: number): Cursor {
  const here = { ...cursor };
  cursor.node += 1;
  cursor.buffer += buffers;
  return here;
}

function made(body: BodyAccess, data: Data): Data {
  body.made(data);
  return data;
}

function lengthOf(layout: Layout, here: Cursor): number {
  const length = layout.nodes[2 * here.node];
  if (length >= 0) return length;
  throw new ArrowlaneError(
    "ERR_INVALID_DATA",
    `the batch has ${layout.nodes.length / 2} field nodes where its schema needs one at ${here.node}: its producer is at fault`,
  );
}

function nulls(layout: Layout, here: Cursor): number {
  return layout.nodes[2 * here.node + 1];
}

function firstBuffer(layout: Layout, here: Cursor): number {
  let first = here.buffer;
  for (let i = 0; i < here.variadic; i++) first += layout.variadic[i];
  return first;
}

const NO_BITMAP = new Uint8Array(0);

function validity(layout: Layout, body: BodyAccess, here: Cursor, first: number, length: number): Uint8Array {
  if (nulls(layout, here) === 0) return NO_BITMAP;
  return readElements("u8", 1, layout, body, first, (length + 7) >>> 3) as Uint8Array;
}

function readOffsets(kind: ElementKind, layout: Layout, body: BodyAccess, index: number, length: number) {
  // A column without rows may come without offsets; apache-arrow wants the first all the same.
  if (length === 0) return kind === "i32" ? new Int32Array(1) : new BigInt64Array(1);
  return readElements(kind, kind === "i32" ? 4 : 8, layout, body, index, length + 1) as
    | Int32Array
    | BigInt64Array;
}

/** Values past the end of a child would read as `undefined`, which is no value. */
function checkEnd(offsets: Int32Array | BigInt64Array, length: number, have: number, here: Cursor): void {
  const end = Number(offsets[length]);
  if (end > have) throw shortChild(here, end, have);
}

/** As {@link checkEnd}, of lists. */
function checkLists(offsets: Int32Array | BigInt64Array, length: number, have: number, here: Cursor): void {
  checkEnd(offsets, length, have, here);
  // A list of a negative or a huge length would have apache-arrow ask for memory until the process ends.
  let before = offsets[0];
  let ordered = before >= 0;
  for (let i = 1; i <= length; i++) {
    ordered &&= offsets[i] >= before;
    before = offsets[i];
  }
  if (!ordered) {
    throw new ArrowlaneError(
      "ERR_INVALID_DATA",
      `field node ${here.node} of the batch has offsets that run backwards: its producer is at fault`,
    );
  }
}

function checkChildren(children: Data[], length: number, here: Cursor): void {
  for (const child of children) if (child.length < length) throw shortChild(here, length, child.length);
}

function shortChild(here: Cursor, need: number, have: number): ArrowlaneError {
  return new ArrowlaneError(
    "ERR_INVALID_DATA",
    `field node ${here.node} of the batch refers to ${need} values where there are ${have}: its producer is at fault`,
  );
}

/** How apache-arrow 21 keeps fixed-width values: the element, elements per value, and alignment in bytes. */
export function elementsOf(
  type: DataType,
  bytes: number,
): { kind: ElementKind; stride: number; alignment: number } {
  if (type instanceof Int) return { ...integer(type.isSigned, bytes), stride: 1 };
  if (type instanceof Float) {
    const kind: ElementKind = bytes === 2 ? "u16" : bytes === 4 ? "f32" : "f64";
    return { kind, stride: 1, alignment: bytes };
  }
  // It reads decimals as 32-bit words, and then as 64-bit ones at the same address.
  if (type instanceof Decimal) return { kind: "u32", stride: bytes / 4, alignment: 8 };
  if (type instanceof Interval) return { kind: "i32", stride: bytes / 4, alignment: 4 };
  if (type instanceof Bool) return { kind: "u8", stride: 1, alignment: 1 };
  // FixedSizeBinary
  if (type.typeId === 15) return { kind: "u8", stride: bytes, alignment: 1 };
  // Date, Time, Timestamp, Duration
  return { ...integer(true, bytes), stride: 1 };
}

function integer(isSigned: boolean, bytes: number): { kind: ElementKind; alignment: number } {
  const kind = `${isSigned ? "i" : "u"}${bytes * 8}` as ElementKind;
  return { kind, alignment: bytes };
}
