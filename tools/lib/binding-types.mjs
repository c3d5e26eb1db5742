/**
 * Writes the binding's type definitions from what napi-derive left behind while the crate compiled: one JSON object
 * per line, `{kind, name, js_doc, def, …}`. The kinds are napi-derive's; a kind this file does not know is an error,
 * because a definition that is left out would be noticed much later.
 */
import { existsSync, readFileSync } from "node:fs";

const header = `// Generated from crates/node by tools/build.mjs; do not edit.
/* eslint-disable */
/** A value that only native code can look into. */
export declare class ExternalObject<T> {
  readonly "": { readonly "": unique symbol; [K: symbol]: T };
}
`;

/** The text of `binding.d.ts`, or undefined when the crate was compiled without the definitions being written. */
export function bindingTypes(file) {
  if (!existsSync(file)) return undefined;
  const lines = new Set(readFileSync(file, "utf8").split("\n").filter(Boolean));
  const definitions = [...lines].map((line) => JSON.parse(line));
  const members = new Map();
  const bases = new Map();
  for (const { kind, name, def } of definitions) {
    if (kind === "impl") members.set(name, [...(members.get(name) ?? []), def]);
    if (kind === "extends") bases.set(name, def);
  }
  const blocks = definitions
    .filter(({ kind }) => kind !== "impl" && kind !== "extends")
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map((definition) => definition.js_doc + declaration(definition, members, bases));
  return `${header}\n${blocks.join("\n\n")}\n`;
}

function declaration({ kind, name, def }, members, bases) {
  switch (kind) {
    case "struct": {
      const base = bases.has(name) ? ` extends ${bases.get(name)}` : "";
      return `export declare class ${name}${base} ${block([def, ...(members.get(name) ?? [])].filter(Boolean).join("\n"))}`;
    }
    case "interface":
      return `export interface ${name} ${block(def)}`;
    case "type":
      return `export type ${name} = ${def};`;
    case "enum":
    case "string_enum":
      return `export declare enum ${name} ${block(def)}`;
    case "fn":
      return `export declare ${def};`;
    case "const":
      return `${def.replace(/^export const/, "export declare const")};`;
    default:
      throw new Error(
        `napi-derive wrote a definition of kind "${kind}" (${name}): teach tools/lib/binding-types.mjs`,
      );
  }
}

function block(body) {
  if (!body) return "{}";
  const lines = body.split("\n").map((line) => (line ? `  ${line}` : line));
  return `{\n${lines.join("\n")}\n}`;
}
