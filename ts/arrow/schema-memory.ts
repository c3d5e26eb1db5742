import type { AnyField, AnySchema, AnyType } from "./foreign.js";
import type { JsonSchema } from "./json-schema.js";
import { schemaToJson } from "./schema-to-json.js";

type Metadata = ReadonlyMap<string, string> | null | undefined;

/** What a schema was made of when its JSON was made; types are never changed once made. */
interface Known {
  fields: { name: string; type: AnyType; nullable: boolean; metadata: Map<string, string> }[];
  metadata: Map<string, string>;
  json: JsonSchema;
}

/** By the type of the first field: apache-arrow makes new schemas and fields for every batch, but keeps the types. */
const byType = new WeakMap<AnyType, Known[]>();
/** By content, for the same schema made anew. */
const byContent = new Map<string, JsonSchema>();
const CONTENTS = 64;
const CANDIDATES = 8;

/** The JSON of a schema: the same object for the same schema, in whatever objects of whatever copy it comes. */
export function rememberedSchema(schema: AnySchema): JsonSchema {
  const first = schema.fields[0]?.type;
  const candidates = first === undefined ? undefined : byType.get(first);
  const known = candidates?.find((candidate) => isSame(schema, candidate));
  if (known !== undefined) return known.json;
  const json = byContentOf(schemaToJson(schema));
  if (first !== undefined) {
    byType.set(first, [remember(schema, json), ...(candidates ?? [])].slice(0, CANDIDATES));
  }
  return json;
}

function byContentOf(fresh: JsonSchema): JsonSchema {
  const content = JSON.stringify(fresh);
  const json = byContent.get(content) ?? fresh;
  // Last used, last forgotten.
  byContent.delete(content);
  byContent.set(content, json);
  if (byContent.size > CONTENTS) byContent.delete(byContent.keys().next().value as string);
  return json;
}

function remember({ fields, metadata }: AnySchema, json: JsonSchema): Known {
  const copy = ({ name, type, nullable, metadata: own }: AnyField) => ({
    name,
    type,
    nullable,
    metadata: new Map(own ?? []),
  });
  return { fields: fields.map(copy), metadata: new Map(metadata ?? []), json };
}

function isSame({ fields, metadata }: AnySchema, known: Known): boolean {
  if (fields.length !== known.fields.length || !sameMetadata(metadata, known.metadata)) return false;
  for (let i = 0; i < fields.length; i++) {
    const [a, b] = [fields[i], known.fields[i]];
    if (a.type !== b.type || a.name !== b.name || a.nullable !== b.nullable) return false;
    if (!sameMetadata(a.metadata, b.metadata)) return false;
  }
  return true;
}

function sameMetadata(a: Metadata, b: Map<string, string>): boolean {
  if (!a) return b.size === 0;
  if (a.size !== b.size) return false;
  if (a.size === 0) return true;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}
