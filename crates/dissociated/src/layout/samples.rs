//! One array of every type, for tests.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryViewBuilder, FixedSizeListBuilder, Int32Builder, LargeListBuilder, LargeListViewBuilder, ListBuilder,
    ListViewBuilder, MapBuilder, StringBuilder, StringDictionaryBuilder, StringViewBuilder, UnionBuilder,
};
use arrow_array::types::{Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt16Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, FixedSizeBinaryArray, Int32Array, LargeBinaryArray,
    LargeStringArray, ListArray, NullArray, RunArray, StringArray, StructArray, make_array,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, Fields, IntervalUnit, TimeUnit};

pub(crate) fn is_null(i: usize) -> bool {
    i % 5 == 3
}

fn text(i: usize) -> Option<String> {
    // Short and long ones, so that views hold both kinds; some empty.
    (!is_null(i)).then(|| "x".repeat((i * 7) % 30) + if i.is_multiple_of(4) { "" } else { "é" })
}

fn fixed(data_type: DataType, width: usize, rows: usize) -> ArrayRef {
    let bytes: Vec<u8> = (0..rows * width).map(|i| if i % width == 0 { (i / width % 9) as u8 } else { 0 }).collect();
    let nulls: NullBuffer = (0..rows).map(|i| !is_null(i)).collect();
    let data = ArrayData::builder(data_type)
        .len(rows)
        .add_buffer(Buffer::from_slice_ref(&bytes))
        .nulls(Some(nulls))
        .align_buffers(true)
        .build()
        .unwrap();
    make_array(data)
}

fn primitives(rows: usize) -> Vec<ArrayRef> {
    use DataType::*;
    let tz = Some("Europe/Berlin".into());
    let types = [
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Decimal32(5, 2),
        Decimal64(12, 2),
        Decimal128(20, -2),
        Decimal256(50, 3),
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        Timestamp(TimeUnit::Second, None),
        Timestamp(TimeUnit::Millisecond, tz.clone()),
        Timestamp(TimeUnit::Microsecond, tz),
        Timestamp(TimeUnit::Nanosecond, None),
        Duration(TimeUnit::Second),
        Duration(TimeUnit::Nanosecond),
        Interval(IntervalUnit::YearMonth),
        Interval(IntervalUnit::DayTime),
        Interval(IntervalUnit::MonthDayNano),
    ];
    types
        .into_iter()
        .map(|t| {
            let width = t.primitive_width().unwrap();
            fixed(t, width, rows)
        })
        .collect()
}

fn lists(rows: usize) -> Vec<ArrayRef> {
    let mut list = ListBuilder::new(StringBuilder::new());
    let mut large = LargeListBuilder::new(Int32Builder::new());
    let mut view = ListViewBuilder::new(Int32Builder::new());
    let mut large_view = LargeListViewBuilder::new(StringBuilder::new());
    let mut fixed = FixedSizeListBuilder::new(Int32Builder::new(), 3);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for i in 0..rows {
        for k in 0..i % 4 {
            list.values().append_option(text(i + k));
            large.values().append_value((i * 10 + k) as i32);
            view.values().append_value((i * 10 + k) as i32);
            large_view.values().append_option(text(i + 2 * k));
            map.keys().append_value(format!("k{k}"));
            map.values().append_option((k > 0).then_some(i as i32));
        }
        list.append(!is_null(i));
        large.append(!is_null(i));
        view.append(!is_null(i));
        large_view.append(true);
        map.append(!is_null(i)).unwrap();
        for k in 0..3 {
            fixed.values().append_option((!is_null(i + k)).then_some((i + k) as i32));
        }
        fixed.append(!is_null(i));
    }
    vec![
        Arc::new(list.finish()),
        Arc::new(large.finish()),
        Arc::new(view.finish()),
        Arc::new(large_view.finish()),
        Arc::new(fixed.finish()),
        Arc::new(map.finish()),
    ]
}

fn dictionary(rows: usize) -> DictionaryArray<Int8Type> {
    let mut builder = StringDictionaryBuilder::<Int8Type>::new();
    for i in 0..rows {
        match is_null(i) {
            true => builder.append_null(),
            false => builder.append_value(["red", "green", "blue"][i % 3]),
        }
    }
    builder.finish()
}

