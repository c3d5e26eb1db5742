import { createRequire } from "node:module";
import { ArrowlaneError } from "../errors.js";
import type * as Binding from "./binding.js";

type Addon = typeof Binding;

const require = createRequire(import.meta.url);
let loaded: Addon | undefined;

/**
 * The native addon, loaded on first use: importing arrowlane succeeds everywhere. Throws
 * `ERR_UNSUPPORTED_PLATFORM` with what the system said, unshortened.
 */
export function addon(): Addon {
  loaded ??= load();
  return loaded;
}

function load(): Addon {
  const file = `./arrowlane.${platformTag()}.node`;
  try {
    return require(file) as Addon;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ArrowlaneError(
      "ERR_UNSUPPORTED_PLATFORM",
      `arrowlane has no working native part for ${platformTag()} (${file}: ${why}). ` +
        "It needs unix sockets that tell whose a peer is (Linux, macOS, Windows) and Node's own ABI; inside a clone, run `npm run build`.",
      { cause },
    );
  }
}

/** What the addon's file is named after: platform, processor, C library. */
export function platformTag(): string {
  const { platform, arch } = process;
  if (platform !== "linux") return platform === "win32" ? `${platform}-${arch}-msvc` : `${platform}-${arch}`;
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return `${platform}-${arch}-${report.header?.glibcVersionRuntime === undefined ? "musl" : "gnu"}`;
}
