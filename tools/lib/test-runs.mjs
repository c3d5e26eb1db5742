/** Runs cargo's and Jest's tests and counts what they say. Node built-ins only. */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { tail } from "./board.mjs";
import { command } from "./command.mjs";
import { cargoEnv, logsDir, venvPython } from "./paths.mjs";
import { packageBin } from "./tasks.mjs";

/** The tests' Python; it writes no caches into the clone. */
const pythonEnv = { ARROWLANE_PYTHON: venvPython, PYTHONDONTWRITEBYTECODE: "1" };

/** All tests of the workspace, documentation examples included; goes on after a failing crate. */
export async function cargoTests(step, pattern) {
  const args = ["test", "--workspace", "--no-fail-fast", ...(pattern ? ["--", pattern] : [])];
  const env = { ...cargoEnv, ...pythonEnv };
  const { code, output, log } = await command(step, "cargo", args, { env, allowFailure: true, minutes: 20 });
  const sum = { passed: 0, failed: 0, skipped: 0 };
  const results = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/gm;
  for (const [, passed, failed, ignored] of output.matchAll(results)) {
    sum.passed += Number(passed);
    sum.failed += Number(failed);
    sum.skipped += Number(ignored);
  }
  // A crate that does not compile, or a test process that died, has no line of its own.
  if (code !== 0 && sum.failed === 0) sum.failed = 1;
  return report(sum, code, output, log);
}

/** Jest's tests; a file that could not run at all counts as one failure. */
export async function jestTests(step, pattern) {
  mkdirSync(logsDir, { recursive: true });
  const file = join(logsDir, "jest.json");
  rmSync(file, { force: true });
  const nodeArgs = ["--experimental-vm-modules", "--expose-gc", "--disable-warning=ExperimentalWarning"];
  const args = ["--ci", "--colors=false", "--passWithNoTests", "--json", `--outputFile=${file}`];
  const options = { nodeArgs, env: pythonEnv, allowFailure: true, minutes: 15 };
  const all = pattern ? [...args, pattern] : args;
  const { code, output, log } = await packageBin(step, "jest/bin/jest.js", all, options);
  const sum = { passed: 0, failed: 0, skipped: 0 };
  if (existsSync(file)) {
    const result = JSON.parse(readFileSync(file, "utf8"));
    sum.passed = result.numPassedTests;
    sum.failed = result.numFailedTests + result.numRuntimeErrorTestSuites;
    sum.skipped = result.numPendingTests + result.numTodoTests;
  }
  if (code !== 0 && sum.failed === 0) sum.failed = 1;
  return report(sum, code, output, log);
}

function report(sum, code, output, log) {
  const skipped = sum.skipped > 0 ? `, ${sum.skipped} skipped` : "";
  const note = `${sum.passed} passed, ${sum.failed} failed${skipped}`;
  return { ...sum, note, ...(code === 0 ? {} : { details: tail(output, log) }) };
}