fn nested(rows: usize) -> Vec<ArrayRef> {
    let structs = StructArray::from((
        vec![
            (Arc::new(Field::new("a", DataType::Int32, true)), fixed(DataType::Int32, 4, rows)),
            (
                Arc::new(Field::new("b", DataType::Utf8, true)),
                Arc::new(StringArray::from_iter((0..rows).map(text))) as ArrayRef,
            ),
            (Arc::new(Field::new("flag", DataType::Boolean, true)), boolean(rows)),
        ],
        Buffer::from_iter((0..rows).map(|i| i % 7 != 2)),
    ));
    // A list of structs of dictionaries, and a dictionary whose values hold a dictionary.
    let inner = dictionary(rows * 2);
    let fields: Fields = vec![Field::new("d", inner.data_type().clone(), true)].into();
    let of_dictionaries = StructArray::new(fields, vec![Arc::new(inner)], None);
    let list = ListArray::new(
        Arc::new(Field::new("item", of_dictionaries.data_type().clone(), true)),
        OffsetBuffer::from_lengths((0..rows).map(|_| 2)),
        Arc::new(of_dictionaries.clone()),
        None,
    );
    let keys: Int32Array = (0..rows).map(|i| (!is_null(i)).then_some((rows - 1 - i) as i32)).collect();
    let twice = DictionaryArray::<Int32Type>::new(keys, Arc::new(of_dictionaries));
    let wide: DictionaryArray<UInt16Type> =
        (0..rows).map(text).collect::<Vec<_>>().iter().map(|t| t.as_deref()).collect();
    vec![
        Arc::new(structs),
        Arc::new(list),
        Arc::new(twice),
        Arc::new(dictionary(rows)),
        Arc::new(wide),
        Arc::new(StructArray::new_empty_fields(rows, None)),
    ]
}

fn unions(rows: usize) -> Vec<ArrayRef> {
    [UnionBuilder::new_dense(), UnionBuilder::new_sparse()]
        .into_iter()
        .map(|mut builder| {
            // Empty unions need their children too.
            for i in 0..rows.max(2) {
                match i % 3 {
                    0 => builder.append::<Int32Type>("a", i as i32).unwrap(),
                    1 => builder.append::<Float64Type>("b", i as f64).unwrap(),
                    _ => builder.append_null::<Int32Type>("a").unwrap(),
                }
            }
            Arc::new(builder.build().unwrap().slice(0, rows)) as ArrayRef
        })
        .collect()
}

fn runs(rows: usize) -> Vec<ArrayRef> {
    let texts: Vec<Option<String>> = (0..rows).map(|i| text(i / 4)).collect();
    let texts = || texts.iter().map(|t| t.as_deref());
    vec![
        Arc::new(texts().collect::<RunArray<Int16Type>>()),
        Arc::new(texts().collect::<RunArray<Int32Type>>()),
        Arc::new(texts().collect::<RunArray<Int64Type>>()),
    ]
}

fn boolean(rows: usize) -> ArrayRef {
    let values = (0..rows).map(|i| (!is_null(i)).then_some(i % 3 == 0));
    Arc::new(values.collect::<arrow_array::BooleanArray>())
}

/// An array of every type of Arrow, of that many rows, with nulls where the type has them.
pub(crate) fn every_type(rows: usize) -> Vec<ArrayRef> {
    let bytes = |i: usize| text(i).map(String::into_bytes);
    let mut views = StringViewBuilder::new().with_fixed_block_size(64);
    let mut byte_views = BinaryViewBuilder::new();
    for i in 0..rows {
        views.append_option(text(i));
        byte_views.append_option(bytes(i));
    }
    let fixed_binary = (0..rows).map(|i| (!is_null(i)).then_some([i as u8, 1, 2, 3, 4]));
    let mut all: Vec<ArrayRef> = vec![
        Arc::new(NullArray::new(rows)),
        boolean(rows),
        Arc::new(StringArray::from_iter((0..rows).map(text))),
        Arc::new(LargeStringArray::from_iter((0..rows).map(text))),
        Arc::new(BinaryArray::from_iter((0..rows).map(bytes))),
        Arc::new(LargeBinaryArray::from_iter((0..rows).map(bytes))),
        Arc::new(views.finish()),
        Arc::new(byte_views.finish()),
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed_binary, 5).unwrap()),
    ];
    all.extend(primitives(rows));
    all.extend(lists(rows));
    all.extend(nested(rows));
    all.extend(unions(rows));
    all.extend(runs(rows));
    all
}
