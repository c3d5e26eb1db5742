/** A server whose JavaScript is busy, and crowds of clients: whoever may be served is served. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, expect, test } from "@jest/globals";
import { connect, readFrom, type Transfer } from "../../ts/flight.js";
import type { Batch } from "../../ts/index.js";
import { DATA_WAYS, drain, Services, uriOf, WAYS } from "../flight/flight-support.js";
import { Child, counters, descriptors, freshTopic, numbers, until } from "../support.js";
import { dataUri, FLIGHT, serving } from "./serve-support.js";

const services = new Services();
const children: Child[] = [];
const folder = mkdtempSync(join(tmpdir(), "arrowlane-busy-"));

afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill();
    await child.ended;
  }
  await services.clear();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("a server whose event loop is blocked for longer than peers may be silent serves all the same", async () => {
  const free = join(folder, "free");
  const { child, it } = await serving(
    freshTopic(),
    `await told("block"); say("busy"); while (!existsSync(${JSON.stringify(free)})); say("free");`,
  );
  children.push(child);
  const client = await connect(it.control);
  const begun = new Map<string, { transfer: Transfer; held: Batch }>();
  for (const via of WAYS) {
    const transfer = client.get("it", { via });
    begun.set(via, { transfer, held: (await transfer.next()).value });
  }
  child.tell("block");
  await child.said("busy");
  // New ones come and go: data URIs, and the control plane.
  for (const via of DATA_WAYS) {
    expect(await drain(readFrom(dataUri(it, via), it.ticket))).toMatchObject({
      batches: 60,
      via: new Set([via]),
    });
  }
  for (const via of WAYS) expect(await drain(client.get("it", { via }))).toMatchObject({ batches: 60 });
  expect((await client.list()).map(({ name }) => name)).toContain("it");
  // Silence has a deadline of ten seconds: connections that stand still for longer live on.
  await sleep(12_000);
  for (const [via, { transfer, held }] of begun) {
    expect(held.column("i").get(999)).toBe(999);
    held.dispose();
    expect([via, await drain(transfer)]).toMatchObject([via, { batches: 59, rows: 59_000 }]);
  }
  expect(child.stdout.split("\n")).not.toContain("free");
  writeFileSync(free, "");
  await child.said("free");
}, 120_000);

test("a client whose event loop is blocked for as long stays connected, and gets all", async () => {
  const server = await services.serve();
  await server.put(
    "it",
    Array.from({ length: 60 }, (_, b) => numbers(b)),
    { queue: { batches: 4 } },
  );
  const script = `
    ${FLIGHT}
    const all = await Promise.all(JSON.parse(process.env.URIS).map(async (uri) => {
      const transfer = readFrom(uri, process.env.TICKET);
      const { value } = await transfer.next();
      return { transfer, value };
    }));
    say("begun");
    const end = performance.now() + 12_000;
    while (performance.now() < end);
    let rows = 0;
    for (const { transfer, value } of all) {
      rows += value.length;
      value.dispose();
      for await (const batch of transfer) { rows += batch.length; batch.dispose(); }
    }
    say("rows", rows);
  `;
  const { ticket, uris } = server.endpoints("it");
  const child = new Child(script, { env: { URIS: JSON.stringify(uris), TICKET: ticket } });
  children.push(child);
  await child.said("begun");
  // It is deaf for twelve seconds, and told nothing of it.
  await sleep(12_000);
  await child.said(`rows ${uris.length * 600}`);
}, 60_000);

test("a topic over the network may be quiet for longer than peers may be silent", async () => {
  const topic = freshTopic();
  const { child, live } = await serving(
    topic,
    `await told("send"); await live.send(numbers(7)); await live.close(); say("sent");`,
  );
  children.push(child);
  const transfers = DATA_WAYS.map((via) => readFrom(dataUri(live, via), live.ticket));
  const firsts = transfers.map((transfer) => transfer.next());
  for (const first of firsts) first.catch(() => {});
  await sleep(13_000);
  child.tell("send");
  for (const first of firsts) {
    const { value } = await first;
    expect(value.column("i").get(0)).toBe(7000);
    value.dispose();
  }
  for (const transfer of transfers) expect(await transfer.next()).toMatchObject({ done: true });
}, 60_000);

/** A process with 200 clients at once: each takes one batch, all wait for one another, then each takes the rest. */
const CROWD = `
  ${FLIGHT}
  const all = Array.from({ length: 200 }, () => readFrom(process.env.URI, process.env.TICKET));
  const firsts = await Promise.all(all.map((transfer) => transfer.next()));
  say("all", readdirSync("/proc/self/fd").length);
  await told("go on");
  let rows = 0;
  await Promise.all(all.map(async (transfer, n) => {
    rows += firsts[n].value.length;
    firsts[n].value.dispose();
    for await (const batch of transfer) { rows += batch.length; batch.dispose(); }
  }));
  say("rows", rows);
`;

test.each(DATA_WAYS)(
  "200 clients at once over %s are all served, within 2,000 descriptors",
  async (scheme) => {
    const server = await services.serve();
    await server.put(
      "it",
      Array.from({ length: 10 }, (_, b) => numbers(b)),
      { queue: { batches: 2 } },
    );
    const before = { open: descriptors(), ...counters() };
    const env = { URI: uriOf(server, scheme), TICKET: server.endpoints("it").ticket };
    const child = new Child(CROWD, { env });
    children.push(child);
    await until(
      () => child.stdout.includes("all") || child.process.exitCode !== null,
      `all began: ${child.stderr}`,
    );
    expect(descriptors()).toBeLessThanOrEqual(2000);
    expect(Number(/all (\d+)/.exec(child.stdout)?.[1])).toBeLessThanOrEqual(2000);
    child.tell("go on");
    await until(() => child.stdout.includes("rows"), `all have all: ${child.stderr}`);
    expect(child.stdout).toContain("rows 20000");
    child.kill();
    await until(() => descriptors() <= before.open + 4, "every connection is closed");
    await until(() => counters().blocks === before.blocks, "every block is back");
  },
  90_000,
);

test("a client that connects and says nothing is shown out, as is one that never finishes its ticket", async () => {
  const server = await services.serve();
  await server.put("it", numbers(1));
  const { port } = new URL(uriOf(server, "tcp"));
  const sockets = [undefined, Buffer.from([0xfe])].map((word) => {
    const socket = createConnection(Number(port), "127.0.0.1");
    socket.on("error", () => {});
    if (word !== undefined) socket.write(word);
    return socket;
  });
  await until(() => sockets.every(({ closed }) => closed), "they are shown out");
}, 60_000);
