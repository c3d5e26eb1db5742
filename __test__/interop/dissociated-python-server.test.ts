/** Our client reads what Python serves, in whatever order Dissociated IPC allows, and with the example's quirks. */
import { afterAll, afterEach, expect, jest, test } from "@jest/globals";
import { readFrom } from "../../ts/flight.js";
import { codeOf } from "../support.js";
import { describePeers, NETWORKS, type Peer, Peers } from "./peer-support.js";

jest.setTimeout(120_000);
const peers = new Peers();
afterEach(() => peers.clear());
afterAll(() => peers.leave());

describePeers("a Python server for our client", () => {
  /** A server, and where it is; it serves each client in the order that it is told. */
  async function serving(network: string, shape: "one" | "split", kind: "plain" | "extended" = "plain") {
    const peer = peers.start("peer", "serve", network, shape, kind);
    const { uris } = await peer.says<{ uris: string[] }>();
    return { peer, source: shape === "one" ? uris[0] : { metadata: uris[0], data: uris[1] } };
  }

  async function inOrder(peer: Peer, order: string): Promise<void> {
    peer.tell(order);
    expect(await peer.says()).toEqual({ ready: order });
  }

  for (const network of NETWORKS) {
    for (const shape of ["one", "split"] as const) {
      test(`${network}, ${shape}: every dataset, in every order that is allowed`, async () => {
        const { peer, source } = await serving(network, shape);
        const cases = [
          ["numbers", "interleaved", 5],
          ["every", "metadata_first", 4],
          ["numbers", "bodies_first", 5],
          ["deltas", "interleaved", 4],
          ["deltas", "bodies_first", 4],
          ["replaced", "metadata_first", 4],
          ["nothing", "interleaved", 0],
          ["zero-rows", "interleaved", 6],
          ["zero-rows", "without_empty_bodies", 6],
          ["no-buffers", "metadata_first", 3],
          ["zstd", "interleaved", 3],
          ["lz4", "bodies_first", 3],
          ["numbers", "end_is_zero", 5],
          ["numbers", "padded", 5],
          ["large", "interleaved", 2],
        ] as const;
        for (const [name, order, batches] of cases) {
          await inOrder(peer, order);
          const transfer = readFrom(source, name);
          const fetched = await peers.isTheDataset(name, transfer);
          expect([name, order, fetched.batches, transfer.via]).toEqual([name, order, batches, network]);
          expect(await peer.says()).toEqual({ served: order });
        }
      });
    }

    test(`${network}: values are where JavaScript looks for them`, async () => {
      const { peer, source } = await serving(network, "one");
      await inOrder(peer, "interleaved");
      let n = 0;
      for await (const batch of peers.fetches(readFrom(source, "numbers"))) {
        expect([batch.via, batch.zeroCopy, batch.length]).toEqual([network, true, 1000]);
        const [i, x, s] = ["i", "x", "s"].map((name) => batch.column(name));
        expect([i.get(0), i.get(999), x.get(3), s.get(0), s.get(1)]).toEqual([
          n % 7 === 0 ? null : BigInt(n),
          BigInt(n + 999) % 7n === 0n ? null : BigInt(n + 999),
          (n + 3) / 2,
          null,
          `row ${n + 1}`,
        ]);
        n += batch.length;
        batch.dispose();
      }
      expect(n).toBe(5000);
    });

    test(`${network}: a server that closes for a ticket that it does not know, or goes away, is an error`, async () => {
      const { peer, source } = await serving(network, "one");
      await inOrder(peer, "interleaved");
      expect(await codeOf(readFrom(source, "no such dataset").next())).toBe("ERR_PUBLISHER_LOST");
      await peer.says();
      await inOrder(peer, "leaving");
      const transfer = peers.fetches(readFrom(source, "numbers"));
      const { value } = await transfer.next();
      expect(value?.length).toBe(1000);
      expect(await codeOf(transfer.next())).toBe("ERR_PUBLISHER_LOST");
      expect(value?.column("x").get(2)).toBe(1);
      value?.dispose();
    });

    test(`${network}: an error of a server with the extension is thrown, after what came before it`, async () => {
      const { peer, source } = await serving(network, "one", "extended");
      await inOrder(peer, "failing");
      const transfer = peers.fetches(readFrom(source, "numbers"));
      const { value } = await transfer.next();
      expect(value?.length).toBe(1000);
      value?.dispose();
      await expect(transfer.next()).rejects.toThrow("ERR_DISK: the disk is gone");
    });

    test(`${network}: one that stops reading is no harm to a server, and one that leaves neither`, async () => {
      const { peer, source } = await serving(network, "one");
      await inOrder(peer, "interleaved");
      const transfer = peers.fetches(readFrom(source, "many"));
      const { value } = await transfer.next();
      transfer.close();
      expect(await peer.says()).toEqual({ served: "interleaved" });
      expect(value?.column("x").get(2)).toBe(1);
      value?.dispose();
    });
  }
});
