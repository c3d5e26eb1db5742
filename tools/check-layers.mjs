/**
 * The dependency rule of ARCHITECTURE.md and the house rules that a compiler does not know. Prints every violation;
 * ends with an error when there is one. Node built-ins only.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { extname, join, relative, sep } from "node:path";
import { root } from "./lib/paths.mjs";

/** Crates that each crate may use. Dependencies point one way; a crate missing here is an error. */
const mayUse = {
  "arrow-c": [],
  memory: [],
  dissociated: ["arrow-c", "memory"],
  transport: ["arrow-c", "memory", "dissociated"],
  "ucx-sys": [],
  ucx: ["arrow-c", "memory", "dissociated", "transport", "ucx-sys"],
  plane: ["arrow-c", "memory", "dissociated", "transport"],
  files: ["arrow-c"],
  flight: ["arrow-c", "memory", "dissociated", "transport", "plane"],
  tpch: ["arrow-c"],
  conformance: ["arrow-c", "memory", "dissociated", "transport"],
  node: ["arrow-c", "memory", "dissociated", "transport", "plane", "files", "flight", "ucx"],
};

const arrowMajor = "59";
const maxLines = 400;
const sources = new Set([".rs", ".ts", ".mjs", ".cjs", ".js", ".py", ".c", ".h", ".sh"]);
const texts = new Set([...sources, ".json", ".toml", ".md", ".yml", ".yaml", ".lock", ""]);
/** One file on purpose, whatever its length: people copy it beside their programs. */
const whole = new Set(["interop/python/arrowlane.py"]);
const skipped = new Set([".git", "node_modules", "dist", "dist-test", "target", ".venv", "__pycache__"]);
const generated = new Set(["index.d.ts", "flight.d.ts", "ts/native/binding.d.ts"]);

const problems = [];
const problem = (where, what) => problems.push(`${where}: ${what}`);

checkCrates();
const files = [...walk(root)];
for (const file of files) checkFile(file);
checkLockfiles();

for (const line of problems) console.log(line);
console.log(`${files.length} files, ${problems.length} problems`);
process.exitCode = problems.length > 0 ? 1 : 0;

/** Which crate uses which, and that there is one Arrow. */
function checkCrates() {
  const args = ["metadata", "--format-version", "1", "--locked"];
  const metadata = JSON.parse(
    execFileSync("cargo", args, { cwd: root, maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "inherit"] }),
  );
  const members = new Set(metadata.workspace_members);
  for (const { id, name, version, dependencies } of metadata.packages) {
    if (/^(arrow(-.*)?|parquet)$/.test(name) && !members.has(id) && version.split(".")[0] !== arrowMajor) {
      problem("Cargo.lock", `${name} ${version}: the workspace holds one Arrow major, ${arrowMajor}`);
    }
    if (!members.has(id)) continue;
    const short = name.replace(/^arrowlane-/, "");
    const allowed = mayUse[short];
    if (!allowed) {
      problem(
        `crates/${short}`,
        "a new crate: give it its place in tools/check-layers.mjs and ARCHITECTURE.md",
      );
      continue;
    }
    for (const dependency of dependencies) {
      if (short !== "node" && short !== "tpch" && dependency.name.startsWith("napi")) {
        problem(`crates/${short}`, `uses ${dependency.name}: only node knows Node-API`);
      }
      const used = dependency.name.match(/^arrowlane-(.*)$/)?.[1];
      if (!used || dependency.kind === "dev") continue;
      if (!allowed.includes(used)) problem(`crates/${short}`, `must not depend on ${used}`);
    }
  }
}

function* walk(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (skipped.has(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(path);
    else if (entry.isFile()) yield path;
  }
}

function checkFile(path) {
  const name = relative(root, path).split(sep).join("/");
  const kind = extname(name);
  if (!texts.has(kind) || generated.has(name)) return;
  const text = readFileSync(path, "utf8");
  const lines = text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
  if (sources.has(kind) && !whole.has(name) && lines > maxLines && !/@generated/.test(text.slice(0, 500))) {
    problem(name, `${lines} lines: a file over ${maxLines} holds two ideas; split it by idea`);
  }
  for (const [index, line] of text.split("\n").entries()) {
    const machine = machinePath(line);
    if (machine) problem(`${name}:${index + 1}`, `names a path of one machine: ${machine}`);
    if (/(?:index-url|(?<!unknown-|allow-)registry)\s*=\s*["']?https?:/.test(line)) {
      problem(
        `${name}:${index + 1}`,
        "names a package registry: that belongs to the machine, not to the clone",
      );
    }
  }
  if (name.startsWith("ts/") && kind === ".ts") checkTypeScript(name, text);
}

/** A path that exists on the writer's machine only: a home folder, or the place of this clone. */
function machinePath(line) {
  const home = line.match(/(?<![\w.$}~-])\/(?:root|home\/[a-z][\w-]*|Users\/[A-Za-z][\w-]*)\/[\w.-]+/)?.[0];
  if (home) return home;
  return [root, homedir()].find((path) => path.split(sep).length > 2 && line.includes(path + sep));
}

/** Who may load native code, who may use apache-arrow's values, what an entry point may hold. */
function checkTypeScript(name, text) {
  const code = text.replace(/\/\*[\s\S]*?\*\/|(?<!:)\/\/.*$/gm, "");
  if (!name.startsWith("ts/native/")) {
    if (/process\.dlopen|createRequire\([^)]*\)(?!\.resolve\b)|["'][^"'\n]*\.node["']/.test(code)) {
      problem(name, "loads native code: only ts/native does");
    }
  }
  // Benchmarks measure what people do today, which is apache-arrow itself.
  if (!name.startsWith("ts/arrow/") && !name.startsWith("ts/bench/")) {
    for (const [statement] of code.matchAll(/^(?:import|export)\b[^;]*?from\s*["']apache-arrow["']/gm)) {
      if (!/^(?:import|export)\s+type\b/.test(statement) && !onlyTypes(statement)) {
        problem(name, "uses values of apache-arrow: only ts/arrow does (import type elsewhere)");
      }
    }
  }
  if (
    /^ts\/[^/]+\.ts$/.test(name) &&
    isEntryPoint(name) &&
    /^\s*(?:export\s+)?(?:const|let|function|class)\b/m.test(code)
  ) {
    problem(name, "is an entry point: exports only, no code of its own");
  }
}

function onlyTypes(statement) {
  const names = statement.match(/\{([^}]*)\}/)?.[1];
  return names?.split(",").every((entry) => !entry.trim() || /^type\s/.test(entry.trim()));
}

/** Entry points are what package.json exports. */
function isEntryPoint(name) {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const built = name.replace(/^ts\//, "./dist/").replace(/\.ts$/, ".js");
  return Object.values(exports).some((target) => target?.default === built);
}

/** Lockfiles name packages and their hashes, never the registry of one machine. */
function checkLockfiles() {
  const packages = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  for (const [path, entry] of Object.entries(packages)) {
    if (entry.resolved)
      problem("package-lock.json", `${path} names a registry: make it with \`npm run lock\``);
    // Binaries of other platforms may be named without a hash: see tools/lock.mjs.
    if (path && !entry.integrity && !(entry.optional && entry.cpu))
      problem("package-lock.json", `${path} has no hash`);
  }
  const lock = readFileSync(join(root, "Cargo.lock"), "utf8");
  for (const [, source] of lock.matchAll(/^source = "(.*)"$/gm)) {
    if (source !== "registry+https://github.com/rust-lang/crates.io-index")
      problem("Cargo.lock", `source ${source}`);
  }
}
