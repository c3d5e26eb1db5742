//! One batch for every type the format knows, and for every shape that went wrong somewhere before.
//!
//! Shared by the integration tests and by the library that Python loads.
#![allow(dead_code, reason = "each of them uses its own part")]

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::*;
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{
    ArrowNativeType, IntervalDayTime, IntervalMonthDayNano, NullBuffer, OffsetBuffer, ScalarBuffer, i256,
};
use arrow_schema::{DataType, Field, Fields, IntervalUnit, Schema, TimeUnit, UnionFields};

/// Every sample, by name. Each batch has 6 rows unless its name says otherwise.
pub fn samples() -> Vec<(String, RecordBatch)> {
    let mut all: Vec<(String, RecordBatch)> = Vec::new();
    for (name, array) in arrays() {
        all.push((name.to_owned(), batch(name, array.clone())));
        all.push((format!("{name}, sliced 1..4"), batch(name, array.slice(1, 3))));
        all.push((format!("{name}, no rows"), batch(name, array.slice(2, 0))));
        all.push((format!("{name}, in a struct sliced 2..5"), nested_slice(name, &array)));
        all.push((format!("{name}, in a list"), in_list(name, &array)));
    }
    all.push(("no columns, 5 rows".to_owned(), no_columns(5)));
    all.push(("no columns, no rows".to_owned(), no_columns(0)));
    all.push(("extension type and metadata".to_owned(), extension()));
    all.push(("9 rows of many columns, sliced".to_owned(), wide().slice(1, 4)));
    all
}

fn batch(name: &str, array: ArrayRef) -> RecordBatch {
    let schema = Schema::new(vec![Field::new(name, array.data_type().clone(), true)]);
    RecordBatch::try_new(Arc::new(schema), vec![array]).unwrap()
}

fn nested_slice(name: &str, array: &ArrayRef) -> RecordBatch {
    let inner = StructArray::new(
        Fields::from(vec![Field::new(name, array.data_type().clone(), true)]),
        vec![array.clone()],
        Some(NullBuffer::from(vec![true, true, false, true, true, true])),
    );
    let outer = StructArray::new(
        Fields::from(vec![Field::new("inner", inner.data_type().clone(), true)]),
        vec![Arc::new(inner)],
        None,
    );
    batch("outer", Arc::new(outer.slice(2, 3)))
}

fn in_list(name: &str, array: &ArrayRef) -> RecordBatch {
    let field = Arc::new(Field::new(name, array.data_type().clone(), true));
    let list = ListArray::new(
        field,
        OffsetBuffer::new(ScalarBuffer::from(vec![0, 2, 2, 5, 6])),
        array.clone(),
        Some(NullBuffer::from(vec![true, false, true, true])),
    );
    batch("list", Arc::new(list.slice(1, 3)))
}

fn no_columns(rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
}

fn extension() -> RecordBatch {
    let metadata = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    };
    let uuid = FixedSizeBinaryArray::try_from_iter((0_u8..6).map(|i| [i; 16])).unwrap();
    let schema = Schema::new_with_metadata(
        vec![
            Field::new("id", uuid.data_type().clone(), true)
                .with_metadata(metadata(&[("ARROW:extension:name", "arrow.uuid"), ("ARROW:extension:metadata", "")])),
            Field::new("täg \u{1f3f7}", DataType::Int8, false)
                .with_metadata(metadata(&[("unit", "°C"), ("empty", "")])),
        ],
        metadata(&[("origin", "test"), ("ключ", "значение")]),
    );
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(uuid), Arc::new(Int8Array::from(vec![1, 2, 3, 4, 5, 6]))])
        .unwrap()
}

fn wide() -> RecordBatch {
    let (fields, columns): (Vec<_>, Vec<_>) =
        arrays().into_iter().map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array)).unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn primitive<T: ArrowPrimitiveType>(values: [i32; 6], data_type: DataType) -> ArrayRef
where
    T::Native: ArrowNativeType,
{
    let values: Vec<T::Native> = values.iter().map(|v| T::Native::usize_as(*v as usize)).collect();
    let nulls = NullBuffer::from(vec![true, false, true, true, false, true]);
    Arc::new(PrimitiveArray::<T>::new(values.into(), Some(nulls)).with_data_type(data_type))
}

macro_rules! primitives {
    ($($name:literal: $type:ty = $data_type:expr),* $(,)?) => {
        vec![$(($name, primitive::<$type>([0, 1, 2, 3, 100, 127], $data_type))),*]
    };
}

