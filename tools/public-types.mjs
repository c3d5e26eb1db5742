/**
 * Writes index.d.ts and flight.d.ts, the public contract, from ts/index.ts and ts/flight.ts. What is marked `@internal` is left out, and a class whose
 * constructor is gets a private one: nobody outside makes its objects. With `--check` it writes nothing and fails when the
 * committed file says something else than the source.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { generateDtsBundle } from "dts-bundle-generator";
import ts from "typescript";
import { root } from "./lib/paths.mjs";

/** Entry points and the files that say what they export. What the first declares, the others import from it. */
const entries = [
  { entry: "ts/index.ts", target: "index.d.ts" },
  { entry: "ts/flight.ts", target: "flight.d.ts" },
];
const wrong = [];
const main = hideConstructors(bundle(entries[0].entry));
settle(entries[0], main);
for (const entry of entries.slice(1))
  settle(entry, withoutKnown(hideConstructors(bundle(entry.entry)), main));
process.exitCode = wrong.length > 0 ? 1 : 0;

/** Writes a file, or compares it with what is committed. */
function settle({ entry, target }, declarations) {
  const text = `// Generated from ${entry} by \`npm run types\`; do not edit.\n${declarations}`;
  const committed = existsSync(join(root, target)) ? readFileSync(join(root, target), "utf8") : "";
  if (text === committed) {
    console.log(`${target} says what ${entry} says`);
  } else if (process.argv.includes("--check")) {
    console.log(`${target} is not what ${entry} says: run \`npm run types\`, read the difference, commit it`);
    console.log(firstDifference(committed, text));
    wrong.push(target);
  } else {
    writeFileSync(join(root, target), text);
    console.log(`${target} written`);
  }
}

/** A bundle without what index.d.ts exports: that is imported from there, so that a class is one and the same. */
function withoutKnown(declarations, known) {
  const isExported = (statement) =>
    statement.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword);
  const exported = new Set(
    statements(known)
      .filter(isExported)
      .flatMap(({ name }) => name?.text ?? []),
  );
  const kept = statements(declarations).filter(({ name }) => !exported.has(name?.text));
  const rest = kept.map((statement) => statement.getFullText()).join("");
  const used = [...exported].filter((name) => new RegExp(`\\b${name}\\b`).test(rest)).sort();
  return `import type { ${used.join(", ")} } from "./index.js";\n${rest.trimStart().endsWith("\n") ? rest.trimStart() : `${rest.trimStart()}\n`}`;
}

function statements(declarations) {
  return [...ts.createSourceFile("bundle.d.ts", declarations, ts.ScriptTarget.Latest, true).statements];
}

function firstDifference(before, after) {
  const [a, b] = [before.split("\n"), after.split("\n")];
  const at = b.findIndex((line, index) => line !== a[index]);
  const line = at < 0 ? b.length : at;
  return `line ${line + 1}:\n- ${a[line] ?? "(end)"}\n+ ${b[line] ?? "(end)"}`;
}

/** The declarations of all that the entry point exports, in one text. */
function bundle(entry) {
  const what = {
    filePath: join(root, entry),
    libraries: { importedLibraries: ["apache-arrow"], allowedTypesLibraries: ["node"] },
    output: { noBanner: true, exportReferencedTypes: false, sortNodes: false },
  };
  try {
    const [declarations] = generateDtsBundle([what], { preferredConfigPath: join(root, "tsconfig.json") });
    return declarations.replaceAll("\r\n", "\n");
  } catch (error) {
    console.log(`${entry} has errors of its own, \`npx tsc\` names them: ${error.message}`);
    process.exit(1);
  }
}

function hideConstructors(declarations) {
  let result = declarations;
  for (const name of classesMadeInside()) {
    const head = new RegExp(`(declare (?:abstract )?class ${name}\\b[^{]*\\{\\n)(\\t#private;\\n)?`);
    // A class that others extend may not have a private one.
    const access = new RegExp(`\\bextends ${name}\\b`).test(result) ? "protected" : "private";
    result = result.replace(head, `$1$2\t${access} constructor();\n`);
  }
  return result;
}

/** Names of the classes whose constructor is marked `@internal`. */
function* classesMadeInside() {
  const marked = /\/\*\*(?:(?!\*\/)[\s\S])*@internal(?:(?!\*\/)[\s\S])*\*\/\s*constructor\(/g;
  for (const file of readdirSync(join(root, "ts"), { recursive: true })) {
    if (!file.endsWith(".ts")) continue;
    const source = readFileSync(join(root, "ts", file), "utf8");
    for (const { index } of source.matchAll(marked)) {
      yield [...source.slice(0, index).matchAll(/\bclass (\w+)/g)].at(-1)[1];
    }
  }
}
