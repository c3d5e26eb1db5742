/**
 * Writes index.d.ts, the public contract, from ts/index.ts. With `--check` it writes nothing and fails when the
 * committed file says something else than the source.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { generateDtsBundle } from "dts-bundle-generator";
import { root } from "./lib/paths.mjs";

const entry = "ts/index.ts";
const target = "index.d.ts";

const [bundle] = generateDtsBundle(
  [
    {
      filePath: join(root, entry),
      libraries: { importedLibraries: ["apache-arrow"], allowedTypesLibraries: ["node"] },
      output: { noBanner: true, exportReferencedTypes: false, sortNodes: false },
    },
  ],
  { preferredConfigPath: join(root, "tsconfig.json") },
);

const text = `// Generated from ${entry} by \`npm run types\`; do not edit.\n${bundle.replaceAll("\r\n", "\n")}`;
const committed = existsSync(join(root, target)) ? readFileSync(join(root, target), "utf8") : "";
if (text === committed) {
  console.log(`${target} says what ${entry} says`);
} else if (process.argv.includes("--check")) {
  console.log(`${target} is not what ${entry} says: run \`npm run types\`, read the difference, commit it`);
  console.log(firstDifference(committed, text));
  process.exitCode = 1;
} else {
  writeFileSync(join(root, target), text);
  console.log(`${target} written`);
}

function firstDifference(before, after) {
  const [a, b] = [before.split("\n"), after.split("\n")];
  const at = b.findIndex((line, index) => line !== a[index]);
  const line = at < 0 ? b.length : at;
  return `line ${line + 1}:\n- ${a[line] ?? "(end)"}\n+ ${b[line] ?? "(end)"}`;
}
