import { placements } from "./pair.js";
import { type BenchOptions, print, type Row, row } from "./rows.js";
import { type Case, figures, measure, scaled } from "./run.js";

const PAYLOAD = 4096;
/** Columns of doubles that the 4 KiB are spread over. */
const COLUMNS = [1, 4] as const;

/**
 * `bench rate`: batches of 4 KiB one way, as many a second as go: handles drained and disposed, and with a RecordBatch
 * built of each; against apache-arrow's IPC over `net` (`net-ipc`), and building the same RecordBatch from buffers of
 * one's own in a loop (`local`).
 */
export async function rate(options: BenchOptions = {}): Promise<void> {
  const ours = { payload: PAYLOAD, warm: 20_000, rounds: scaled(100_000, options) };
  const theirs = { payload: PAYLOAD, warm: 1000, rounds: scaled(5000, options) };
  const places = placements();
  const groups = places.flatMap((placement) =>
    COLUMNS.flatMap((columns): Case[][] => [
      [{ kind: "rate", mode: "handles", columns, ...ours }],
      [{ kind: "ipc-rate", columns, ...theirs }],
      [{ kind: "rate", mode: "record-batches", columns, ...ours }],
      [{ kind: "local-rate", columns, ...ours }],
    ]).map((cases) => ({ placement, side: "second" as const, cases })),
  );
  const found = await measure(groups, options);
  const rows: Row[] = [];
  for (const { name: placement } of places) {
    for (const columns of COLUMNS) {
      const figure = (kind: Case["kind"], mode?: string) =>
        figures(found(placement, kind, PAYLOAD, mode, columns), "perSecond");
      const common = {
        bench: "rate",
        unit: "batches/s",
        better: "higher",
        payload: PAYLOAD,
        placement,
      } as const;
      const what = `${columns} ${columns === 1 ? "column" : "columns"}`;
      const ipc = figure("ipc-rate");
      rows.push(
        row({ ...common, case: `handles, ${what}`, mode: "handles" }, figure("rate", "handles"), {
          "net-ipc": ipc,
        }),
        row(
          { ...common, case: `record batches, ${what}`, mode: "record-batches" },
          figure("rate", "record-batches"),
          { "net-ipc": ipc, local: figure("local-rate") },
        ),
      );
    }
  }
  print(rows, options.json === true);
}
