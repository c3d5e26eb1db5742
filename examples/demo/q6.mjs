// TPC-H query 6 over apache-arrow columns, in place:
//
//   select sum(l_extendedprice * l_discount) from lineitem
//   where l_shipdate >= '1994-01-01' and l_shipdate < '1995-01-01'
//     and l_discount between 0.05 and 0.07 and l_quantity < 24
//
// Whole numbers throughout: money is hundredths, the answer ten-thousandths, so it is exact.

const DAY = 86_400_000;
const FIRST_DAY = Date.UTC(1994, 0, 1) / DAY;
const LAST_DAY = Date.UTC(1995, 0, 1) / DAY - 1;
/** The columns that the query reads. */
export const columns = ["l_quantity", "l_extendedprice", "l_discount", "l_shipdate"];

/** The products of one batch, in ten-thousandths, and the bytes of the columns that were read. */
export function query6(batch) {
  const [quantity, price, discount, shipped] = columns.map((name) => values(batch.column(name)));
  const rows = batch.length;
  // Sums of rows are numbers as long as they are exact, then a bigint.
  let total = 0n;
  let sum = 0;
  for (let row = 0, at = 0; row < rows; row++, at += 4) {
    const day = shipped[row];
    if (day < FIRST_DAY || day > LAST_DAY) continue;
    // A decimal is four words, the lowest first. One word holds these values; if one ever does not, take the slow way.
    if ((quantity[at + 1] | quantity[at + 2] | quantity[at + 3]) !== 0) return slowly(batch);
    if ((discount[at + 1] | discount[at + 2] | discount[at + 3]) !== 0) return slowly(batch);
    const d = discount[at];
    if (quantity[at] >= 2400 || d < 5 || d > 7) continue;
    if ((price[at + 1] | price[at + 2] | price[at + 3]) !== 0) return slowly(batch);
    sum += price[at] * d;
    if (sum > 2 ** 52) {
      total += BigInt(sum);
      sum = 0;
    }
  }
  const bytes = quantity.byteLength + price.byteLength + discount.byteLength + shipped.byteLength;
  return { total: total + BigInt(sum), bytes };
}

/** As above, for decimals of any size. */
function slowly(batch) {
  const [quantity, price, discount, shipped] = columns.map((name) => values(batch.column(name)));
  let total = 0n;
  for (let row = 0; row < batch.length; row++) {
    const [q, p, d] = [quantity, price, discount].map((words) => decimal(words, row));
    if (shipped[row] < FIRST_DAY || shipped[row] > LAST_DAY || q >= 2400n || d < 5n || d > 7n) continue;
    total += p * d;
  }
  const bytes = quantity.byteLength + price.byteLength + discount.byteLength + shipped.byteLength;
  return { total, bytes };
}

function decimal(words, row) {
  let value = 0n;
  for (let word = 3; word >= 0; word--) value = (value << 32n) | BigInt(words[4 * row + word]);
  return BigInt.asIntN(128, value);
}

/** The column's values where the publisher wrote them: a typed array over shared memory. */
function values(column) {
  if (column.nullCount > 0 || column.data.length !== 1)
    throw new Error("lineitem has no nulls and one chunk a batch");
  return column.data[0].values;
}

/** Ten-thousandths as text with exactly four decimals. */
export function fourDecimals(total) {
  return `${total / 10_000n}.${String(total % 10_000n).padStart(4, "0")}`;
}
