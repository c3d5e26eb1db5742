/**
 * `npm run demo -- [--sf 1] [FILE]`: does all the set-up (npm packages, release build), then runs examples/demo.mjs
 * with the same arguments. Node built-ins only: it runs before the npm packages are installed.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { releaseSteps } from "./build.mjs";
import { runSteps } from "./lib/board.mjs";
import { root } from "./lib/paths.mjs";

const { failed } = await runSteps(releaseSteps());
if (failed > 0) {
  console.error("the set-up failed, see above; the demo was not started");
  process.exit(1);
}

const demo = spawn(process.execPath, [join(root, "examples", "demo.mjs"), ...process.argv.slice(2)], {
  stdio: "inherit",
});
// The demo's own processes close cleanly on the signals; this one only hands them on and waits.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => demo.kill(signal));
demo.on("exit", (code, signal) => {
  process.exitCode = code ?? (signal === "SIGINT" ? 130 : 143);
});
