//! Arrays of every kind, for the tests of this crate.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryViewBuilder, FixedSizeBinaryBuilder, Int32Builder, ListViewBuilder, MapBuilder, StringBuilder,
    StringViewBuilder,
};
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_cast::cast;
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, IntervalUnit, Schema, TimeUnit, UnionFields};

/// A string dictionary column from text.
pub(crate) fn words(words: &[Option<&str>]) -> ArrayRef {
    Arc::new(words.iter().copied().collect::<DictionaryArray<Int8Type>>())
}

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, a)| a).collect()).unwrap()
}

/// One column of six rows for every type, most of them with a null.
pub(crate) fn every_column() -> Vec<(String, ArrayRef)> {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(0), Some(5), Some(2)]));
    let text = ["a", "", "a word longer than twelve bytes", "b", "ü", "a"];
    let strings: ArrayRef =
        Arc::new(StringArray::from_iter(text.iter().enumerate().map(|(i, s)| (i != 3).then_some(*s))));
    let mut all: Vec<ArrayRef> = vec![Arc::new(NullArray::new(6)), numbers.clone(), strings.clone()];

    let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let mut casts: Vec<DataType> = {
        use DataType::*;
        vec![
            Boolean,
            Int8,
            Int16,
            Int32,
            UInt8,
            UInt16,
            UInt32,
            UInt64,
            Float16,
            Float32,
            Float64,
            Date64,
            Decimal32(5, 1),
            Decimal64(12, 2),
            Decimal128(30, 3),
            Decimal256(60, 4),
        ]
    };
    casts.extend(units.map(|u| DataType::Timestamp(u, Some("UTC".into()))));
    casts.extend(units.map(DataType::Duration));
    all.extend(casts.iter().map(|t| cast(&numbers, t).unwrap()));
    all.push(Arc::new(Date32Array::from(vec![Some(9131), None, Some(0), Some(-1), Some(2), Some(3)])));
    all.push(Arc::new(Time32MillisecondArray::from(vec![1, 2, 3, 4, 5, 6])));
    all.push(Arc::new(Time64NanosecondArray::from(vec![1, 2, 3, 4, 5, 6])));
    all.push(Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, 2, 3); 6])));
    all.push(Arc::new(IntervalDayTimeArray::from(vec![IntervalDayTime::new(1, 2); 6])));
    all.push(arrow_array::new_null_array(&DataType::Interval(IntervalUnit::YearMonth), 6));

    for t in [DataType::LargeUtf8, DataType::Binary, DataType::LargeBinary] {
        all.push(cast(&strings, &t).unwrap());
    }
    let (mut views, mut bytes) = (StringViewBuilder::new(), BinaryViewBuilder::new());
    let mut fixed = FixedSizeBinaryBuilder::new(3);
    for (i, word) in text.iter().enumerate() {
        views.append_option((i != 1).then_some(word));
        bytes.append_option((i != 2).then_some(word));
        fixed.append_value([i as u8; 3]).unwrap();
    }
    all.push(Arc::new(views.finish()));
    all.push(Arc::new(bytes.finish()));
    all.push(Arc::new(fixed.finish()));
    all.extend(nested(&numbers, &strings));
    all.into_iter().enumerate().map(|(i, a)| (format!("{i} {}", a.data_type()), a)).collect()
}

fn nested(numbers: &ArrayRef, strings: &ArrayRef) -> Vec<ArrayRef> {
    let item = |array: &ArrayRef| Arc::new(Field::new("item", array.data_type().clone(), true));
    let dictionary = words(&[Some("x"), None, Some("y"), Some("x"), Some("z"), Some("y")]);
    let offsets = || OffsetBuffer::new(ScalarBuffer::from(vec![0i32, 2, 2, 3, 5, 6, 6]));
    let nulls = || Some(NullBuffer::from(vec![true, true, false, true, true, true]));
    let list = |values: &ArrayRef| -> ArrayRef {
        Arc::new(ListArray::new(item(values), offsets(), Arc::clone(values), nulls()))
    };
    let mut out: Vec<ArrayRef> = vec![list(strings), list(&dictionary), list(&list(&dictionary))];
    out.push(cast(&out[0], &DataType::LargeList(item(strings))).unwrap());

    let mut list_view = ListViewBuilder::new(Int32Builder::new());
    for i in 0..6 {
        (0..i).for_each(|n| list_view.values().append_value(n));
        list_view.append(i != 2);
    }
    out.push(Arc::new(list_view.finish()));
    let twelve = arrow_select::concat::concat(&[dictionary.as_ref(), dictionary.as_ref()]).unwrap();
    out.push(Arc::new(FixedSizeListArray::new(item(&twelve), 2, twelve, nulls())));

    let structure: ArrayRef = Arc::new(StructArray::new(
        vec![Field::new("n", DataType::Int64, true), Field::new("d", dictionary.data_type().clone(), true)].into(),
        vec![Arc::clone(numbers), Arc::clone(&dictionary)],
        nulls(),
    ));
    out.push(Arc::clone(&structure));
    out.push(dictionary.clone());
    // A dictionary whose values hold a dictionary.
    let keys = Int16Array::from(vec![Some(0), Some(5), None, Some(2), Some(2), Some(1)]);
    out.push(Arc::new(DictionaryArray::new(keys, structure)));

    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for i in 0..6 {
        map.keys().append_value(format!("k{i}"));
        map.values().append_value(i);
        map.append(i != 4).unwrap();
    }
    out.push(Arc::new(map.finish()));

    let run_ends = Int32Array::from(vec![2, 3, 6]);
    out.push(Arc::new(RunArray::try_new(&run_ends, &StringArray::from(vec![Some("r"), None, Some("s")])).unwrap()));

    let fields = || {
        let number = Field::new("i", DataType::Int64, true);
        UnionFields::try_new([5, 7], [number, Field::new("d", dictionary.data_type().clone(), true)]).unwrap()
    };
    let types = || ScalarBuffer::from(vec![5i8, 7, 5, 7, 7, 5]);
    let children = || vec![Arc::clone(numbers), Arc::clone(&dictionary)];
    out.push(Arc::new(UnionArray::try_new(fields(), types(), None, children()).unwrap()));
    let places = ScalarBuffer::from(vec![0i32, 0, 1, 1, 2, 2]);
    out.push(Arc::new(UnionArray::try_new(fields(), types(), Some(places), children()).unwrap()));
    out
}

/// The same values without shared buffers, offsets or excess: what equality is to be tested against.
pub(crate) fn is_valid(array: &ArrayRef) -> bool {
    let data: ArrayData = array.to_data();
    data.validate_full().is_ok()
}
