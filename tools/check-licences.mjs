/**
 * Licences of the npm packages: what is shipped with the package is strict, tools of the build a little wider. Reads
 * package-lock.json, or another lock file that is named.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./lib/paths.mjs";

const shipped = ["Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "0BSD"];
const tools = [...shipped, "BlueOak-1.0.0", "CC-BY-4.0", "CC0-1.0", "Python-2.0", "Unlicense"];

/** True when the SPDX expression can be met with the licences allowed. */
function isAllowed(expression, allowed) {
  const flat = expression.replace(/[()]/g, "");
  // Which belongs to which is not worked out: with both, all of them have to be allowed.
  const mixed = / OR /.test(flat) && / AND /.test(flat);
  const any = mixed ? [flat.replaceAll(" OR ", " AND ")] : flat.split(/\s+OR\s+/);
  return any.some((all) => all.split(/\s+AND\s+/).every((one) => allowed.includes(one.trim())));
}

const { packages } = JSON.parse(readFileSync(process.argv[2] ?? join(root, "package-lock.json"), "utf8"));
let bad = 0;
let seen = 0;
for (const [path, { license, dev, link }] of Object.entries(packages)) {
  if (path === "" || link) continue;
  seen += 1;
  if (typeof license === "string" && isAllowed(license, dev ? tools : shipped)) continue;
  bad += 1;
  console.log(`${path}: licence ${license ?? "not named"} is not on the list in tools/check-licences.mjs`);
}
console.log(`${seen} packages, ${bad} not allowed`);
process.exitCode = bad > 0 ? 1 : 0;
