/** Peers of the network transports and of Flight, in Python (`__test__/interop/python`): pyarrow, and what its standard library has. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe } from "@jest/globals";
import { FileWriter } from "../../ts/files.js";
import type { Server } from "../../ts/flight/server.js";
import type { Transfer } from "../../ts/flight/transfer.js";
import { Raw } from "../process/raw.js";
import { ROOT } from "../support.js";

/** Where the peers are. */
const SCRIPTS = join(ROOT, "__test__", "interop", "python");
const interpreter = process.env.ARROWLANE_PYTHON ?? "python3";
const PLAIN = { PYTHONDONTWRITEBYTECODE: "1", UCX_LOG_LEVEL: "fatal", UCX_HANDLE_ERRORS: "none" };

/** Whether Python can do something; in CI it has to. */
function usable(code: string, missing: string): boolean {
  const { status, stderr } = spawnSync(interpreter, ["-c", code], { env: { ...process.env, ...PLAIN } });
  if (status === 0) return true;
  if (process.env.CI !== undefined) throw new Error(`${missing}: ${stderr}`);
  console.warn(`${missing}: it is not tested as a peer`);
  return false;
}

const python = usable("import pyarrow.flight", "there is no Python with pyarrow (ARROWLANE_PYTHON)");
const library =
  "import ctypes, os; p = os.environ.get('ARROWLANE_UCX_LIBRARY', 'libucp.so.0'); ctypes.CDLL(os.path.join(p, 'libucp.so.0') if os.path.isdir(p) else p)";
// UCX is for Linux.
const ucx =
  python &&
  process.platform === "linux" &&
  usable(library, "there is no libucp.so.0 (Debian: apt install libucx0)");

/** `describe`, left out where there is no Python with pyarrow. */
export const describePeers: (name: string, tests: () => void) => void = python ? describe : describe.skip;

/** The networks that there are peers for on this machine. */
export const NETWORKS: ("tcp" | "ucx")[] = ucx ? ["tcp", "ucx"] : ["tcp"];

/** What one of the scripts says, line by line, as JSON. */
export class Peer extends Raw {
  #read = 0;

  constructor(script: string, ...args: string[]) {
    super(interpreter, [join(SCRIPTS, `${script}.py`), ...args], PLAIN);
  }

  tell(line: string): void {
    this.process.stdin?.write(`${line}\n`);
  }

  /** The next line that it says. */
  async says<T = Record<string, unknown>>(): Promise<T> {
    const at = this.#read++;
    while (this.lines.length <= at && this.process.exitCode === null) {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    if (this.lines.length <= at) await this.fate();
    if (this.lines.length <= at) throw new Error(`the peer ended: ${this.lines.join("|")}`);
    return JSON.parse(this.lines[at]) as T;
  }
}

/** What a test starts; ends with it. */
export class Peers {
  #worker: Peer | undefined;
  #busy = false;
  readonly #peers: Peer[] = [];
  readonly #servers: Server[] = [];
  readonly #transfers: Transfer[] = [];
  /** A folder of its own. */
  readonly folder = mkdtempSync(join(tmpdir(), "arrowlane-peers-"));

  start(script: string, ...args: string[]): Peer {
    const peer = new Peer(script, ...args);
    this.#peers.push(peer);
    return peer;
  }

  /** Has Python do something; what it said. */
  async peer<T = Record<string, unknown>>(...command: string[]): Promise<T> {
    this.#worker ??= new Peer("peer", "work");
    this.#busy = true;
    this.#worker.tell(JSON.stringify(command));
    const told = await this.#worker.says<T & { failed?: string }>();
    this.#busy = false;
    if (told.failed !== undefined) throw new Error(`${command.join(" ")}: ${told.failed}`);
    return told;
  }

  serves(server: Server): Server {
    this.#servers.push(server);
    return server;
  }

  fetches(transfer: Transfer): Transfer {
    this.#transfers.push(transfer);
    return transfer;
  }

  /** The IPC stream of a dataset, made by pyarrow. */
  async dataset(name: string): Promise<string> {
    await this.peer("write", this.folder, name);
    return join(this.folder, `${name}.arrows`);
  }

  /** Fetches everything into an IPC stream, which pyarrow finds to be that dataset. */
  async isTheDataset(name: string, transfer: Transfer): Promise<{ batches: number; rows: number }> {
    const path = join(this.folder, "fetched.arrows");
    let [batches, rows] = [0, 0];
    let writer: FileWriter | undefined;
    for await (const batch of this.fetches(transfer)) {
      writer ??= FileWriter.create(path, batch);
      await writer.write(batch);
      batches++;
      rows += batch.length;
      batch.dispose();
    }
    if (writer !== undefined) {
      await writer.finish();
      await this.peer("check", name, path);
    }
    return { batches, rows };
  }

  /** Ends what a test left. */
  async clear(): Promise<void> {
    if (this.#busy) await this.#dismiss();
    for (const one of this.#transfers.splice(0)) one.close();
    for (const peer of this.#peers.splice(0)) {
      peer.process.stdin?.end();
      peer.kill();
      await peer.ended;
    }
    for (const one of this.#servers.splice(0)) await one.close();
  }

  async #dismiss(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    this.#busy = false;
    worker?.kill();
    await worker?.ended;
  }

  /** After the last test. */
  async leave(): Promise<void> {
    await this.#dismiss();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
