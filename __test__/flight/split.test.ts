/** Metadata over one connection, bodies over another: every pair of ways gives the same. */
import { afterEach, describe, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import { Client, readFrom, type Server } from "../../ts/flight.js";
import { addon } from "../../ts/native/addon.js";
import { codeOf, descriptors, numbers, until } from "../support.js";
import { batchOf, plain, samples } from "../unit/arrow-support.js";
import { DATA_WAYS, drain, Services, uriOf, values } from "./flight-support.js";

const services = new Services();

afterEach(() => services.clear());

/** A client that asks for the shape of Arrow's example: an endpoint with two locations, metadata and data. */
async function askingForSplit(server: Server): Promise<Client> {
  const options = { headers: [], locations: "split", deadline: 10_000 };
  const cancel = new (addon().NativeCancellation)();
  const connected = await addon().connectFlight(server.control as string, options, cancel);
  return new Client(server.control as string, connected.get(), undefined);
}

/** The halves of a server's URIs, each of the scheme that is asked for. */
async function halves(server: Server, metadata: string, data: string) {
  const [name] = server.offers().map((offer) => offer.name);
  const like = server.endpoints(name).halves;
  const half = (scheme: string, said: string | undefined) => {
    const tags = new URL(said as string).searchParams;
    const uri = new URL(uriOf(server, scheme));
    uri.searchParams.delete("free_data");
    for (const [key, value] of tags) {
      if (["want_data", "want_data_ext", "free_data"].includes(key)) uri.searchParams.set(key, value);
    }
    return uri.href;
  };
  return { metadata: half(metadata, like?.metadata), data: half(data, like?.data) };
}

const pairs = DATA_WAYS.flatMap((metadata) => DATA_WAYS.map((data) => [metadata, data] as const));

describe.each(pairs)("metadata over %s, bodies over %s", (metadata, data) => {
  test("every batch arrives, in order, of every type, and says how its body came", async () => {
    const { server } = await services.both();
    const all = batchOf(arrow, samples(arrow));
    await server.put(
      "it",
      Array.from({ length: 50 }, (_, b) => numbers(b)),
      { queue: { batches: 3 } },
    );
    const transfer = readFrom(await halves(server, metadata, data), server.endpoints("it").ticket);
    const got: unknown[] = [];
    const said = await drain(transfer, (batch) => got.push(batch.column("i").get(3)));
    expect(got).toEqual(Array.from({ length: 50 }, (_, b) => b * 1000 + 3));
    expect([said.via, said.zeroCopy, transfer.via]).toEqual([new Set([data]), new Set([true]), data]);
    await server.put("types", all);
    await drain(readFrom(await halves(server, metadata, data), server.endpoints("types").ticket), (batch) => {
      for (const { name } of all.schema.fields) {
        expect([name, plain(batch.column(name) as arrow.Vector)]).toEqual([
          name,
          plain(all.getChild(name) as arrow.Vector),
        ]);
      }
    });
  });
});

test("one half alone gets nothing, and is shown out", async () => {
  const { server } = await services.both({ data: ["tcp://127.0.0.1:0"] });
  await server.put("it", numbers(1));
  const both = await halves(server, "tcp", "tcp");
  const { ticket } = server.endpoints("it");
  for (const half of [both.metadata, both.data]) {
    expect(await codeOf(readFrom(half, ticket).next())).toMatch(/^ERR_/);
  }
  expect(await values(readFrom(both, ticket))).toHaveLength(10);
});

test("halves of different tickets are not joined", async () => {
  const { server } = await services.both({ data: ["tcp://127.0.0.1:0"] });
  await server.put("it", numbers(1));
  const both = await halves(server, "tcp", "tcp");
  const open = descriptors();
  const [one, two] = [server.endpoints("it").ticket, server.endpoints("it").ticket];
  const outcomes = [readFrom(both.metadata, one).next(), readFrom(both.data, two).next()].map((next) =>
    codeOf(next),
  );
  for (const code of await Promise.all(outcomes)) expect(code).toMatch(/^ERR_/);
  await until(() => descriptors() <= open, "both are shown out");
});

test("an unknown ticket over both is one clear error", async () => {
  const { server } = await services.both();
  await server.put("it", numbers(1));
  const both = await halves(server, "tcp", "tcp");
  expect(await codeOf(readFrom(both, "0".repeat(32)).next())).toBe("ERR_TICKET");
});

test("the example's shape, asked for: our client reads it", async () => {
  const { server } = await services.both();
  await server.put("it", [numbers(0), numbers(1)]);
  const client = await askingForSplit(server);
  const info = await client.info("it");
  expect(info.endpoints[0].split).toHaveLength(2);
  const transfer = client.read(info, { via: ["tcp", "ucx"] });
  expect(await values(transfer)).toHaveLength(20);
  expect(["tcp", "ucx"]).toContain(transfer.via);
});
