/** `strictZeroCopy` on a subscription: what would be copied in silence is refused, column by column. */
import { afterEach, expect, test } from "@jest/globals";
import * as arrow from "apache-arrow";
import type { Batch, Publisher } from "../../ts/index.js";
import { codeOf, connected, Stage, until } from "../support.js";

const stage = new Stage();
afterEach(() => stage.clear());

const schema = new arrow.Schema([
  new arrow.Field("even", new arrow.Int64(), false),
  new arrow.Field("odd", new arrow.Int64(), false),
]);
const EVEN = [1n, 2n, 3n, 4n];
const ODD = [5n, -6n, 7n, 2n ** 40n];

/** Sends, without a copy, a batch whose second column is aligned to four bytes where eight are wanted. */
async function sendMisaligned(publisher: Publisher): Promise<void> {
  const writer = await publisher.allocate(
    new arrow.Schema([new arrow.Field("b", new arrow.Uint8(), false)]),
    256,
  );
  const bytes = writer.column("b") as Uint8Array;
  const place = (values: bigint[], at: number) => {
    const part = bytes.subarray(at, at + 32);
    part.set(new Uint8Array(BigInt64Array.from(values).buffer));
    const data = arrow.makeData({
      type: new arrow.Int64(),
      length: 4,
      nullCount: 0,
      data: new BigInt64Array(4),
    });
    // What other producers do by themselves: bytes that lie where they lie.
    Object.defineProperty(data, "values", { value: part });
    return data;
  };
  const children = [place(EVEN, 64), place(ODD, 132)];
  const rows = arrow.makeData({ type: new arrow.Struct(schema.fields), length: 4, nullCount: 0, children });
  await publisher.send(new arrow.RecordBatch(schema, rows as never));
}

async function receivedBy(publisher: Publisher, strictZeroCopy: boolean): Promise<Batch> {
  const before = publisher.subscribers;
  const next = stage.subscribe(publisher.topic, { strictZeroCopy }).next();
  await until(() => publisher.subscribers === before + 1, "it takes part");
  await sendMisaligned(publisher);
  return (await next).value as Batch;
}

test("without it a buffer that is not aligned is copied, and the batch says so", async () => {
  const { publisher, pending } = await connected(stage, { strictZeroCopy: true });
  const batch = await receivedBy(publisher, false);
  expect([...batch.column("even")]).toEqual(EVEN);
  expect(batch.zeroCopy).toBe(true);
  expect([...batch.column("odd")]).toEqual(ODD);
  expect(batch.zeroCopy).toBe(false);
  const copy = batch.copy();
  batch.dispose();
  (await pending[0]).dispose();
  expect([...copy.column("odd")]).toEqual(ODD);
  copy.dispose();
});

test("with it such a column is refused, the others are read, and what is copied on purpose is not refused", async () => {
  const { publisher, pending } = await connected(stage);
  const batch = await receivedBy(publisher, true);
  expect([...batch.column("even")]).toEqual(EVEN);
  for (const look of [
    () => batch.column("odd"),
    () => batch.toArrow(),
    () => batch.slice(1, 3).column("odd"),
    () => batch.select(["odd"]).toArrow(),
  ]) {
    expect(await codeOf(look)).toBe("ERR_COPY_REQUIRED");
  }
  expect(batch.zeroCopy).toBe(true);
  expect(batch.select(["even"]).toArrow().numRows).toBe(4);
  const copy = batch.copy();
  expect([...copy.column("odd")]).toEqual(ODD);
  // Sent on, it lies where it should.
  const onward = await connected(stage);
  await onward.publisher.send(batch);
  const again = await onward.pending[0];
  expect([...again.column("odd")]).toEqual(ODD);
  expect(again.zeroCopy).toBe(true);
  for (const one of [batch, copy, again, await pending[0]]) one.dispose();
});
