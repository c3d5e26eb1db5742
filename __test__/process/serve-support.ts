/** Servers and clients of the network as child processes. */

import { ADDRESSES } from "../flight/flight-support.js";
import { Child } from "../support.js";

/** For scripts of child processes, behind those of every child. */
export const FLIGHT = `
const { serve, connect, readFrom } = await import(process.env.ARROWLANE_DIST + "/flight.js");
const { lane } = await import(process.env.ARROWLANE_DIST + "/native/lane.js");
const { existsSync, readdirSync } = await import("node:fs");
const lines = [];
process.stdin.setEncoding("utf8").on("data", (text) => lines.push(...text.split("\\n").filter(Boolean)));
const told = async (line) => { while (!lines.includes(line)) await sleep(2); };
`;

/** What a child needs to fetch from a server. */
export interface Offered {
  control: string;
  uris: string[];
  ticket: string;
}

/** A server that offers \`it\` (60 batches of 1000 rows, four at a time), and says so; it goes on until it is killed. */
const SERVER = `
${FLIGHT}
const server = await serve({ control: "grpc+tcp://127.0.0.1:0", data: JSON.parse(process.env.ADDRESSES) });
await server.put("it", Array.from({ length: 60 }, (_, b) => numbers(b, 1000)), { queue: { batches: 4 } });
const live = await publish(topic, { minSubscribers: 0 });
await server.put("live", live);
await server.put("large", new arrow.Table({ x: arrow.makeVector(new Float64Array(8 << 20)) }));
const flood = async function* () { for (;;) yield numbers(1, 10_000); };
await server.put("flood", flood, { schema: numbers(0).schema });
const of = (name) => ({ control: server.control, ...server.endpoints(name) });
say(JSON.stringify({ it: of("it"), live: of("live"), large: of("large") }));
`;

/** Starts a server; \`then\` is what it does when it is asked to. */
export async function serving(
  topic: string,
  then = "setInterval(() => {}, 1e6);",
): Promise<{ child: Child; it: Offered; live: Offered; large: Offered }> {
  const child = new Child(SERVER + then, { env: { TOPIC: topic, ADDRESSES: JSON.stringify(ADDRESSES) } });
  while (!child.stdout.includes("\n")) {
    if (child.process.exitCode !== null) throw new Error(`the server ended: ${child.stderr}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return { child, ...JSON.parse(child.stdout.split("\n")[0]) };
}

/** The data URI of that scheme. */
export function dataUri({ uris }: Offered, scheme: string): string {
  const uri = uris.find((one) => one.startsWith(`${scheme}:`));
  if (uri === undefined) throw new Error(`it serves no ${scheme}:`);
  return uri;
}
