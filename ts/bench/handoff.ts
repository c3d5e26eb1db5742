import { placements } from "./pair.js";
import { type BenchOptions, bytes, print, type Row, row, spread } from "./rows.js";
import { type Case, figures, measure, scaled } from "./run.js";

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const MODES = ["callback", "for-await"] as const;

/** Rounds to warm up and to measure, by payload: ours, and the socket with IPC, whose large ones take seconds each. */
const PAYLOADS = [
  { payload: 4 * KIB, ours: [4000, 20_000], ipc: [500, 1000], copy: [100, 2000] },
  { payload: 64 * KIB, ours: [2000, 5000], ipc: [300, 600], copy: [100, 2000] },
  { payload: 4 * MIB, ours: [500, 2000], ipc: [10, 30], copy: [20, 400] },
  { payload: 40 * MIB, ours: [200, 1000], ipc: [1, 4], copy: [5, 50] },
  { payload: 400 * MIB, ours: [10, 20], ipc: [0, 1], copy: [1, 5] },
] as const;

/**
 * `bench handoff`: one batch from one process to another, microseconds one way, against eight bytes through the same
 * poll handle (`floor`), eight bytes through Node's `net` (`net`), apache-arrow's IPC over `net` (`net-ipc`), and
 * copying the payload once (`memcpy`).
 */
export async function handoff(options: BenchOptions = {}): Promise<void> {
  const sizes = (kind: Case["kind"], which: "ours" | "ipc" | "copy", mode?: string): Case[] =>
    PAYLOADS.map((each) => {
      const [warm, rounds] = each[which];
      return { kind, payload: each.payload, warm, rounds: scaled(rounds, options), mode };
    });
  const eight = { payload: 8, warm: 4000, rounds: scaled(20_000, options) };
  const places = placements();
  const groups = places.flatMap((placement) =>
    (
      [
        [{ kind: "floor", ...eight }],
        sizes("hand-off", "ours", "callback"),
        [{ kind: "net", ...eight }],
        sizes("hand-off", "ours", "for-await"),
        sizes("memcpy", "copy"),
        sizes("ipc", "ipc"),
      ] satisfies Case[][]
    ).map((cases) => ({ placement, side: "first" as const, cases })),
  );
  const found = await measure(groups, options);
  const rows: Row[] = [];
  for (const { name: placement } of places) {
    const figure = (kind: Case["kind"], payload: number, mode?: string) =>
      figures(found(placement, kind, payload, mode), "p50");
    const common = { bench: "handoff", unit: "us", better: "lower", placement } as const;
    const floor = figure("floor", 8);
    const p99 = spread(figures(found(placement, "floor", 8), "p99"));
    rows.push(row({ ...common, case: "floor", payload: 8, p99 }, floor, { net: figure("net", 8) }));
    for (const mode of MODES) {
      for (const { payload } of PAYLOADS) {
        const ours = found(placement, "hand-off", payload, mode);
        rows.push(
          row(
            { ...common, case: bytes(payload), payload, mode, p99: spread(figures(ours, "p99")) },
            figures(ours, "p50"),
            {
              floor,
              net: figure("net", 8),
              "net-ipc": figure("ipc", payload),
              memcpy: figure("memcpy", payload),
            },
          ),
        );
      }
    }
  }
  print(rows, options.json === true);
}
