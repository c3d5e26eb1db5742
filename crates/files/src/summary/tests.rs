use std::sync::Arc;

use arrow_array::{Decimal128Array, Float64Array, Int64Array, StringViewArray};
use arrow_schema::Schema;

use super::*;
use crate::samples::{batch, every_column, words};

fn summarise(batches: &[RecordBatch]) -> Vec<ColumnSummary> {
    let mut summary = Summary::new(batches[0].schema());
    batches.iter().for_each(|b| summary.add(b).unwrap());
    summary.finish()
}

#[test]
fn extremes_nulls_and_rows_are_those_of_all_batches() {
    let make = |n: Vec<Option<i64>>, s: Vec<Option<&str>>, d: &[Option<&str>]| {
        let decimals: Decimal128Array = n.iter().map(|n| n.map(i128::from)).collect();
        batch(vec![
            ("n", Arc::new(Int64Array::from(n)) as ArrayRef),
            ("s", Arc::new(StringViewArray::from(s))),
            ("d", words(d)),
            ("m", Arc::new(decimals.with_precision_and_scale(15, 2).unwrap())),
        ])
    };
    let columns = summarise(&[
        make(vec![Some(3), None], vec![Some("b"), None], &[Some("x"), Some("y")]),
        make(vec![Some(-1), Some(2)], vec![Some("ab"), Some("c")], &[None, Some("z")]),
    ]);
    let of = |i: usize| {
        let c: &ColumnSummary = &columns[i];
        (c.rows, c.nulls, c.min.as_deref().unwrap(), c.max.as_deref().unwrap())
    };
    assert_eq!(of(0), (4, 1, "-1", "3"));
    assert_eq!(of(1), (4, 1, "ab", "c"));
    assert_eq!(of(2), (4, 1, "x", "z"));
    assert_eq!(of(3), (4, 1, "-0.01", "0.03"));
    assert_eq!((columns[3].name.as_str(), columns[3].data_type.as_str()), ("m", "Decimal128(15, 2)"));
}

#[test]
fn every_type_is_summarised_sliced_and_empty_too() {
    for (name, column) in every_column() {
        let whole = batch(vec![("c", column)]);
        let column = &summarise(&[whole.clone(), whole.slice(2, 3), whole.slice(1, 0)])[0];
        assert_eq!(column.rows, 9, "{name}");
        assert_eq!(column.min.is_some(), column.max.is_some(), "{name}");
    }
}

#[test]
fn a_shared_dictionary_and_shared_text_count_once() {
    let long = "a word longer than twelve bytes".repeat(10);
    let dictionary = batch(vec![("d", words(&[Some(long.as_str()); 10]))]);
    let bytes = summarise(&vec![dictionary.clone(); 100])[0].bytes;
    assert!((1000..2000).contains(&bytes), "{bytes}");
    let views = batch(vec![("v", Arc::new(StringViewArray::from(vec![long.as_str(); 100])) as ArrayRef)]);
    assert_eq!(summarise(&[views.slice(0, 1)])[0].bytes, 16 + long.len() as u64);
}

#[test]
fn not_a_number_is_the_greatest_and_a_foreign_batch_is_refused() {
    let floats = batch(vec![("f", Arc::new(Float64Array::from(vec![1.5, f64::NAN, -0.0])) as ArrayRef)]);
    let column = &summarise(std::slice::from_ref(&floats))[0];
    assert_eq!((column.min.as_deref(), column.max.as_deref()), (Some("-0.0"), Some("NaN")));
    assert!(Summary::new(Arc::new(Schema::empty())).add(&floats).is_err());
}
