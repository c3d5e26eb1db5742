/** Without Flight: URIs and tickets from anywhere, and those who should get nothing. */
import { createConnection, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "@jest/globals";
import { type DataSource, readFrom, type Server } from "../../ts/flight.js";
import { codeOf, counters, numbers, until } from "../support.js";
import { DATA_WAYS, drain, Services, uriOf, values } from "./flight-support.js";

const services = new Services();
const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await services.clear();
});

const expected = (count: number) =>
  Array.from({ length: count }, (_, b) => Array.from({ length: 10 }, (_, n) => b * 1000 + n)).flat();

/** A server that offers `it`: 30 batches. */
async function server(options = {}): Promise<Server> {
  const made = await services.serve({ control: undefined, ...options });
  const batches = Array.from({ length: 30 }, (_, b) => numbers(b));
  await made.put("it", batches, { queue: { batches: 4 } });
  return made;
}

/** It still serves whoever may be served. */
async function stillServes(made: Server): Promise<void> {
  const { ticket } = made.endpoints("it");
  for (const uri of made.data) expect(await values(readFrom(uri, ticket))).toEqual(expected(30));
}

const ANYBODY = "tcp://127.0.0.1:9?want_data=1";

describe("a URI and a ticket are enough", () => {
  test.each(DATA_WAYS)("over %s, and the ticket may be bytes", async (scheme) => {
    const made = await server();
    const { ticket } = made.endpoints("it");
    for (const shown of [ticket, new TextEncoder().encode(ticket)]) {
      const transfer = readFrom(uriOf(made, scheme), shown);
      expect(await values(transfer)).toEqual(expected(30));
      expect(transfer.via).toBe(scheme);
    }
  });

  test("of several URIs the first that works is taken, and the others are named", async () => {
    const made = await server();
    const transfer = readFrom([ANYBODY, ...made.data], made.endpoints("it").ticket);
    expect(await values(transfer)).toEqual(expected(30));
    expect(transfer.tried.map(({ via }) => via)).toEqual(["tcp"]);
    expect(transfer.via).toBe("shm");
  });

  test("a ticket is good for as long as it says, as often as its holder likes, also after its name is gone", async () => {
    const made = await server({ ticketLife: 60_000 });
    const { ticket, expires } = made.endpoints("it");
    expect(expires.getTime()).toBeGreaterThan(Date.now());
    made.remove("it");
    for (const uri of [...made.data, ...made.data])
      expect(await values(readFrom(uri, ticket))).toEqual(expected(30));
  });
});

describe("a ticket that buys nothing", () => {
  describe.each(DATA_WAYS)("over %s", (scheme) => {
    test.each([
      ["is unknown", "0".repeat(32)],
      ["is empty", ""],
      ["is no ticket", "it"],
      ["is no text", Uint8Array.of(0xff, 0xfe)],
    ])("%s", async (_, ticket) => {
      const made = await server();
      expect(await codeOf(readFrom(uriOf(made, scheme), ticket).next())).toBe("ERR_TICKET");
      await stillServes(made);
    });

    test("has expired", async () => {
      const made = await server({ ticketLife: 1 });
      const { ticket, expires } = made.endpoints("it");
      await until(() => Date.now() > expires.getTime() + 5, "it expired");
      expect(await codeOf(readFrom(uriOf(made, scheme), ticket).next())).toBe("ERR_TICKET");
    });

    test("has 64 MiB", async () => {
      const made = await server();
      const before = counters();
      expect(await codeOf(readFrom(uriOf(made, scheme), new Uint8Array(64 << 20)).next())).toMatch(/^ERR_/);
      await stillServes(made);
      await until(() => counters().arrivals === before.arrivals, "nothing of it is kept");
    });

    test("was made for another server", async () => {
      const [mine, other] = [await server(), await server()];
      const { ticket } = other.endpoints("it");
      expect(await codeOf(readFrom(uriOf(mine, scheme), ticket).next())).toBe("ERR_TICKET");
    });
  });
});

