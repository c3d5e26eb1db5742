/** The Python halves of `arrowlane bench python` do what they are timed for: every value is checked on the way. */
import { join } from "node:path";
import { afterEach, expect, test } from "@jest/globals";
import { Raw } from "../process/raw.js";
import { freshTopic } from "../support.js";
import { describePython, MODULE } from "./python-support.js";

const running: Raw[] = [];
afterEach(async () => {
  for (const one of running.splice(0)) {
    one.kill();
    await one.ended;
  }
});

function half(...args: (string | number)[]): Raw {
  const program = [join(MODULE, "handoff.py"), ...args.map(String)];
  const made = new Raw(process.env.ARROWLANE_PYTHON ?? "python3", program, { PYTHONDONTWRITEBYTECODE: "1" });
  running.push(made);
  return made;
}

describePython("the Python halves of the benchmark", () => {
  test.each([4096, 1 << 20])("ask and answer with %i bytes", async (payload) => {
    const name = freshTopic();
    const asks = half("ask", name, payload, 5, 20);
    await asks.said("ready");
    const answers = half("answer", name, payload, 5, 20);
    const { p50, p99 } = JSON.parse(await asks.fate());
    expect(p50 > 0 && p99 >= p50).toBe(true);
    expect(await answers.fate()).toBe("{}");
  });

  test.each(["copy", "in-place"])("by hand, %s", async (mode) => {
    const { p50, p99 } = JSON.parse(await half("by-hand", mode, 4096, 5, 20, -1).fate());
    expect(p50 > 0 && p99 >= p50).toBe(true);
  });
});
