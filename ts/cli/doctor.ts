/** `arrowlane doctor`. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { release } from "node:os";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { platformTag } from "../native/addon.js";
import type { NativeReport } from "../native/binding.js";
import { lane } from "../native/lane.js";
import { bytesText, Output } from "./output.js";
import type { Stop } from "./stop.js";

/** Fewer descriptors than this are soon used up: every subscriber takes one, and every segment of memory. */
const FEW_DESCRIPTORS = 256;
/** The major of apache-arrow that this version reads and writes. */
const ARROW_MAJOR = 21;

/** One line of the report: what was looked at, what was found, and why it is not as it should be. */
interface Finding {
  name: string;
  found: string;
  problem?: string;
  /** Whether batches cannot be handed over at all. */
  fatal?: boolean;
  /** For programs. */
  details?: Record<string, unknown>;
}

export function addDoctor(program: Command, stop: Stop): void {
  program
    .command("doctor")
    .description("say what this machine has, and why something is missing")
    .option("--json", "print one JSON object per line")
    .action(({ json = false }: { json?: boolean }) => {
      const output = new Output(json, stop);
      const findings = examine(program.version() ?? "");
      for (const { name, found, problem, fatal, details } of findings) {
        const mark = problem === undefined ? "✓" : fatal ? "✗" : "!";
        const reason = problem === undefined ? "" : `\n  ${problem}`;
        output.event(
          { event: "finding", name, found, ok: problem === undefined, problem: problem ?? null, ...details },
          `${mark} ${name}: ${found}${reason}`,
        );
      }
      const usable = !findings.some(({ fatal }) => fatal);
      output.event(
        { event: "end", usable },
        usable
          ? "batches can be handed over on this machine"
          : "batches cannot be handed over here, see above",
      );
      process.exitCode = usable ? 0 : 1;
    });
}

function examine(version: string): Finding[] {
  const findings = [versions(version), apacheArrow()];
  try {
    const { native: natively } = lane();
    const report = natively.report();
    findings.push(
      {
        name: "native part",
        found: `${report.version}, ${platformTag()}`,
        details: { version: report.version },
      },
      sharedMemory(report),
      { name: "transport tcp", found: "between hosts; in TLS with tls=1" },
      ucx(report),
      bodies(report),
      writtenPages(report),
      folder(report),
      wakeUp(report, natively.onLoop),
      memory(report),
    );
    const inproc = "within one process, for native code; JavaScript's subscriptions always go through shm";
    findings.splice(3, 0, { name: "transport inproc", found: inproc });
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    findings.push({ name: "native part", found: "missing", problem, fatal: true });
  }
  findings.push(descriptors());
  return findings;
}

function versions(arrowlane: string): Finding {
  const node = process.versions.node;
  const [major, minor] = node.split(".").map(Number);
  const old = major < 20 || (major === 20 && minor < 19);
  return {
    name: "versions",
    found: `arrowlane ${arrowlane}, Node ${node}, ${process.platform} ${release()} ${process.arch}`,
    problem: old ? "arrowlane needs Node 20.19 or newer" : undefined,
    details: { arrowlane, node, platform: process.platform, kernel: release(), arch: process.arch },
  };
}

function apacheArrow(): Finding {
  const name = "apache-arrow";
  const version = installedVersion(name);
  if (version === undefined) {
    const problem = `arrowlane's JavaScript API needs it: npm install ${name}@${ARROW_MAJOR} (the command line does not)`;
    return { name, found: "not installed", problem, details: { version: null } };
  }
  const wrong = Number.parseInt(version, 10) !== ARROW_MAJOR;
  const problem = wrong ? `this version of arrowlane is made for ${name} ${ARROW_MAJOR}` : undefined;
  return { name, found: version, problem, details: { version } };
}

/** The version of a package as arrowlane itself would find it. */
function installedVersion(name: string): string | undefined {
  try {
    let folder = dirname(createRequire(import.meta.url).resolve(name));
    for (;;) {
      try {
        const found = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
        if (found.name === name) return found.version;
      } catch {
        // No package.json here: it is in a folder above.
      }
      const parent = dirname(folder);
      if (parent === folder) return undefined;
      folder = parent;
    }
  } catch {
    return undefined;
  }
}

