import type { Placement } from "./pair.js";
import { type BenchOptions, bytes, print, row, spread } from "./rows.js";
import { type Case, figures, measure, scaled } from "./run.js";

const PAYLOADS = [4096, 64 * 2 ** 10, 2 ** 20, 4 * 2 ** 20, 40 * 2 ** 20] as const;
const DID = ["untouched", "read", "one page written", "all written"] as const;
const UNTIL = ["dispose", "back"] as const;

/**
 * `bench recycle`: what it costs to find and drop the pages that a consumer wrote into a batch, in microseconds: how long
 * `dispose` keeps the consumer's loop (mode `dispose`), and until the producer has its memory back (mode `back`, the
 * wake-ups included); against copying the payload once (`memcpy`).
 */
export async function recycle(options: BenchOptions = {}): Promise<void> {
  // Its pages are dropped on a thread of their own when there are many: that needs a processor of its own too.
  const placement: Placement = { name: "free", processors: [undefined, undefined] };
  const rounds = (payload: number) => scaled(payload > 2 ** 20 ? 100 : 1000, options);
  const cases = PAYLOADS.flatMap((payload): Case[] => [
    { kind: "memcpy", payload, warm: 10, rounds: rounds(payload) },
    ...DID.flatMap((did) =>
      UNTIL.map((until): Case => {
        return { kind: "recycling", payload, mode: `${did}/${until}`, warm: 50, rounds: rounds(payload) };
      }),
    ),
  ]);
  const found = await measure([{ placement, side: "first", cases }], options);
  const rows = PAYLOADS.flatMap((payload) =>
    DID.flatMap((did) =>
      UNTIL.map((mode) => {
        const ours = found(placement.name, "recycling", payload, `${did}/${mode}`);
        return row(
          {
            bench: "recycle",
            case: `${bytes(payload)}, ${did}`,
            unit: "us",
            better: "lower",
            payload,
            placement: placement.name,
            mode,
            p99: spread(figures(ours, "p99")),
          },
          figures(ours, "p50"),
          { memcpy: figures(found(placement.name, "memcpy", payload), "p50") },
        );
      }),
    ),
  );
  print(rows, options.json === true);
}
