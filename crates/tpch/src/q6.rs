//! TPC-H query 6: the revenue that small discounts cost in 1994.

use tpchgen::q_and_a::QueryAndAnswer;

use crate::lineitem::{Error, check};

/// The answer of query 6 that TPC-H ships (through tpchgen): scale factor 1 only, two decimals, as text.
pub(crate) fn shipped_answer(scale_factor: f64) -> Option<String> {
    let answer = QueryAndAnswer::new(6, scale_factor).ok()?;
    // A table of one row below a line of column names.
    answer.answer().lines().map(str::trim).filter(|line| !line.is_empty()).nth(1).map(str::to_owned)
}

/// Query 6 over the generator's own rows: whole ten-thousandths, exact. Shares nothing with the Arrow columns, so
/// it is what an answer computed from them is compared with at scale factors without a shipped answer.
pub(crate) fn exact_answer(scale_factor: f64) -> Result<i128, Error> {
    use tpchgen::dates::TPCHDate;
    use tpchgen::generators::LineItemGenerator;

    check(scale_factor, 1, 1)?;
    // The generator's own calendar, which prints the ISO form.
    let in_1994 = |date: TPCHDate| date.to_string().starts_with("1994-");
    let revenue = LineItemGenerator::new(scale_factor, 1, 1)
        .iter()
        .filter(|row| row.l_quantity < 24 && (5..=7).contains(&row.l_discount.0))
        .filter(|row| in_1994(row.l_shipdate))
        .map(|row| i128::from(row.l_extendedprice.0) * i128::from(row.l_discount.0))
        .sum();
    Ok(revenue)
}

/// Ten-thousandths as text with exactly four decimals and no separators.
pub(crate) fn four_decimals(ten_thousandths: i128) -> String {
    // Revenue is never negative.
    format!("{}.{:04}", ten_thousandths / 10_000, ten_thousandths % 10_000)
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Date32Type, Decimal128Type};

    use super::*;
    use crate::lineitem::Lineitem;

    /// The query over the Arrow columns, as a consumer computes it.
    fn from_columns(scale_factor: f64) -> i128 {
        // Days since 1970 of 1994-01-01 and 1995-01-01.
        let year = 8766..9131;
        let names = ["l_quantity", "l_extendedprice", "l_discount", "l_shipdate"].map(str::to_owned);
        let mut table = Lineitem::new(scale_factor, 64 * 1024, 1, 1, Some(&names)).unwrap();
        let mut sum = 0;
        while let Some(batch) = table.next_batch().unwrap() {
            let money = |i: usize| batch.column(i).as_primitive::<Decimal128Type>().values().clone();
            let (quantity, price, discount) = (money(0), money(1), money(2));
            let shipped = batch.column(3).as_primitive::<Date32Type>().values();
            for row in 0..batch.num_rows() {
                if year.contains(&shipped[row]) && quantity[row] < 2400 && (5..=7).contains(&discount[row]) {
                    sum += price[row] * discount[row];
                }
            }
        }
        sum
    }

    #[test]
    fn the_columns_give_the_same_answer_as_the_rows_they_were_made_from() {
        let answer = from_columns(0.01);
        assert!(answer > 0);
        assert_eq!(answer, exact_answer(0.01).unwrap());
    }

    #[test]
    fn at_scale_factor_1_the_answer_is_the_shipped_one() {
        let answer = from_columns(1.0);
        assert_eq!(four_decimals(answer), "123141078.2283");
        // The shipped one is rounded to two decimals.
        let cents = (answer + 50) / 100;
        assert_eq!(format!("{}.{:02}", cents / 100, cents % 100), shipped_answer(1.0).unwrap());
    }

    #[test]
    fn only_scale_factor_1_has_a_shipped_answer() {
        assert_eq!(shipped_answer(1.0).as_deref(), Some("123141078.23"));
        assert_eq!(shipped_answer(2.0), None);
    }

    #[test]
    fn four_decimals_means_four() {
        assert_eq!(four_decimals(1_231_410_782_283), "123141078.2283");
        assert_eq!(four_decimals(10_001), "1.0001");
        assert_eq!(four_decimals(0), "0.0000");
    }
}