/// Six rows of every type.
pub fn arrays() -> Vec<(&'static str, ArrayRef)> {
    use DataType as D;
    let zone = Some("Europe/Berlin".into());
    let mut all = primitives! {
        "int8": Int8Type = D::Int8, "int16": Int16Type = D::Int16, "int32": Int32Type = D::Int32, "int64": Int64Type = D::Int64,
        "uint8": UInt8Type = D::UInt8, "uint16": UInt16Type = D::UInt16, "uint32": UInt32Type = D::UInt32, "uint64": UInt64Type = D::UInt64,
        "date32": Date32Type = D::Date32,
        "time32s": Time32SecondType = D::Time32(TimeUnit::Second), "time32ms": Time32MillisecondType = D::Time32(TimeUnit::Millisecond),
        "time64us": Time64MicrosecondType = D::Time64(TimeUnit::Microsecond), "time64ns": Time64NanosecondType = D::Time64(TimeUnit::Nanosecond),
        "timestamp_s": TimestampSecondType = D::Timestamp(TimeUnit::Second, None),
        "timestamp_ms": TimestampMillisecondType = D::Timestamp(TimeUnit::Millisecond, zone.clone()),
        "timestamp_us": TimestampMicrosecondType = D::Timestamp(TimeUnit::Microsecond, None),
        "timestamp_ns": TimestampNanosecondType = D::Timestamp(TimeUnit::Nanosecond, zone),
        "duration_s": DurationSecondType = D::Duration(TimeUnit::Second), "duration_ms": DurationMillisecondType = D::Duration(TimeUnit::Millisecond),
        "duration_us": DurationMicrosecondType = D::Duration(TimeUnit::Microsecond), "duration_ns": DurationNanosecondType = D::Duration(TimeUnit::Nanosecond),
        "interval_months": IntervalYearMonthType = D::Interval(IntervalUnit::YearMonth),
        "decimal32": Decimal32Type = D::Decimal32(9, 2), "decimal64": Decimal64Type = D::Decimal64(18, 3), "decimal128": Decimal128Type = D::Decimal128(38, 10),
    };
    let more: Vec<(&'static str, ArrayRef)> = vec![
        ("null", Arc::new(NullArray::new(6))),
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true), None, Some(true)]))),
        ("float32", Arc::new(Float32Array::from(vec![Some(0.5), None, Some(-1.0), Some(f32::MAX), None, Some(3.25)]))),
        ("float64 without validity", Arc::new(Float64Array::from(vec![0.5, 1.5, -1.0, f64::MIN, 0.0, 3.25]))),
        ("date64", Arc::new(Date64Array::from(vec![Some(0), None, Some(86_400_000), Some(0), None, Some(86_400_000)]))),
        (
            "decimal256",
            Arc::new(
                Decimal256Array::from(vec![
                    Some(i256::from_i128(-7)),
                    None,
                    Some(i256::ONE),
                    Some(i256::from_i128(i128::MAX)),
                    None,
                    None,
                ])
                .with_precision_and_scale(76, -2)
                .unwrap(),
            ),
        ),
        (
            "interval_days",
            Arc::new(IntervalDayTimeArray::from(vec![
                Some(IntervalDayTime::new(1, 2)),
                None,
                Some(IntervalDayTime::new(-1, 5)),
                None,
                None,
                Some(IntervalDayTime::new(0, 0)),
            ])),
        ),
        (
            "month_day_nano",
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                Some(IntervalMonthDayNano::new(1, 2, 3)),
                None,
                Some(IntervalMonthDayNano::new(-1, 5, i64::MAX)),
                None,
                None,
                Some(IntervalMonthDayNano::new(0, 0, 1)),
            ])),
        ),
        ("utf8", Arc::new(StringArray::from(words()))),
        ("large_utf8", Arc::new(LargeStringArray::from(words()))),
        ("binary", Arc::new(BinaryArray::from(bytes()))),
        ("large_binary", Arc::new(LargeBinaryArray::from(bytes()))),
        ("utf8_view", Arc::new(StringViewArray::from(words()))),
        ("utf8_view, short", Arc::new(StringViewArray::from(vec!["a", "b", "", "d", "twelve bytes", "f"]))),
        ("binary_view", Arc::new(BinaryViewArray::from(bytes()))),
        ("utf8_view of many buffers", many_buffers()),
        (
            "fixed_size_binary",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some([1_u8; 5]), None, Some([2; 5]), Some([3; 5]), None, Some([4; 5])].into_iter(),
                    5,
                )
                .unwrap(),
            ),
        ),
        (
            "dictionary",
            Arc::new(
                vec![Some("a"), None, Some("b"), Some("a"), Some("c"), None]
                    .into_iter()
                    .collect::<DictionaryArray<Int8Type>>(),
            ),
        ),
        (
            "dictionary of uint32",
            Arc::new(DictionaryArray::<UInt32Type>::new(
                UInt32Array::from(vec![Some(1), None, Some(0), Some(1), Some(2), None]),
                Arc::new(Int64Array::from(vec![10, 20, 30]).slice(0, 3)),
            )),
        ),
        ("run_end_encoded", runs()),
        ("list", list::<i32>()),
        ("large_list", list::<i64>()),
        ("list_view", list_view::<i32>()),
        ("large_list_view", list_view::<i64>()),
        ("fixed_size_list", fixed_size_list()),
        ("struct", structs()),
        ("map", map(false)),
        ("map with sorted keys", map(true)),
        ("sparse_union", union(false)),
        ("dense_union", union(true)),
        (
            "list of utf8_view",
            Arc::new(ListArray::new(
                Arc::new(Field::new("item", D::Utf8View, true)),
                OffsetBuffer::new(ScalarBuffer::from(vec![0, 1, 1, 3, 4, 6, 6])),
                Arc::new(StringViewArray::from(words())),
                None,
            )),
        ),
        ("float16", half_floats()),
    ];
    all.extend(more);
    all
}

