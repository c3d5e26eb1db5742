//! The table `lineitem`, batch by batch.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use tpchgen::generators::LineItemGenerator;
use tpchgen_arrow::LineItemArrow;

/// Why a table cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the scale factor is {0}; expected a number above 0 and at most 100000")]
    ScaleFactor(f64),
    #[error("the batch size is {0}; expected at least 1 row")]
    BatchRows(u32),
    #[error("part {part} of {parts}; parts are numbered from 1 to the number of parts")]
    Part { part: i32, parts: i32 },
    #[error("lineitem has no column {name:?}; it has {known}")]
    Column { name: String, known: String },
    #[error("making the next batch failed: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
}

/// An iterator over the batches of `lineitem`, or of one part of it.
pub(crate) struct Lineitem {
    rows: LineItemArrow,
    /// Positions of the wanted columns; None for all.
    columns: Option<Vec<usize>>,
}

impl Lineitem {
    /// Batches of `batch_rows` rows (the last is shorter) of part `part` of `parts`, of the named columns in the
    /// order given.
    pub(crate) fn new(
        scale_factor: f64,
        batch_rows: u32,
        part: i32,
        parts: i32,
        columns: Option<&[String]>,
    ) -> Result<Self, Error> {
        check(scale_factor, part, parts)?;
        if batch_rows == 0 {
            return Err(Error::BatchRows(batch_rows));
        }
        let schema = LineItemArrow::schema_ref();
        let position = |name: &String| schema.index_of(name).map_err(|_| unknown(name, &schema));
        let columns = columns.map(|names| names.iter().map(position).collect::<Result<Vec<_>, _>>()).transpose()?;
        let generator = LineItemGenerator::new(scale_factor, part, parts);
        Ok(Self { rows: LineItemArrow::new(generator).with_batch_size(batch_rows as usize), columns })
    }

    /// The next batch; None at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        let Some(batch) = self.rows.next().transpose()? else { return Ok(None) };
        Ok(Some(match &self.columns {
            Some(columns) => batch.project(columns)?,
            None => batch,
        }))
    }
}

/// How many rows the whole table has. Counted, since each order has a random number of lines: takes a while at
/// large scale factors.
pub(crate) fn count_rows(scale_factor: f64) -> Result<u64, Error> {
    check(scale_factor, 1, 1)?;
    Ok(LineItemGenerator::new(scale_factor, 1, 1).iter().map(|_| 1).sum())
}

pub(crate) fn check(scale_factor: f64, part: i32, parts: i32) -> Result<(), Error> {
    // Written so that NaN is refused.
    if !(scale_factor > 0.0 && scale_factor <= 100_000.0) {
        return Err(Error::ScaleFactor(scale_factor));
    }
    if part < 1 || part > parts {
        return Err(Error::Part { part, parts });
    }
    Ok(())
}

fn unknown(name: &str, schema: &SchemaRef) -> Error {
    let known: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    Error::Column { name: name.to_owned(), known: known.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(mut table: Lineitem) -> Vec<RecordBatch> {
        std::iter::from_fn(|| table.next_batch().unwrap()).collect()
    }

    #[test]
    fn batches_have_the_size_asked_for_and_all_rows_come() {
        let batches = batches(Lineitem::new(0.001, 1000, 1, 1, None).unwrap());
        let (last, full) = batches.split_last().unwrap();
        assert!(full.iter().all(|b| b.num_rows() == 1000));
        let rows = full.len() * 1000 + last.num_rows();
        assert_eq!((rows, rows as u64), (6005, count_rows(0.001).unwrap()));
    }

    #[test]
    fn the_parts_together_are_the_table() {
        let join =
            |batches: Vec<RecordBatch>| arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
        let whole = join(batches(Lineitem::new(0.001, 7000, 1, 1, None).unwrap()));
        let parts = (1..=3).flat_map(|part| batches(Lineitem::new(0.001, 500, part, 3, None).unwrap())).collect();
        assert_eq!(join(parts), whole);
    }

    #[test]
    fn columns_come_in_the_order_asked_for() {
        let names = ["l_shipdate".to_owned(), "l_orderkey".to_owned()];
        let mut table = Lineitem::new(0.001, 10, 1, 1, Some(&names)).unwrap();
        let batch = table.next_batch().unwrap().unwrap();
        assert_eq!(batch.schema().fields().iter().map(|f| f.name()).collect::<Vec<_>>(), ["l_shipdate", "l_orderkey"]);
    }

    #[test]
    fn what_makes_no_table_is_refused() {
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Lineitem::new(scale, 10, 1, 1, None).is_err());
            assert!(count_rows(scale).is_err());
        }
        assert!(Lineitem::new(1.0, 0, 1, 1, None).is_err());
        assert!(Lineitem::new(1.0, 1, 0, 1, None).is_err());
        assert!(Lineitem::new(1.0, 1, 3, 2, None).is_err());
        let error = Lineitem::new(1.0, 1, 1, 1, Some(&["l_nothing".to_owned()])).err().unwrap();
        assert!(error.to_string().contains("l_comment"), "{error}");
    }
}
