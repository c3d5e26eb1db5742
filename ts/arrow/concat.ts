import { copyBits, EMPTY } from "./bitmap.js";
import { aligned, bytesOf } from "./bytes.js";
import type { FlatNode } from "./flat-node.js";
import { type JsonField, type Physical, physicalOf } from "./json-schema.js";

/**
 * The pieces of one column as one, by copying. Batches never need it; dictionaries do, when the caller's library
 * keeps their values as several chunks, because a dictionary goes over as one.
 */
export function concatNodes(field: JsonField, pieces: FlatNode[]): FlatNode {
  if (pieces.length === 1) return pieces[0];
  const physical: Physical =
    field.dictionary === undefined
      ? physicalOf(field.type)
      : { kind: "fixed", bytes: field.dictionary.indexType.bitWidth >> 3 };
  const length = sum(pieces.map((p) => p.length));
  const nulls = sum(pieces.map((p) => p.nulls));
  const children = field.dictionary === undefined ? concatChildren(field, pieces) : [];
  const buffer = (i: number) => concatBytes(pieces.map((p) => p.buffers[i]));
  switch (physical.kind) {
    case "null":
      return { length, nulls, buffers: [], children };
    case "bool":
      return { length, nulls, buffers: [validity(pieces, nulls), bits(pieces, 1, length)], children };
    case "fixed":
      return { length, nulls, buffers: [validity(pieces, nulls), buffer(1)], children };
    case "binary":
      return {
        length,
        nulls,
        buffers: [validity(pieces, nulls), offsets(pieces, physical.offsetBytes), buffer(2)],
        children,
      };
    case "list":
      return {
        length,
        nulls,
        buffers: [validity(pieces, nulls), offsets(pieces, physical.offsetBytes)],
        children,
      };
    case "view": {
      const variadic = pieces.flatMap((p) => p.buffers.slice(2));
      return {
        length,
        nulls,
        buffers: [validity(pieces, nulls), views(pieces), ...variadic],
        variadic: variadic.length,
        children,
      };
    }
    case "union":
      return {
        length,
        nulls,
        buffers: physical.dense ? [buffer(0), denseOffsets(field, pieces)] : [buffer(0)],
        children,
      };
    default:
      return { length, nulls, buffers: [validity(pieces, nulls)], children };
  }
}

function concatChildren(field: JsonField, pieces: FlatNode[]): FlatNode[] {
  return field.children.map((child, i) =>
    concatNodes(
      child,
      pieces.map((p) => p.children[i]),
    ),
  );
}

function validity(pieces: FlatNode[], nulls: number): Uint8Array {
  return nulls === 0 ? EMPTY : bits(pieces, 0, sum(pieces.map((p) => p.length)));
}

function bits(pieces: FlatNode[], index: number, length: number): Uint8Array {
  const out = new Uint8Array(Math.ceil(length / 8));
  let at = 0;
  for (const piece of pieces) {
    copyBits(out, at, piece.buffers[index], piece.length);
    at += piece.length;
  }
  return out;
}

function concatBytes(parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(sum(parts.map((p) => p.length)));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function offsets(pieces: FlatNode[], width: 4 | 8): Uint8Array {
  const length = sum(pieces.map((p) => p.length));
  const out = width === 4 ? new Int32Array(length + 1) : new BigInt64Array(length + 1);
  let base = 0;
  let at = 0;
  for (const piece of pieces) {
    const from =
      width === 4 ? aligned(piece.buffers[1], 4, Int32Array) : aligned(piece.buffers[1], 8, BigInt64Array);
    for (let i = 1; i <= piece.length; i++) {
      const end = base + Number(from[i]);
      out[at + i] = (width === 4 ? end : BigInt(end)) as never;
    }
    at += piece.length;
    base = Number(out[at]);
  }
  return bytesOf(out);
}

function views(pieces: FlatNode[]): Uint8Array {
  const out = new Int32Array(sum(pieces.map((p) => p.length)) * 4);
  let at = 0;
  let before = 0;
  for (const piece of pieces) {
    const words = aligned(piece.buffers[1], 4, Int32Array);
    out.set(words, at);
    for (let i = 0; i < words.length; i += 4) if (words[i] > 12) out[at + i + 2] += before;
    at += words.length;
    before += piece.buffers.length - 2;
  }
  return bytesOf(out);
}

function denseOffsets(field: JsonField, pieces: FlatNode[]): Uint8Array {
  const typeIds = field.type.name === "union" ? field.type.typeIds : [];
  const childOfType = new Map(typeIds.map((typeId, i) => [typeId & 0xff, i]));
  const out = new Int32Array(sum(pieces.map((p) => p.length)));
  const base = new Array<number>(field.children.length).fill(0);
  let at = 0;
  for (const piece of pieces) {
    const from = aligned(piece.buffers[1], 4, Int32Array);
    for (let i = 0; i < piece.length; i++) {
      out[at + i] = from[i] + base[childOfType.get(piece.buffers[0][i]) ?? 0];
    }
    at += piece.length;
    piece.children.forEach((child, i) => {
      base[i] += child.length;
    });
  }
  return bytesOf(out);
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}
