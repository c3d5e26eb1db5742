import type { Schema } from "apache-arrow";
import { ArrowlaneError } from "../errors.js";
import { checkObject, checkWhole } from "../options.js";
import type { Exchange } from "./exchange.js";

const DEFAULTS = { memory: 2 ** 34, batches: 64, bytes: 2 ** 28 };

/** How a server behaves. */
export interface ServeOptions {
  /**
   * Where Flight is served, as the control plane: `grpc+tcp://host:port` or `grpc+tls://host:port`; port 0 leaves the choice to the system.
   * Without, whoever is to fetch something is told so by other means (`endpoints`).
   */
  control?: string;
  /** Whether Flight's `DoGet` sends data too, to clients that have no better way (the default). With `false`, Flight is control alone. */
  inline?: boolean;
  /**
   * Which data URIs Flight clients are told that do not ask for any: none (the default; nobody else's client trips over them), all
   * (`"combined"`), or the two halves that Arrow's example has (`"split"`). Our own clients always ask.
   */
  locations?: "none" | "combined" | "split";
  /** Whether Flight clients may upload datasets, and how those are kept; `false` unless said otherwise. */
  uploads?: boolean | Pick<PutOptions, "memory" | "queue">;
  /**
   * Decides who a caller of Flight is: the name that tickets are bound to. Asked for every call that does not show a token which the server
   * itself handed out (Flight's handshake gives one). What it throws refuses the caller, who is told its message. Without it
   * everybody is let in. Data URIs ask nobody: there the ticket is what counts.
   */
  authenticate?: (credentials: Credentials, peer: string) => string | Promise<string>;
  /**
   * Answers what clients of Flight send in exchanges (`DoExchange`); without, there are none. Called once for each, it gives the
   * answers, and is asked for no more than the client takes.
   */
  exchange?: Exchange;
  /** The certificate and key, in PEM, of a `grpc+tls:` address, and of `tcp://…?tls=1`; with `clientRoots`, clients must show a certificate from there. */
  tls?: { certificate: string; key: string; clientRoots?: string };
  /**
   * Where data is served: `shm:` (between processes of this user), `tcp://host:port` (in TLS with `?tls=1`), `ucx://host:port`; port 0 leaves
   * the choice to the system. `["shm:"]` unless said otherwise.
   */
  data?: readonly string[];
  /** How long a ticket can be redeemed, in milliseconds: 10 minutes unless said otherwise. */
  ticketLife?: number;
}

/** What a caller of Flight shows. */
export type Credentials =
  | { readonly kind: "none" }
  | { readonly kind: "bearer"; readonly token: string }
  | { readonly kind: "basic"; readonly user: string; readonly password: string };

/** How a dataset is kept. */
export interface PutOptions {
  /** The most memory that it may take, in bytes: 16 GiB unless said otherwise. It takes what it needs. */
  memory?: number;
  /** How far each client may lag behind: batches sent and not yet taken (64), and their bytes (256 MiB). */
  queue?: { batches?: number; bytes?: number };
  /** The schema, where there may be no batch to see it by; a function needs it. */
  schema?: Schema;
  /** Gives up; nothing is offered then that was not before. */
  signal?: AbortSignal;
}

/** @internal */
export function checkName(name: string): void {
  if (typeof name === "string" && name.length > 0) return;
  throw new ArrowlaneError("ERR_INVALID_ARGUMENT", "the name must be a string that is not empty");
}

/** @internal */
export function datasetOptions(name: string, options: PutOptions) {
  checkObject("the options of put", options);
  const { memory = DEFAULTS.memory, queue = {} } = options;
  checkObject("queue", queue);
  const { batches = DEFAULTS.batches, bytes = DEFAULTS.bytes } = queue;
  checkWhole("memory", memory, 1);
  checkWhole("queue.batches", batches, 1);
  checkWhole("queue.bytes", bytes, 1);
  return { name, memory, queueBatches: batches, queueBytes: bytes };
}
