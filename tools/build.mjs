/**
 * `npm run build`: a release build into dist/. `--dev` builds what the tests run instead: the binding with debug
 * assertions into ts/native and dist-test/native.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runSteps } from "./lib/board.mjs";
import { root } from "./lib/paths.mjs";
import { checkTools, linkCommand, nativeAddons, npmPackages, typeScript } from "./lib/tasks.mjs";

/** Addons that are no part of the package lie beside what uses them. */
const demoFolder = "examples/native";

/**
 * The steps of a release build, in order, for this tool and for the demo. Both compile the demo's addon as well: one
 * choice of features for both, so that the one does not compile again what the other has.
 */
export function releaseSteps() {
  return [
    { name: "tools", run: checkTools },
    { name: "npm packages", needs: ["tools"], run: npmPackages },
    {
      name: "native (release)",
      needs: ["tools"],
      lane: "cargo",
      run: async (step) => {
        ignoredFolder(demoFolder);
        await nativeAddons(step, "release", { binding: ["ts/native", "dist/native"], tpch: [demoFolder] });
      },
    },
    {
      name: "typescript",
      needs: ["npm packages", "native (release)"],
      run: (step) => typeScript(step, "tsconfig.build.json", "dist"),
    },
    { name: "command", needs: ["typescript"], run: linkCommand },
  ];
}

/** The steps that make what the tests run, for this tool and for `npm test`, which goes on with `everything`. */
export function testBuildSteps({ everything = false } = {}) {
  return [
    {
      name: "native (debug)",
      needs: ["tools"],
      lane: "cargo",
      check: true,
      run: async (step) => {
        ignoredFolder("dist-test");
        const folders = { binding: ["ts/native", "dist-test/native"], tpch: ["dist-test/native"] };
        await nativeAddons(step, "dev", folders, { everything });
      },
    },
  ];
}

/** Makes a folder that git ignores by its own word. */
export function ignoredFolder(name) {
  mkdirSync(join(root, name), { recursive: true });
  writeFileSync(join(root, name, ".gitignore"), "*\n");
}

if (import.meta.filename === process.argv[1]) {
  const dev = process.argv.includes("--dev");
  const steps = dev ? [{ name: "tools", run: checkTools }, ...testBuildSteps()] : releaseSteps();
  const { failed } = await runSteps(steps);
  process.exitCode = failed > 0 ? 1 : 0;
}
