/** The two processes of a benchmark run this program; the command's own process tells them what to do. */
import "../index.js";
import { lane } from "../native/lane.js";
import { floor, net } from "./bytes.js";
import { fan } from "./fan.js";
import { handOff } from "./hand-off.js";
import { ipc, ipcRate } from "./ipc.js";
import { localRate, memcpy } from "./local.js";
import { rate } from "./one-way.js";
import { recycling } from "./recycling.js";
import { fetch, netFetch, netOffer, offer, usage } from "./transfer.js";

/** What a pair of processes is asked to do. */
export interface Task {
  kind: keyof typeof kinds;
  half?: "first" | "second";
  /** Unique in the run: what sockets and topics are named after. */
  name: string;
  /** Where sockets are. */
  folder: string;
  mode: string;
  /** Bytes of a batch. */
  payload: number;
  /** Columns that these bytes are spread over. */
  columns: number;
  /** Times to do it before measuring, and times to measure. */
  warm: number;
  rounds: number;
  /** Where it is to be had, of what is served. */
  uri?: string;
}

/** What a process found: microseconds at half and at 99 % of the rounds, or things per second. */
export interface Outcome {
  p50?: number;
  p99?: number;
  perSecond?: number;
  /** When each round was sent, or read: microseconds of a clock that all processes share. */
  times?: Float64Array;
  /** Bytes of bodies that were copied. */
  copied?: number;
  /** Seconds of processor time that it has used since it started. */
  cpu?: number;
  /** Where something is served; ways that there are not, with the reason. */
  uri?: string;
  missing?: string[];
  debug?: boolean;
}

/** A task of one process. `ready` is called when the other one may start. */
export type Half = (task: Task, ready: () => void) => Promise<Outcome>;

const kinds = {
  floor,
  net,
  ipc,
  "hand-off": handOff,
  memcpy,
  rate,
  "ipc-rate": ipcRate,
  "local-rate": localRate,
  recycling,
  fan,
  offer,
  fetch,
  usage,
  "net-offer": netOffer,
  "net-fetch": netFetch,
};

process.on("message", (task: Task) => {
  const ready = () => process.send?.({ ready: true });
  kinds[task.kind](task, ready).then(
    (outcome) => process.send?.({ outcome: { ...outcome, debug: lane().native.report().debugBuild } }),
    (error: unknown) => {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      process.send?.({ failed: text });
    },
  );
});
process.on("disconnect", () => process.exit());
