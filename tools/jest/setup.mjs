/** Before all tests: compiles ts/ into dist-test/ for child processes, and says where things are. */
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { platformTag, root, venvPython } from "../lib/paths.mjs";

export default function setup() {
  const dist = join(root, "dist-test");
  mkdirSync(join(dist, "native"), { recursive: true });
  writeFileSync(join(dist, ".gitignore"), "*\n");
  compile();
  copyBinding(dist);
  process.env.ARROWLANE_DIST = dist;
  if (!process.env.ARROWLANE_PYTHON && existsSync(venvPython)) process.env.ARROWLANE_PYTHON = venvPython;
}

/** Type errors do not stop the tests: `npm test` has a step of its own for them. */
function compile() {
  if (!existsSync(join(root, "ts", "index.ts"))) return;
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  try {
    execFileSync(process.execPath, [tsc, "-p", "tsconfig.test.json", "--pretty", "false"], {
      cwd: root,
      stdio: "pipe",
    });
  } catch (error) {
    console.warn(`tsc found errors; dist-test/ was made all the same:\n${error.stdout}`);
  }
}

/** The newest binding in ts/native is the one that child processes load too. */
function copyBinding(dist) {
  const name = `arrowlane.${platformTag()}.node`;
  const source = join(root, "ts", "native", name);
  const target = join(dist, "native", name);
  if (!existsSync(source)) {
    console.warn(
      `ts/native/${name} is missing: tests of the binding will fail. \`npm run build:dev\` makes it.`,
    );
    return;
  }
  if (existsSync(target) && statSync(target).mtimeMs >= statSync(source).mtimeMs) return;
  copyFileSync(source, `${target}.${process.pid}.part`);
  renameSync(`${target}.${process.pid}.part`, target);
}
