use arrow_array::Array;

use super::*;
use crate::samples::{batch, words};

#[test]
fn indices_keep_their_buffer_while_the_dictionary_does_not_change() {
    let first = batch(vec![("d", words(&[Some("a"), Some("b")]))]);
    let mut unifier = Unifier::new(&first.schema()).unwrap();
    let address = |b: &RecordBatch| b.column(0).to_data().buffers()[0].as_ptr();
    for _ in 0..3 {
        assert_eq!(address(&unifier.split(&first).unwrap()), address(&first));
    }
    assert_eq!(unifier.index_schema().field(0).data_type(), &DataType::Int8);
}

#[test]
fn a_dictionary_of_dictionaries_is_refused_by_name() {
    let inner = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let outer = DataType::Dictionary(Box::new(DataType::Int8), Box::new(inner));
    let fields = vec![Field::new("inside", outer, true)];
    let schema = Schema::new(vec![Field::new("s", DataType::Struct(fields.into()), true)]);
    let Err(error) = Unifier::new(&Arc::new(schema)) else { panic!("accepted") };
    assert!(error.to_string().contains("s.inside"), "{error}");
}
