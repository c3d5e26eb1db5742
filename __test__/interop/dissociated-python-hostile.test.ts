/** Servers in Python that lie: our client says what is wrong, keeps what it had, and lives. */
import { afterAll, afterEach, expect, jest, test } from "@jest/globals";
import { readFrom } from "../../ts/flight.js";
import { describePeers, NETWORKS, Peers } from "./peer-support.js";

jest.setTimeout(120_000);
const peers = new Peers();
afterEach(() => peers.clear());
afterAll(() => peers.leave());

/** What the error says, by the lie; the first batch is delivered before it. */
const SAID: Record<string, RegExp> = {
  short: /packed body: \d+ bytes came, \d+ are needed/,
  short_by_all: /bytes came, \d+ are needed|the body of message 2 never came/,
  nowhere: /message [0-9]+.* never came|data was lost/,
  beyond: /body 2147483647 is beyond the window/,
  twice: /body 2 came twice/,
  again: /body 1 came twice, or after it was delivered/,
  skipped: /messages 2 to 3 never came|message 2 never came|data was lost/,
  strange_tag: /unknown tag 0x7f00000000000002/,
  reserved_bits: /unknown tag 0x0000010000000002/,
  lent: /lend|lent|address|segment|memory/,
  strange_type: /metadata message of unknown type 0x4d/,
  no_flatbuffer: /damaged message/,
  cut: /damaged message/,
  second_schema: /message 2 is a schema|is a second schema/,
  other_schema: /do not describe the same data|does not fit|differ|damaged message|bytes came/,
  longer_than_said: /does not fit|do not describe the same data|damaged message/,
  negative: /damaged message|bytes came/,
  enormous: /packed body: \d+ bytes came, 1099511627776 are needed/,
  unknown_dictionary: /no field of the schema has dictionary|damaged message/,
  garbage: /begin|marker|message/,
  announced: /went away in the middle of its stream/,
  too_long: /limit|bytes/,
  negative_length: /a message of -5 bytes cannot be/,
};

interface Lies {
  lies: string[];
  tcp: string[];
}

describePeers("a Python server that lies", () => {
  for (const network of NETWORKS) {
    test(`${network}: every lie about numbers, lengths, types and headers is named, and the next transfer is whole`, async () => {
      const { lies, tcp } = await peers.peer<Lies>("lies");
      const server = peers.start("peer", "serve", network, "one", "plain");
      const { uris } = await server.says<{ uris: string[] }>();
      const heard: Record<string, string> = {};
      for (const lie of [...lies, ...(network === "tcp" ? tcp : [])]) {
        if (!(lie in SAID)) continue;
        server.tell(lie);
        await server.says();
        const transfer = peers.fetches(readFrom(uris[0], "numbers"));
        let error: unknown;
        let rows = 0;
        try {
          for await (const batch of transfer) {
            if (batch.column("x").get(2) !== (rows + 2) / 2) throw new Error("another value");
            rows += batch.length;
            batch.dispose();
          }
        } catch (thrown) {
          error = thrown;
        }
        // What came whole before the lie may have been delivered: whole batches, no more than there were.
        expect([lie, [0, 1000, 2000].includes(rows)]).toEqual([lie, true]);
        heard[lie] = error instanceof Error ? error.message : `nothing, after ${rows} rows`;
        await server.says();
      }
      const wrong = Object.entries(heard).filter(([lie, said]) => !SAID[lie].test(said));
      expect(wrong).toEqual([]);
      server.tell("interleaved");
      await server.says();
      expect(await peers.isTheDataset("numbers", readFrom(uris[0], "numbers"))).toMatchObject({ rows: 5000 });
    });

    test(`${network}: values that lead out of their batch are an error where they are read, or nonsense, and no crash`, async () => {
      const server = peers.start("peer", "serve", network, "one", "plain");
      const { uris } = await server.says<{ uris: string[] }>();
      server.tell("wrong_offsets");
      await server.says();
      const transfer = peers.fetches(readFrom(uris[0], "numbers"));
      const texts: unknown[] = [];
      try {
        for await (const batch of transfer) {
          for (const column of [batch.column("i"), batch.column("s")]) {
            try {
              texts.push(column.get(1), column.get(999));
            } catch (error) {
              texts.push(error);
            }
          }
          batch.dispose();
        }
      } catch (error) {
        texts.push(error);
      }
      expect(texts.slice(0, 4)).toEqual([1n, 999n, "row 1", "row 999"]);
      await server.says();
      server.tell("interleaved");
      await server.says();
      expect(await peers.isTheDataset("many", readFrom(uris[0], "many"))).toMatchObject({ rows: 400 });
    });
  }
});
