/**
 * `npm test`: does all the set-up, then every check and every test, and ends with one line, `N passed, N failed`.
 *
 *     npm test                           everything
 *     npm test -- --only cargo           one part: checks, cargo or jest
 *     npm test -- PATTERN                jest tests whose path matches
 *     npm test -- --only cargo PATTERN   cargo tests whose name matches
 *
 * Node built-ins only: it runs before the npm packages are installed.
 */
import { parseArgs } from "node:util";
import { testBuildSteps } from "./build.mjs";
import { runSteps } from "./lib/board.mjs";
import { command } from "./lib/command.mjs";
import { cargoEnv } from "./lib/paths.mjs";
import {
  cargoDenyPath,
  cargoDenyTool,
  checkTools,
  npmPackages,
  packageBin,
  pythonEnvironment,
} from "./lib/tasks.mjs";
import { cargoTests, jestTests } from "./lib/test-runs.mjs";

const parts = ["checks", "cargo", "jest"];
const { values, positionals } = parseArgs({
  options: { only: { type: "string" }, help: { type: "boolean", short: "h" } },
  allowPositionals: true,
});
if (values.help || (values.only && !parts.includes(values.only))) {
  console.log(`usage: npm test [-- [--only ${parts.join("|")}] [PATTERN]]`);
  process.exit(values.help ? 0 : 2);
}
const pattern = positionals[0];
const only = values.only ?? (pattern ? "jest" : undefined);
const wanted = (part) => only === undefined || only === part;

const node =
  (file, args = []) =>
  (step) =>
    command(step, process.execPath, [file, ...args]);
const cargo = (args) => (step) => command(step, "cargo", args, { env: cargoEnv });

const setUp = [
  { name: "tools", run: checkTools },
  { name: "npm packages", needs: ["tools"], run: npmPackages },
];
const python = { name: "python", needs: ["tools"], run: pythonEnvironment };

/** Quick ones first, so that a slip is seen before anything is compiled. */
const checks = [
  check("layers", ["tools"], node("tools/check-layers.mjs")),
  check("npm licences", ["tools"], node("tools/check-licences.mjs")),
  check("cargo fmt", ["tools"], cargo(["fmt", "--all", "--check"])),
  check("biome", ["npm packages"], (step) =>
    packageBin(step, "@biomejs/biome/bin/biome", ["check", "--error-on-warnings", "--colors=off", "."]),
  ),
  { name: "cargo-deny tool", needs: ["tools"], lane: "cargo", run: cargoDenyTool },
  {
    ...check("cargo-deny", ["cargo-deny tool"], (step) =>
      command(step, cargoDenyPath, [
        "--color",
        "never",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
      ]),
    ),
    lane: "cargo",
  },
  {
    ...check(
      "clippy",
      ["tools"],
      cargo(["clippy", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"]),
    ),
    lane: "cargo",
  },
  check("tsc", ["npm packages", "native (debug)"], (step) =>
    packageBin(step, "typescript/bin/tsc", ["-p", "tsconfig.json", "--pretty", "false"]),
  ),
  check("index.d.ts", ["npm packages", "native (debug)"], node("tools/public-types.mjs", ["--check"])),
];

const cargoSteps = [
  {
    name: "cargo test",
    needs: ["tools"],
    after: ["python", "native (debug)"],
    lane: "cargo",
    run: (step) => cargoTests(step, only === "cargo" ? pattern : undefined),
  },
];

const jestSteps = [
  {
    name: "jest",
    needs: ["npm packages", "native (debug)"],
    after: ["python", ...[...checks, ...cargoSteps].map((step) => step.name)],
    alone: true,
    run: (step) => jestTests(step, pattern),
  },
];

const began = performance.now();
const total = await runSteps([
  ...setUp,
  ...(wanted("checks") ? checks : []),
  ...testBuildSteps({ everything: wanted("cargo") }),
  ...(wanted("cargo") || wanted("jest") ? [python] : []),
  ...(wanted("cargo") ? cargoSteps : []),
  ...(wanted("jest") ? jestSteps : []),
]);
console.log(`took ${((performance.now() - began) / 1000).toFixed(0)} s`);
const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : "";
console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
process.exitCode = total.failed > 0 ? 1 : 0;

function check(name, needs, run) {
  return { name, needs, check: true, run: async (step) => void (await run(step)) };
}