fn words() -> Vec<Option<&'static str>> {
    vec![
        Some("short"),
        None,
        Some("a text that is longer than twelve bytes"),
        Some(""),
        Some("żółć 🦀 and more than twelve"),
        Some("end"),
    ]
}

fn bytes() -> Vec<Option<&'static [u8]>> {
    words().into_iter().map(|w| w.map(str::as_bytes)).collect()
}

fn half_floats() -> ArrayRef {
    let bits: Vec<u16> = vec![0, 0x3c00, 0xbc00, 0x4248, 0x7bff, 0x0001];
    let data = arrow_data::ArrayData::builder(DataType::Float16)
        .len(6)
        .add_buffer(arrow_buffer::Buffer::from_vec(bits))
        .nulls(Some(NullBuffer::from(vec![true, true, false, true, true, true])))
        .build()
        .unwrap();
    make_array(data)
}

fn many_buffers() -> ArrayRef {
    let mut builder = StringViewBuilder::new().with_fixed_block_size(32);
    for i in 0..6 {
        builder.append_value(format!("value number {i}, longer than a view"));
    }
    Arc::new(builder.finish())
}

fn runs() -> ArrayRef {
    let ends = Int32Array::from(vec![2, 3, 6]);
    Arc::new(RunArray::<Int32Type>::try_new(&ends, &StringArray::from(vec![Some("a"), None, Some("c")])).unwrap())
}

fn list<O: OffsetSizeTrait>() -> ArrayRef {
    let offsets: Vec<O> = [0, 2, 2, 4, 4, 5, 7].iter().map(|o| O::usize_as(*o)).collect();
    Arc::new(GenericListArray::new(
        Arc::new(Field::new("item", DataType::Int16, true)),
        OffsetBuffer::new(offsets.into()),
        Arc::new(Int16Array::from(vec![Some(1), None, Some(3), Some(4), Some(5), Some(6), None])),
        Some(NullBuffer::from(vec![true, false, true, true, true, true])),
    ))
}

fn list_view<O: OffsetSizeTrait>() -> ArrayRef {
    let convert = |v: [usize; 6]| -> ScalarBuffer<O> { v.iter().map(|o| O::usize_as(*o)).collect::<Vec<O>>().into() };
    Arc::new(GenericListViewArray::new(
        Arc::new(Field::new("item", DataType::Int64, true)),
        convert([3, 0, 0, 1, 2, 4]),
        convert([2, 0, 1, 3, 0, 1]),
        Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4), Some(5)])),
        Some(NullBuffer::from(vec![true, false, true, true, true, true])),
    ))
}

/// Of structs, because slices of these go wrong in arrow-rs.
fn fixed_size_list() -> ArrayRef {
    let child = StructArray::from(vec![(
        Arc::new(Field::new("x", DataType::Int32, true)),
        Arc::new((0..12).map(|i| (i % 5 != 0).then_some(i)).collect::<Int32Array>()) as ArrayRef,
    )]);
    Arc::new(FixedSizeListArray::new(
        Arc::new(Field::new("item", child.data_type().clone(), true)),
        2,
        Arc::new(child),
        Some(NullBuffer::from(vec![true, true, false, true, true, true])),
    ))
}

fn structs() -> ArrayRef {
    Arc::new(StructArray::new(
        Fields::from(vec![Field::new("a", DataType::Int32, false), Field::new("b", DataType::Utf8, true)]),
        vec![Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5, 6])), Arc::new(StringArray::from(words()))],
        Some(NullBuffer::from(vec![true, false, true, true, false, true])),
    ))
}

fn map(sorted: bool) -> ArrayRef {
    let entries = StructArray::new(
        Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Int32, true)]),
        vec![
            Arc::new(StringArray::from(vec!["a", "b", "c", "d", "e", "f", "g"])),
            Arc::new(Int32Array::from(vec![Some(1), None, Some(3), Some(4), Some(5), None, Some(7)])),
        ],
        None,
    );
    Arc::new(MapArray::new(
        Arc::new(Field::new("entries", entries.data_type().clone(), false)),
        OffsetBuffer::new(ScalarBuffer::from(vec![0, 2, 2, 4, 4, 5, 7])),
        entries,
        Some(NullBuffer::from(vec![true, false, true, true, true, true])),
        sorted,
    ))
}

fn union(dense: bool) -> ArrayRef {
    let fields = UnionFields::try_new(
        [3, 7],
        [Field::new("i", DataType::Int32, true), Field::new("s", structs().data_type().clone(), true)],
    )
    .unwrap();
    let ids = ScalarBuffer::from(vec![3_i8, 7, 3, 7, 7, 3]);
    let offsets = dense.then(|| ScalarBuffer::from(vec![0, 0, 1, 1, 2, 2]));
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3), Some(4), None, Some(6)]));
    Arc::new(UnionArray::try_new(fields, ids, offsets, vec![ints, structs()]).unwrap())
}
