/**
 * `npm run lock`: writes package-lock.json anew from package.json.
 *
 * npm leaves binaries of other platforms out of a lockfile when they are installed already (npm/cli#4828) or when the
 * registry at hand does not carry them, and then `npm ci` refuses the lockfile, here and on every other platform. So
 * this tool locks in an empty folder and names what is still missing: the parent package asks for an exact version,
 * and platform and processor follow from the name. Such entries have no hash until a registry that has them is used.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./lib/paths.mjs";

const folder = mkdtempSync(join(tmpdir(), "arrowlane-lock-"));
for (const name of ["package.json", ".npmrc"]) copyFileSync(join(root, name), join(folder, name));
execFileSync("npm", ["install", "--package-lock-only", "--ignore-scripts"], {
  cwd: folder,
  stdio: "inherit",
});
const lock = JSON.parse(readFileSync(join(folder, "package-lock.json"), "utf8"));
rmSync(folder, { recursive: true });

const added = [];
for (const [path, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (isLocked(path, name) || !/^\d/.test(version)) continue;
    lock.packages[`node_modules/${name}`] = platformEntry(name, version, entry);
    added.push(name);
  }
}
const { "": top, ...rest } = lock.packages;
const sorted = Object.entries(rest).sort(([a], [b]) => a.localeCompare(b, "en"));
lock.packages = { "": top, ...Object.fromEntries(sorted) };
writeFileSync(join(root, "package-lock.json"), `${JSON.stringify(lock, null, 2)}\n`);
console.log(`package-lock.json: ${sorted.length} packages, ${added.length} of them named without a hash`);

function isLocked(path, name) {
  return Boolean(lock.packages[`node_modules/${name}`] || lock.packages[`${path}/node_modules/${name}`]);
}

/** An entry as npm writes it, from a name such as `@swc/core-linux-x64-musl`. */
function platformEntry(name, version, parent) {
  const os = name.match(/\b(android|darwin|freebsd|linux|openharmony|win32)\b/)?.[1];
  const cpu = name.match(/\b(arm64|x64|ia32|ppc64|s390x|riscv64|loong64|wasm32|arm)\b/)?.[1];
  if (!cpu || (!os && cpu !== "wasm32")) throw new Error(`${name}: no platform in the name; add it by hand`);
  const libc = /musl/.test(name) ? ["musl"] : os === "linux" ? ["glibc"] : undefined;
  return {
    version,
    cpu: [cpu],
    ...(parent.dev ? { dev: true } : {}),
    ...(libc ? { libc } : {}),
    license: parent.license,
    optional: true,
    ...(os ? { os: [os] } : {}),
  };
}
