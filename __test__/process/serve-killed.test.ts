/** Servers and clients that die, or stand still, at several points: a clear error, and nobody else is touched. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "@jest/globals";
import { connect, readFrom } from "../../ts/flight.js";
import { DATA_WAYS, drain, Services, uriOf, WAYS } from "../flight/flight-support.js";
import { Child, counters, descriptors, freshTopic, kill, numbers, until } from "../support.js";
import { dataUri, FLIGHT, serving } from "./serve-support.js";

const services = new Services();
const children: Child[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGCONT");
    child.kill();
    await child.ended;
  }
  await services.clear();
});

async function started() {
  const server = await serving(freshTopic());
  children.push(server.child);
  return server;
}

/** Stops a process; it stands still when this resolves. */
async function stop({ process }: Child): Promise<void> {
  process.kill("SIGSTOP");
  const state = () => /\) (\w)/.exec(readFileSync(`/proc/${process.pid}/stat`, "utf8"))?.[1];
  await until(() => state() === "T", "it stands still");
}

/** What ended it: an error with a code of ours and a sentence. */
async function failure(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    (thrown) => thrown,
  );
  expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_(?!INTERNAL)/) });
  expect(error.message.length).toBeGreaterThan(10);
  return error.code;
}

describe("a server killed", () => {
  test.each(WAYS)(
    "in the middle of a transfer over %s: the client is told, and what it holds stays",
    async (via) => {
      const { child, it } = await started();
      const other = await started();
      const client = await connect(it.control);
      const transfer = client.get("it", { via });
      const { value: held } = await transfer.next();
      const untouched = (await connect(other.it.control)).get("it", { via });
      (await untouched.next()).value.dispose();
      await kill(child);
      // What was on its way may still come.
      if (via !== "grpc") await failure(drain(transfer));
      else await drain(transfer).catch(() => {});
      expect(held.column("i").get(999)).toBe(999);
      held.dispose();
      expect(await drain(untouched)).toMatchObject({ batches: 59 });
      await failure(client.list());
    },
  );

  test.each(DATA_WAYS)("while a client waits at an idle topic over %s", async (scheme) => {
    const { child, live } = await started();
    const next = readFrom(dataUri(live, scheme), live.ticket).next();
    const ended = failure(next);
    await sleep(200);
    await kill(child);
    await ended;
  });

  test.each(WAYS)("in the middle of a body of 64 MB over %s", async (via) => {
    const { child, large } = await started();
    const client = await connect(large.control);
    const next = client.get("large", { via }).next();
    await sleep(30);
    await kill(child);
    // Either it came as a whole, or not at all.
    const outcome = await next.then(
      ({ value }) => {
        expect(value.length).toBe(8 << 20);
        value.dispose();
        return "whole";
      },
      (error) => error.code,
    );
    expect(outcome).toMatch(/^(whole|ERR_(?!INTERNAL).*)$/);
    await until(() => counters().arrivals === 0, "nothing of it is kept");
  });

  test("and its successor is found under the same address", async () => {
    const { child, it } = await started();
    await kill(child);
    for (const scheme of DATA_WAYS) await failure(readFrom(dataUri(it, scheme), it.ticket).next());
    const next = await started();
    for (const scheme of DATA_WAYS) {
      expect(await drain(readFrom(dataUri(next.it, scheme), next.it.ticket))).toMatchObject({ batches: 60 });
    }
  });
});

test.each(WAYS)(
  "clients that leave while they connect, or in the middle, over %s harm nobody",
  async (via) => {
    const { child, it } = await started();
    const client = await connect(it.control);
    for (let round = 0; round < 3; round++) {
      const leaving = Array.from({ length: 40 }, async () => {
        const transfer = client.get("it", { via });
        setTimeout(() => transfer.close(), Math.random() * 300);
        await drain(transfer).catch((error) => expect(error.code).toMatch(/^ERR_/));
      });
      await Promise.all(leaving);
    }
    expect(await drain(client.get("it", { via }))).toMatchObject({ batches: 60 });
    expect(child.process.exitCode).toBe(null);
  },
  120_000,
);

describe("a server that stands still (SIGSTOP)", () => {
  test.each(DATA_WAYS)(
    "in the middle of a stream that has no end over %s",
    async (via) => {
      const { child, it } = await started();
      const transfer = (await connect(it.control)).get("flood", { via });
      for (let n = 0; n < 20; n++) (await transfer.next()).value.dispose();
      await stop(child);
      expect(await failure(drain(transfer))).toBe("ERR_TIMEOUT");
    },
    120_000,
  );

  test("before a ticket is answered, in the middle, and at an idle topic: silence has a deadline", async () => {
    const { child, it, live } = await started();
    const other = await started();
    const client = await connect(it.control, { deadline: 5000 });
    const middle = [];
    for (const via of WAYS) {
      const transfer = client.get("it", { via });
      (await transfer.next()).value.dispose();
      middle.push(transfer);
    }
    const topics = DATA_WAYS.map((via) => readFrom(dataUri(live, via), live.ticket).next());
    const idle = topics.map(failure);
    await sleep(200);
    await stop(child);
    const late = DATA_WAYS.map((via) => failure(readFrom(dataUri(it, via), it.ticket).next()));
    const control = failure(client.list());
    await Promise.all([...idle, ...late, control]);
    // gRPC's stream may have been received as a whole by then.
    for (const transfer of middle)
      await drain(transfer).catch((error) => expect(error.code).toMatch(/^ERR_/));
    expect(await drain(readFrom(dataUri(other.it, "tcp"), other.it.ticket))).toMatchObject({ batches: 60 });
  }, 120_000);
});

