/** 100 MB in one batch, by each way: what is said of copies is what is counted. */
import { afterAll, afterEach, describe, expect, test } from "@jest/globals";
import { readFrom } from "../../ts/flight.js";
import { Child, type Ended, until } from "../support.js";
import { copiedBytes, DATA_WAYS, large, Services, uriOf, WAYS } from "./flight-support.js";

const BYTES = 100_000_000;

const services = new Services();
const children: Child[] = [];

afterEach(() => services.clear());
afterAll(async () => {
  for (const child of children) child.kill();
  for (const child of children) await child.ended;
});

/** Fetches `it`, looks at every value, and says what its native code copied and what its heap was. */
const FETCH = `
  const { connect } = await import(process.env.ARROWLANE_DIST + "/flight.js");
  const { lane } = await import(process.env.ARROWLANE_DIST + "/native/lane.js");
  const copied = () => lane().native.copiedBytes();
  const client = await connect(process.env.CONTROL);
  const before = copied();
  const peak = { arrayBuffers: process.memoryUsage().arrayBuffers };
  for await (const batch of client.get("it", { via: process.env.VIA })) {
    const x = batch.column("x").toArray();
    let wrong = 0;
    for (let n = 0; n < x.length; n++) if (x[n] !== n) wrong++;
    const { zeroCopy, via, byteLength } = batch;
    batch.dispose();
    say(JSON.stringify({ wrong, rows: x.length, zeroCopy, via, byteLength, copied: copied() - before }));
  }
`;

async function fetched(control: string, via: string): Promise<Ended> {
  const child = new Child(FETCH, { env: { CONTROL: control, VIA: via } });
  children.push(child);
  return child.ended;
}

describe.each(WAYS)("by %s", (via) => {
  test("every byte is right, and zeroCopy is said where neither side copied a body", async () => {
    const { server } = await services.both();
    await server.put("it", large(BYTES));
    const before = copiedBytes();
    const { stdout, stderr } = await fetched(server.control as string, via);
    const got = JSON.parse(stdout || `"${stderr}"`);
    expect(got).toMatchObject({ wrong: 0, via, byteLength: BYTES, zeroCopy: via !== "grpc" });
    // gRPC copies on its way, outside of what is counted here; that is why it says so.
    expect([got.copied, copiedBytes() - before]).toEqual([0, 0]);
  });
});

test.each(DATA_WAYS)(
  "over %s a body is sent from where it lies, to whoever asks how often",
  async (scheme) => {
    const { server } = await services.both();
    await server.put("it", large(16 << 20));
    const before = copiedBytes();
    const { ticket } = server.endpoints("it");
    for (let n = 0; n < 5; n++) {
      for await (const batch of readFrom(uriOf(server, scheme), ticket)) {
        expect([batch.byteLength, batch.zeroCopy, batch.column("x").get(77)]).toEqual([16 << 20, true, 77]);
        batch.dispose();
      }
    }
    expect(copiedBytes() - before).toBe(0);
  },
);

test("over shm what is read is the server's memory itself", async () => {
  const { server, client } = await services.both();
  await server.put("it", large(1 << 20));
  const [one, two] = await Promise.all([1, 2].map(() => client.get("it", { via: "shm" }).next()));
  expect(one.value.location).toEqual(two.value.location);
  expect(one.value.location).toMatchObject({ memory: expect.stringMatching(/^memfd:/) });
  one.value.dispose();
  two.value.dispose();
});

test("the server keeps no second copy for those who fetch", async () => {
  const { server } = await services.both();
  await server.put("it", large(64 << 20));
  const held = () => process.memoryUsage().rss;
  const before = held();
  const gone = WAYS.filter((via) => via !== "grpc" && via !== "shm").map((via) =>
    fetched(server.control as string, via),
  );
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, held());
  }, 5);
  await Promise.all(gone);
  clearInterval(watch);
  await until(() => most > 0, "it was looked at");
  expect(most - before).toBeLessThan(48 << 20);
});
