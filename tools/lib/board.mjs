/** Runs a graph of steps, two at a time at most, and shows what happens: one line per step when it ends. */
import { killAll } from "./command.mjs";

const tty = process.stderr.isTTY && !process.env.CI;
const frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";
const heartbeatSeconds = 30;

/**
 * @typedef {object} Step
 * @property {string} name
 * @property {(step: {name: string, status: (line: string) => void}) => Promise<void | {note?: string,
 *   passed?: number, failed?: number, skipped?: number, details?: string}>} run
 * @property {string[]} [needs] steps that must have passed first; when one did not, this one does not run
 * @property {string[]} [after] steps that must have ended first, however they ended
 * @property {string} [lane] steps of one lane never run at the same time (cargo locks its target folder anyway)
 * @property {boolean} [alone] runs with nothing beside it: its tests measure time or kill processes
 * @property {boolean} [check] counts as one test in the sum
 */

/** Seconds since `start`, for people. */
const since = (start) => `${((performance.now() - start) / 1000).toFixed(1)} s`;

/**
 * Runs all steps and returns the sum of what they counted.
 * @param {Step[]} steps
 * @returns {Promise<{passed: number, failed: number, skipped: number}>}
 */
export async function runSteps(steps) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  const ended = new Map();
  const active = new Map();
  const waiting = [...steps];
  const width = Math.max(...steps.map((step) => step.name.length));
  const unshow = show(active, width);
  const interrupt = (signal) => {
    unshow();
    killAll(signal);
    process.exit(signal === "SIGINT" ? 130 : 143);
  };
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);

  const start = (step) => {
    const state = { name: step.name, began: performance.now(), line: "", beat: performance.now() };
    state.status = (line) => {
      state.line = line;
    };
    const done = step
      .run(state)
      .then((result) => finish(step, state, result ?? {}, total))
      .catch((error) => fail(step, state, error, total))
      .then((ok) => {
        active.delete(step.name);
        ended.set(step.name, ok);
      });
    active.set(step.name, { step, state, done });
  };

  while (waiting.length > 0 || active.size > 0) {
    for (const step of [...waiting]) {
      const required = [...(step.needs ?? []), ...(step.after ?? [])].filter((name) =>
        isPlanned(steps, name),
      );
      if (!required.every((name) => ended.has(name))) continue;
      const missing = (step.needs ?? []).filter((name) => ended.get(name) === false);
      const others = [...active.values()].map((entry) => entry.step);
      if (missing.length > 0) {
        waiting.splice(waiting.indexOf(step), 1);
        ended.set(step.name, false);
        total.failed += 1;
        print(`✗ ${step.name.padEnd(width)}           not run: needs ${missing.join(", ")}`);
        continue;
      }
      if (others.length >= 2 || others.some((other) => other.alone)) continue;
      if (step.alone && others.length > 0) continue;
      if (step.lane && others.some((other) => other.lane === step.lane)) continue;
      waiting.splice(waiting.indexOf(step), 1);
      start(step);
    }
    if (active.size > 0) await Promise.race([...active.values()].map((entry) => entry.done));
    else if (waiting.length > 0 && !waiting.some((step) => isReady(step, steps, ended))) {
      throw new Error(`steps wait for each other: ${waiting.map((step) => step.name).join(", ")}`);
    }
  }
  unshow();
  return total;

  function finish(step, state, result, sum) {
    const counted = result.passed !== undefined;
    const bad = (result.failed ?? 0) > 0;
    sum.passed += counted ? result.passed : step.check ? 1 : 0;
    sum.failed += result.failed ?? 0;
    sum.skipped += result.skipped ?? 0;
    const note = result.note ? `  ${result.note}` : "";
    print(`${bad ? "✗" : "✓"} ${step.name.padEnd(width)} ${since(state.began).padStart(9)}${note}`);
    if (result.details) print(result.details);
    return !bad;
  }

  function fail(step, state, error, sum) {
    sum.failed += 1;
    print(`✗ ${step.name.padEnd(width)} ${since(state.began).padStart(9)}  ${error.message}`);
    if (error.output) print(tail(error.output, error.log));
    else if (!error.plain) print(error.stack);
    return false;
  }
}

/** The end of a long output, with the place where all of it is. */
export function tail(output, log, lines = 200) {
  const all = output.trimEnd().split("\n");
  const cut = all.length > lines ? [`… ${all.length - lines} lines before, all of it in ${log}`] : [];
  return [...cut, ...all.slice(-lines)].map((line) => `    ${line}`).join("\n");
}

function isPlanned(steps, name) {
  return steps.some((step) => step.name === name);
}

function isReady(step, steps, ended) {
  return [...(step.needs ?? []), ...(step.after ?? [])].every(
    (name) => !isPlanned(steps, name) || ended.has(name),
  );
}

function clearLine() {
  if (tty) process.stderr.write("\r\x1b[2K");
}

function print(line) {
  clearLine();
  process.stdout.write(`${line}\n`);
}

/** Shows running steps: a moving line on a terminal, a line every half minute elsewhere. */
function show(active, width) {
  let frame = 0;
  const draw = () => {
    if (tty) {
      const parts = [...active.values()].map(({ state }) => `${state.name} ${since(state.began)}`);
      const line =
        [...active.values()]
          .map(({ state }) => state.line)
          .filter(Boolean)
          .at(0) ?? "";
      const text = `${frames[frame++ % frames.length]} ${parts.join(", ")}  ${line}`;
      // biome-ignore lint/suspicious/noControlCharactersInRegex: colours of cargo's own output
      const plain = text.replace(/\x1b\[[0-9;]*m/g, "");
      process.stderr.write(`\r\x1b[2K${plain.slice(0, (process.stderr.columns ?? 80) - 1)}`);
      return;
    }
    for (const { state } of active.values()) {
      if (performance.now() - state.beat < heartbeatSeconds * 1000) continue;
      state.beat = performance.now();
      process.stdout.write(
        `… ${state.name.padEnd(width)} ${since(state.began).padStart(9)}  ${state.line.slice(0, 100)}\n`,
      );
    }
  };
  const timer = setInterval(draw, tty ? 120 : 1000);
  return () => {
    clearInterval(timer);
    clearLine();
  };
}
