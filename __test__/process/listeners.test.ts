/** Where a server listens, as the kernel's own table of sockets says. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { afterEach, describe, expect, test } from "@jest/globals";
import { Services, UCX } from "../flight/flight-support.js";

const services = new Services();

afterEach(() => services.clear());

const LISTENING = "0A";

/** Inodes of this process's sockets. */
function sockets(): Set<string> {
  const found = new Set<string>();
  for (const name of readdirSync("/proc/self/fd")) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${name}`))?.[1];
      if (inode !== undefined) found.add(inode);
    } catch {
      // The descriptor of this very look.
    }
  }
  return found;
}

/** Local addresses at which this process listens: hexadecimal, as the kernel writes them. */
function listening(): { address: string; port: number; loopback: boolean }[] {
  const own = sockets();
  return ["tcp", "tcp6"].flatMap((table) =>
    readFileSync(`/proc/self/net/${table}`, "utf8")
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === LISTENING && own.has(fields[9]))
      .map((fields) => {
        const [address, port] = fields[1].split(":");
        const loopback =
          table === "tcp"
            ? address.endsWith("7F")
            : address === "00000000000000000000000001000000" || /^0{16}F{4}0{4}.{6}7F$/.test(address);
        return { address, port: Number.parseInt(port, 16), loopback };
      }),
  );
}

const ports = () => listening().map(({ port }) => port);

test("a server that is told nothing listens to no network at all", async () => {
  const before = ports();
  const server = await services.serve({ control: undefined, data: undefined });
  expect(server.data.map((uri) => uri.split(":")[0])).toEqual(["shm"]);
  expect(ports()).toEqual(before);
});

test("one that names loopback listens there alone, at the ports that it says", async () => {
  const before = new Set(ports());
  const server = await services.serve();
  const made = listening().filter(({ port }) => !before.has(port));
  expect(made.filter(({ loopback }) => !loopback)).toEqual([]);
  const said = [server.control as string, ...server.data.filter((uri) => !uri.startsWith("shm:"))].map(
    (uri) => Number(new URL(uri).port),
  );
  expect(made.map(({ port }) => port)).toEqual(expect.arrayContaining(said));
});

describe("ucx", () => {
  test("starts only when it is named: without, there is no listener of its, nor a thread", async () => {
    const before = ports();
    const server = await services.serve({ data: ["tcp://127.0.0.1:0"], control: undefined });
    expect(ports().filter((port) => !before.includes(port))).toEqual([Number(new URL(server.data[0]).port)]);
  });

  (UCX ? test : test.skip)("and then on loopback, its workers and its clients included", async () => {
    const { server, client } = await services.both({ data: ["ucx://127.0.0.1:0"] });
    await server.put("it", Object.assign([], { length: 0 }), {
      schema: (await import("../support.js")).numbersSchema,
    });
    for await (const batch of client.get("it", { via: "ucx" })) batch.dispose();
    expect(listening().filter(({ loopback }) => !loopback)).toEqual([]);
  });
});

test("whoever asks for all interfaces gets them: this test can see the difference", async () => {
  const any = Object.values(networkInterfaces()).flat().length > 0;
  const server = await services.serve({ data: ["tcp://0.0.0.0:0"], control: undefined });
  const port = Number(new URL(server.data[0]).port);
  expect(any).toBe(true);
  expect(listening().filter((one) => one.port === port)).toMatchObject([{ loopback: false }]);
});
