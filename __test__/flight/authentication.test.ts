/** Who calls is asked of a hook; what it answers is whom tickets belong to. */
import { afterEach, describe, expect, test } from "@jest/globals";
import { type Client, type Credentials, connect, readFrom, type Server } from "../../ts/flight.js";
import { codeOf, numbers } from "../support.js";
import { DATA_WAYS, drain, Services, uriOf } from "./flight-support.js";

const services = new Services();

afterEach(() => services.clear());

const TOKENS: Record<string, string> = { "of-ann": "ann", "of-bob": "bob" };

/** A server that knows ann and bob, by token or by password, and what it was asked. */
async function guarded(): Promise<{
  server: Server;
  asked: Credentials[];
  as: (token: string) => Promise<Client>;
}> {
  const asked: Credentials[] = [];
  const authenticate = async (shown: Credentials, peer: string) => {
    asked.push(shown);
    expect(peer).toContain("127.0.0.1");
    const known = shown.kind === "bearer" ? TOKENS[shown.token] : undefined;
    if (known !== undefined) return known;
    if (shown.kind === "basic" && shown.password === `secret of ${shown.user}`) return shown.user;
    throw new Error("nobody knows you");
  };
  const server = await services.serve({ authenticate });
  await server.put("it", numbers(1));
  const as = (bearer: string) => connect(server.control as string, { credentials: { bearer } });
  return { server, asked, as };
}

describe("a caller", () => {
  test("with a token that the hook knows is let in", async () => {
    const { as, asked } = await guarded();
    const client = await as("of-ann");
    expect((await client.list()).map(({ name }) => name)).toEqual(["it"]);
    expect(await drain(client.get("it", { via: "grpc" }))).toMatchObject({ rows: 10 });
    expect(asked[0]).toEqual({ kind: "bearer", token: "of-ann" });
  });

  test("with a name and a password that the hook knows is let in", async () => {
    const { server, asked } = await guarded();
    const credentials = { user: "ann", password: "secret of ann" };
    const client = await connect(server.control as string, { credentials });
    expect(await client.list()).toHaveLength(1);
    expect(asked[0]).toEqual({ kind: "basic", ...credentials });
  });

  test.each([
    ["nothing", undefined],
    ["a token that nobody knows", { bearer: "of-eve" }],
    ["an empty token", { bearer: "" }],
    ["a wrong password", { user: "ann", password: "guessed" }],
    ["a password without a name", { user: "", password: "secret of " }],
  ])("with %s is refused, whatever it asks, and told why", async (_, credentials) => {
    const { server } = await guarded();
    const ask = async (call: (client: Client) => Promise<unknown>) =>
      call(await connect(server.control as string, credentials === undefined ? {} : { credentials }));
    for (const call of [
      (client: Client) => client.list(),
      (client: Client) => client.info("it"),
      (client: Client) => client.schema("it"),
      (client: Client) => client.get("it").next(),
      (client: Client) => client.put("up", numbers(1)),
    ]) {
      expect(await codeOf(ask(call))).toBe("ERR_UNAUTHENTICATED");
    }
  });

  test("that is refused is told what the hook threw", async () => {
    const { as } = await guarded();
    await expect(as("of-eve").then((client) => client.list())).rejects.toThrow("nobody knows you");
  });
});

describe("a ticket", () => {
  test("that was minted for somebody else buys nothing by DoGet", async () => {
    const { as } = await guarded();
    const [ann, bob] = [await as("of-ann"), await as("of-bob")];
    const info = await ann.info("it");
    expect(await codeOf(bob.read(info, { via: "grpc" }).next())).toBe("ERR_NOT_PERMITTED");
    expect(await drain(ann.read(info, { via: "grpc" }))).toMatchObject({ rows: 10 });
  });

  test.each(DATA_WAYS)(
    "is all that counts at a data port: without one nothing is had over %s",
    async (scheme) => {
      const { server, as } = await guarded();
      const [{ ticket }] = (await (await as("of-ann")).info("it")).endpoints;
      expect(await drain(readFrom(uriOf(server, scheme), ticket))).toMatchObject({ rows: 10 });
      for (const guess of ["", "of-ann", "0".repeat(32)]) {
        expect(await codeOf(readFrom(uriOf(server, scheme), guess).next())).toBe("ERR_TICKET");
      }
    },
  );
});

test("a hook that throws, answers nothing or something strange lets nobody in", async () => {
  for (const authenticate of [
    () => undefined as unknown as string,
    () => 5 as unknown as string,
    () => "",
    () => Promise.reject("no"),
    () => {
      throw new RangeError("broken");
    },
  ]) {
    const { client } = await services.both({ authenticate, data: [] });
    expect(await codeOf(client.list())).toBe("ERR_UNAUTHENTICATED");
  }
  expect(await codeOf(services.serve({ authenticate: "yes" as never }))).toBe("ERR_INVALID_ARGUMENT");
});
