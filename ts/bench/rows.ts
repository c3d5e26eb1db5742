/** Least, median and greatest of the rounds. */
export type Spread = [min: number, median: number, max: number];

/** One line of a benchmark's output. */
export interface Row {
  bench: string;
  case: string;
  unit: string;
  ours: Spread;
  peers: Record<string, Spread>;
  /** Median of ours ÷ the peer's. */
  ratio: Record<string, number>;
  better: "lower" | "higher";
  payload?: number;
  placement?: string;
  mode?: string;
  p99?: Spread;
  /** Where rounds were paired: the median of the pairs' ratios to each peer, between what it is with 95 % certainty. */
  interval?: Record<string, Spread>;
}

/** What a benchmark is asked for. */
export interface BenchOptions {
  /** One JSON object a line on standard output instead of a table. */
  json?: boolean;
  /** How many rounds to take the median of: 5 unless said otherwise. */
  repeat?: number;
  /** A factor on the number of hand-offs per round: below 1 for a quick look, above it for a steadier p99. */
  scale?: number;
  /** The Python of `bench python` and `bench flight`: `$PYTHON`, else `python3`. It needs pyarrow. */
  python?: string;
}

/** Least, median and greatest. */
export function spread(values: readonly number[]): Spread {
  const sorted = Float64Array.from(values).sort();
  const middle = (sorted.length - 1) / 2;
  const median = (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
  return [round(sorted[0]), round(median), round(sorted[sorted.length - 1])];
}

/** The value below which `part` of the values lie. Sorts them. */
export function quantile(values: Float64Array, part: number): number {
  values.sort();
  return values[Math.min(values.length - 1, Math.floor(values.length * part))];
}

/** A row with its ratios; peers without a figure are left out. */
export function row(
  fields: Omit<Row, "ours" | "peers" | "ratio">,
  ours: readonly number[],
  peers: Record<string, readonly number[] | undefined>,
): Row {
  const own = spread(ours);
  const spreads: Record<string, Spread> = {};
  const ratio: Record<string, number> = {};
  for (const [name, values] of Object.entries(peers)) {
    if (values === undefined || values.length === 0) continue;
    spreads[name] = spread(values);
    ratio[name] = round(own[1] / spreads[name][1]);
  }
  return { ...fields, ours: own, peers: spreads, ratio };
}

/** Prints rows: as JSON lines, or as a table for people. */
export function print(rows: readonly Row[], json: boolean): void {
  if (json) {
    for (const each of rows) process.stdout.write(`${JSON.stringify(each)}\n`);
    return;
  }
  const head = ["case", "mode", "placement", "ours (min / median / max)", "p99", "peers (median), ratio"];
  const lines = rows.map((each) => [
    each.case,
    each.mode ?? "",
    each.placement ?? "",
    `${each.ours.map(short).join(" / ")} ${each.unit}`,
    each.p99 === undefined ? "" : short(each.p99[1]),
    Object.entries(each.peers)
      .map(([name, [, median]]) => `${name} ${short(median)} (${each.ratio[name]}×${certainty(each, name)})`)
      .join(", "),
  ]);
  const widths = head.map((title, i) => Math.max(title.length, ...lines.map((line) => line[i].length)));
  for (const line of [head, ...lines]) {
    process.stdout.write(
      `${line
        .map((cell, i) => cell.padEnd(widths[i]))
        .join("  ")
        .trimEnd()}\n`,
    );
  }
}

function certainty(row: Row, name: string): string {
  const interval = row.interval?.[name];
  return interval === undefined ? "" : `, paired ${interval[0]} to ${interval[2]}`;
}

/** How people write a number of bytes. */
export function bytes(count: number): string {
  if (count >= 2 ** 20) return `${count / 2 ** 20} MiB`;
  return count >= 1024 ? `${count / 1024} KiB` : `${count} B`;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}

function short(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString("en-US") : String(round(value));
}