describe("a URI that leads nowhere is refused, and says what is wrong with it", () => {
  test.each([
    "",
    "nothing",
    "tcp:",
    "tcp://127.0.0.1:1",
    "tcp://127.0.0.1?want_data=1",
    "tcp://127.0.0.1:99999?want_data=1",
    "tcp://127.0.0.1:1?want_data=",
    "tcp://127.0.0.1:1?want_data=-1",
    "tcp://127.0.0.1:1?want_data=18446744073709551616",
    "tcp://127.0.0.1:1?want_data=1&want_data=2",
    "quic://127.0.0.1:1?want_data=1",
    "fabric://127.0.0.1:1?want_data=1",
    "file:///etc/passwd?want_data=1",
    `tcp://127.0.0.1:1?want_data=1&x=${"y".repeat(1 << 20)}`,
    "shm:?want_data=1",
    "shm:///?want_data=1",
    "shm:///etc/passwd?want_data=1",
    "shm:///tmp/%00?want_data=1",
    "shm:///../../../../etc/passwd?want_data=1",
    `shm:///${"x".repeat(1 << 16)}?want_data=1`,
    "tcp://no.such.host.invalid:1?want_data=1",
    "ucx://no.such.host.invalid:1?want_data=1",
    ANYBODY,
    "ucx://127.0.0.1:9?want_data=1",
  ])("%.60s", async (uri) => {
    const transfer = readFrom(uri, "0".repeat(32));
    const error = await transfer.next().catch((thrown) => thrown);
    expect([error.name, error.code]).toEqual(["ArrowlaneError", expect.stringMatching(/^ERR_(?!INTERNAL)/)]);
    expect(error.message.length).toBeGreaterThan(10);
    expect(transfer.tried).toHaveLength(1);
  });

  test("and what is no URI, no ticket or no option is refused at once", async () => {
    const bad = [[], undefined, 5, {}, { metadata: "tcp:" }, [5]];
    for (const source of bad) {
      expect(await codeOf(() => readFrom(source as DataSource, "x"))).toBe("ERR_INVALID_ARGUMENT");
    }
    for (const ticket of [undefined, 5, {}, [1]]) {
      expect(await codeOf(() => readFrom(ANYBODY, ticket as string))).toBe("ERR_INVALID_ARGUMENT");
    }
    for (const options of [5, { signal: 5 }, { strictZeroCopy: 1 }, { leaseTimeout: -1 }]) {
      expect(await codeOf(() => readFrom(ANYBODY, "x", options as never))).toBe("ERR_INVALID_ARGUMENT");
    }
  });
});

describe("whoever speaks something else at the tcp port", () => {
  const connected = async (made: Server): Promise<Socket> => {
    const { port } = new URL(uriOf(made, "tcp"));
    const socket = createConnection(Number(port), "127.0.0.1");
    socket.on("error", () => {});
    sockets.push(socket);
    await new Promise((resolve) => socket.once("connect", resolve));
    return socket;
  };

  test.each([
    ["random bytes", () => Buffer.from(Array.from({ length: 4096 }, (_, n) => (n * 7919) & 255))],
    ["HTTP", () => Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n")],
    ["a frame of 4 GiB", () => Buffer.alloc(64, 0xff)],
    ["zeros", () => Buffer.alloc(1 << 16)],
  ])("%s: it is shown out, and the others are served", async (_, bytes) => {
    const made = await server();
    const socket = await connected(made);
    const { ticket } = made.endpoints("it");
    const running = readFrom(uriOf(made, "tcp"), ticket);
    const { value: first } = await running.next();
    socket.write(bytes());
    await until(() => socket.closed, "it is shown out");
    first.dispose();
    expect(await drain(running)).toMatchObject({ batches: 29 });
    await stillServes(made);
  });

  test("hundreds who connect and leave at once: the others are served", async () => {
    const made = await server();
    for (let n = 0; n < 300; n++) (await connected(made)).destroy();
    await stillServes(made);
  });
});
