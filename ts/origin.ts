import { ArrowlaneError } from "./errors.js";
import type { NativeConnection } from "./native/binding.js";

/** A server to ask, instead of whoever publishes a topic. */
export interface Origin {
  /** A data URI of the server's; or where metadata and where bodies come from. */
  readonly uris: readonly string[];
  /** What to show it. */
  readonly ticket: Uint8Array;
  /** How a server in TLS is known. */
  readonly tls?: { roots?: string; serverName?: string } | undefined;
  /** Makes the connection, where that is not done by the URI. */
  open?(): NativeConnection | Promise<NativeConnection>;
}

/** What a data URI with a ticket in it stands for; nothing for a topic. */
export function originOf(topic: string): Origin | undefined {
  if (typeof topic !== "string" || !/^[a-z][a-z\d+.-]*:\/\/\S*[?&]want_data=/.test(topic)) return undefined;
  const ticket = new URL(topic).searchParams.get("ticket");
  if (ticket === null) {
    const message =
      "a server's URI needs the ticket that goes with it: add &ticket=…, or use readFrom(uri, ticket)";
    throw new ArrowlaneError("ERR_INVALID_ARGUMENT", message);
  }
  return { uris: [topic], ticket: new TextEncoder().encode(ticket) };
}