function sharedMemory({ sharedMemoryProblem: problem }: NativeReport): Finding {
  const found = problem === undefined ? "between processes: sealed memfds" : "not available";
  return { name: "transport shm", found, problem };
}

function ucx({ ucx: library, ucxProblem: problem }: NativeReport): Finding {
  const found =
    library === undefined
      ? "not available: everything else works"
      : `between hosts that trust each other: UCX ${library}`;
  return { name: "transport ucx", found, problem, details: { library: library ?? null } };
}

/** How publishers that run with this environment hand batches over. */
function bodies({ inlineReason, lendingProblem, sharedMemoryProblem }: NativeReport): Finding {
  const name = "batches";
  const fatal = lendingProblem !== undefined;
  if (fatal) {
    return { name, found: "cannot be handed over", problem: lendingProblem, fatal, details: { via: null } };
  }
  if (inlineReason === undefined) {
    return { name, found: "lent, read where they were written", details: { via: "shm" } };
  }
  const found = "sent through the socket, copied on either side";
  const problem = sharedMemoryProblem ?? inlineReason;
  return { name, found, problem, details: { via: "unix" } };
}

function writtenPages({ writtenPages: method = "none" }: NativeReport): Finding {
  const name = "pages a consumer wrote to";
  const details = { method };
  if (method === "PAGEMAP_SCAN") return { name, found: `found by ${method}`, details };
  const problem = "Linux 6.7 has PAGEMAP_SCAN, which is faster; a sandbox may forbid it";
  if (method === "none")
    return { name, found: "not found: whole batches are dropped instead", problem, details };
  return { name, found: `found by reading ${method}`, problem, details };
}

function folder({ folder: path, folderProblem: problem }: NativeReport): Finding {
  const found = path ?? "not usable";
  return {
    name: "folder of sockets",
    found,
    problem,
    fatal: problem !== undefined,
    details: { path: path ?? null },
  };
}

function wakeUp({ libuvProblem }: NativeReport, onLoop: boolean): Finding {
  const name = "wake-up";
  const details = { kind: onLoop ? "libuv" : "threadsafe-function" };
  if (onLoop) return { name, found: "the event loop's own poll handle", details };
  const problem = libuvProblem ?? "asked for by ARROWLANE_WAKEUP, or by a runtime without libuv";
  return { name, found: "a thread and a ThreadsafeFunction (about twice as slow)", problem, details };
}

function memory({ memoryAvailable, cgroupHeadroom }: NativeReport): Finding {
  const text = (bytes: number | undefined) => (bytes === undefined ? "not known" : bytesText(bytes));
  const group =
    cgroupHeadroom === undefined ? "no limit of a control group" : `control group ${text(cgroupHeadroom)}`;
  const smallest = Math.min(memoryAvailable ?? Infinity, cgroupHeadroom ?? Infinity);
  return {
    name: "memory left",
    found: `${text(memoryAvailable)} of the machine, ${group}`,
    problem:
      smallest < 2 ** 28 ? "a publisher takes up to 1 GiB unless its `memory` option says less" : undefined,
    details: { available: memoryAvailable ?? null, controlGroup: cgroupHeadroom ?? null },
  };
}

function descriptors(): Finding {
  const name = "descriptors";
  const report = process.report.getReport() as {
    userLimits?: { open_files?: { soft: unknown; hard: unknown } };
  };
  const limits = report.userLimits?.open_files;
  if (limits === undefined) return { name, found: "not known" };
  const { soft, hard } = limits;
  const few = typeof soft === "number" && soft < FEW_DESCRIPTORS;
  const problem = few
    ? "each subscriber and each segment of memory takes one: raise it with ulimit -n"
    : undefined;
  return { name, found: `up to ${soft} (can be raised to ${hard})`, problem, details: { soft, hard } };
}
