// The native addon that makes TPC-H tables (crates/tpch). To arrowlane it is somebody else's.
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";

const folder = new URL("../native/", import.meta.url);

function load() {
  let file;
  try {
    file = readdirSync(folder).find((name) => name.startsWith("tpch.") && name.endsWith(".node"));
  } catch {
    // Said below.
  }
  if (file === undefined)
    throw new Error("the addon that makes the data is missing: `npm run demo` builds it");
  return createRequire(import.meta.url)(new URL(file, folder).pathname);
}

export const tpch = load();