/** What clients do until they are killed; they say "now" when they have come to that. */
const CLIENTS = {
  "that connected and has not asked": `
    const { createConnection } = await import("node:net");
    const { port, hostname } = new URL(process.env.URI);
    if (process.env.URI.startsWith("tcp")) await once(createConnection(port, hostname), "connect");
    else readFrom(process.env.URI, "0").next().catch(() => {});
    say("now"); await sleep(1e6);`,
  "that holds a batch in the middle": `
    const transfer = readFrom(process.env.URI, process.env.TICKET);
    const held = await transfer.next();
    say("now"); await sleep(1e6); say(held.value.length);`,
  "that takes and disposes": `
    for (;;) for await (const batch of readFrom(process.env.URI, process.env.TICKET)) { batch.dispose(); say("now"); }`,
  "that has all and frees nothing": `
    const held = [];
    for await (const batch of readFrom(process.env.URI, process.env.TICKET)) held.push(batch);
    say("now"); await sleep(1e6); say(held.length);`,
};

describe("a client", () => {
  const at = async () => {
    const server = await services.serve({ control: undefined });
    await server.put(
      "it",
      Array.from({ length: 40 }, (_, b) => numbers(b, 1000)),
      { queue: { batches: 4 } },
    );
    return { server, ticket: server.endpoints("it").ticket };
  };
  const client = (script: string, uri: string, ticket: string) => {
    const child = new Child(FLIGHT + script, { env: { URI: uri, TICKET: ticket } });
    children.push(child);
    return child;
  };
  const cases = DATA_WAYS.flatMap((scheme) =>
    Object.entries(CLIENTS).map(([name, script]) => [name, scheme, script] as const),
  );

  test.each(cases)(
    "%s, over %s, killed: the others go on, and the server has back all that it had",
    async (_, scheme, script) => {
      const { server, ticket } = await at();
      const uri = uriOf(server, scheme);
      const before = { open: descriptors(), ...counters() };
      const victim = client(script, uri, ticket);
      const transfer = readFrom(uri, ticket);
      const { value: held } = await transfer.next();
      await victim.said("now");
      await kill(victim);
      expect(await drain(readFrom(uri, ticket))).toMatchObject({ batches: 40 });
      held.dispose();
      expect(await drain(transfer)).toMatchObject({ batches: 39, rows: 39_000 });
      await until(() => descriptors() <= before.open + 4, "its connection is closed");
      await until(() => counters().segments === before.segments, "segments are as before");
      expect(counters().blocks).toBe(before.blocks);
      server.remove("it");
    },
  );

  test("that stands still (SIGSTOP) over the network is given up; others are not held up by it", async () => {
    const { server, ticket } = await at();
    const open = descriptors();
    const stopped = [];
    for (const scheme of DATA_WAYS.filter((one) => one !== "shm")) {
      const child = client(CLIENTS["that holds a batch in the middle"], uriOf(server, scheme), ticket);
      await child.said("now");
      await stop(child);
      stopped.push(child);
    }
    for (const uri of server.data) expect(await drain(readFrom(uri, ticket))).toMatchObject({ batches: 40 });
    // Ten seconds of silence, and half a minute for what was said last to be taken.
    const pipes = 3 * stopped.length;
    const givenUp = () => descriptors() <= open + pipes + 2;
    for (let n = 0; n < 3 && !givenUp(); n++) await until(givenUp, "they are given up").catch(() => {});
    expect(givenUp()).toBe(true);
    for (const uri of server.data) expect(await drain(readFrom(uri, ticket))).toMatchObject({ batches: 40 });
    expect(stopped.every(({ process }) => process.exitCode === null)).toBe(true);
  }, 120_000);

  test.each(DATA_WAYS)("that never frees over %s keeps nothing from others", async (scheme) => {
    const { server, ticket } = await at();
    const uri = uriOf(server, scheme);
    const greedy = client(CLIENTS["that has all and frees nothing"], uri, ticket);
    await greedy.said("now");
    for (let n = 0; n < 3; n++) expect(await drain(readFrom(uri, ticket))).toMatchObject({ batches: 40 });
    await server.put("it", numbers(99));
    expect(await drain(readFrom(uri, server.endpoints("it").ticket))).toMatchObject({ batches: 1 });
    expect(greedy.process.exitCode).toBe(null);
  });
});
