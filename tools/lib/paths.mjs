/** Where things lie: the clone, the cache outside it, the names of native binaries. Node built-ins only. */
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The clone's top folder. */
export const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/[\\/]$/, "");

/** Everything heavy lives here, outside the clone: cargo's target, tools, the Python environment, logs. */
export const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "arrowlane");

export const targetDir = process.env.CARGO_TARGET_DIR || join(cache, "target");
export const toolsDir = join(cache, "tools");
export const logsDir = join(cache, "logs");
export const venvDir = join(cache, "venv");
export const npmCache = join(cache, "npm");

/** napi-derive writes the binding's type definitions here while the crate compiles. */
export const typeDefDir = join(targetDir, "napi-type-def");

const windows = process.platform === "win32";

/** The Python interpreter of the tests' own virtual environment. */
export const venvPython = windows ? join(venvDir, "Scripts", "python.exe") : join(venvDir, "bin", "python");

/** Name of an executable on this platform. */
export const exe = (name) => (windows ? `${name}.exe` : name);

/**
 * Environment of every cargo call. All calls share it, because the build scripts of the addon crates depend on the
 * type definition folder: a call without it would rebuild them.
 */
export const cargoEnv = { CARGO_TARGET_DIR: targetDir, NAPI_TYPE_DEF_TMP_FOLDER: typeDefDir };

/** Platform part of a native binary's file name, e.g. `linux-x64-gnu`, as `ts/native` looks for it. */
export function platformTag() {
  const { platform, arch } = process;
  if (platform === "linux") {
    const glibc = process.report?.getReport().header.glibcVersionRuntime;
    return `linux-${arch}-${glibc ? "gnu" : "musl"}`;
  }
  return windows ? `win32-${arch}-msvc` : `${platform}-${arch}`;
}

/** File that cargo makes for a cdylib crate, e.g. `libarrowlane_node.so`. */
export function cdylibName(crate) {
  const name = crate.replaceAll("-", "_");
  if (windows) return `${name}.dll`;
  return process.platform === "darwin" ? `lib${name}.dylib` : `lib${name}.so`;
}
