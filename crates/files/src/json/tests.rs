use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, IntervalUnit, Schema, TimeUnit, UnionFields, UnionMode};
use serde_json::{Value, json};

use super::{schema_from_json, schema_to_json};
use crate::Error;

fn dictionary(index: DataType, value: DataType) -> DataType {
    DataType::Dictionary(Box::new(index), Box::new(value))
}

fn item(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", data_type, true))
}

/// Every type the format knows.
fn every_type() -> Vec<DataType> {
    use DataType::*;
    let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let mut all = vec![
        Null,
        Boolean,
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
        Date32,
        Date64,
        Binary,
        LargeBinary,
        BinaryView,
        Utf8,
        LargeUtf8,
        Utf8View,
        FixedSizeBinary(0),
        FixedSizeBinary(16),
        Decimal32(9, 2),
        Decimal64(18, -3),
        Decimal128(38, 10),
        Decimal256(76, 76),
        Time32(TimeUnit::Second),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        Interval(IntervalUnit::YearMonth),
        Interval(IntervalUnit::DayTime),
        Interval(IntervalUnit::MonthDayNano),
    ];
    for unit in units {
        all.extend([Timestamp(unit, None), Timestamp(unit, Some("Europe/Vienna".into())), Duration(unit)]);
    }
    let pair = Fields::from(vec![Field::new("key", Utf8, false), Field::new("value", Int32, true)]);
    let union = UnionFields::try_new([5, 7], [Field::new("a", Int32, true), Field::new("b", Utf8, true)]).unwrap();
    all.extend([
        List(item(Int8)),
        LargeList(item(Utf8)),
        ListView(item(Int8)),
        LargeListView(item(Utf8)),
        FixedSizeList(item(Float32), 3),
        Struct(Fields::empty()),
        Struct(pair.clone()),
        Map(Arc::new(Field::new("entries", Struct(pair), false)), true),
        Union(union.clone(), UnionMode::Dense),
        Union(union, UnionMode::Sparse),
        RunEndEncoded(Arc::new(Field::new("run_ends", Int16, false)), item(Utf8)),
        List(item(List(item(Struct(Fields::from(vec![Field::new("deep", Utf8View, true)])))))),
        dictionary(Int8, Utf8),
        dictionary(UInt64, List(item(dictionary(Int16, Binary)))),
        dictionary(Int8, dictionary(Int16, List(item(Utf8)))),
    ]);
    all
}

#[test]
fn every_type_survives_the_round_trip_with_its_metadata() {
    let metadata = HashMap::from([("ARROW:extension:name".to_owned(), "a \"b\" ü".to_owned()), ("".into(), "".into())]);
    for data_type in every_type() {
        for nullable in [true, false] {
            let field = Field::new("f", data_type.clone(), nullable).with_metadata(metadata.clone());
            let schema = Schema::new_with_metadata(vec![field, Field::new("", DataType::Int8, true)], metadata.clone());
            let text = schema_to_json(&schema).to_string();
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(schema_from_json(&value).unwrap(), schema, "{text}");
        }
    }
}

#[test]
fn the_json_is_the_integration_test_format_to_the_letter() {
    let schema = Schema::new_with_metadata(
        vec![
            Field::new("l", DataType::List(item(DataType::Decimal128(15, 2))), false),
            Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        ],
        HashMap::from([("k".to_owned(), "v".to_owned())]),
    );
    assert_eq!(
        schema_to_json(&schema),
        json!({
            "fields": [
                { "name": "l", "nullable": false, "type": { "name": "list" }, "children": [
                    { "name": "item", "nullable": true, "children": [],
                      "type": { "name": "decimal", "bitWidth": 128, "precision": 15, "scale": 2 } }
                ] },
                { "name": "t", "nullable": true, "children": [],
                  "type": { "name": "timestamp", "unit": "MICROSECOND", "timezone": "UTC" } }
            ],
            "metadata": [{ "key": "k", "value": "v" }]
        })
    );
}

#[test]
fn dictionary_ids_count_depth_first_and_a_parent_comes_before_its_values() {
    let inner = Field::new("inner", dictionary(DataType::Int8, DataType::Utf8), true);
    let outer = dictionary(DataType::UInt16, DataType::Struct(vec![inner.clone()].into()));
    let schema = Schema::new(vec![
        Field::new("outer", outer, true).with_dict_is_ordered(true),
        Field::new("s", DataType::Struct(vec![inner.clone()].into()), true),
        Field::new("last", dictionary(DataType::Int32, DataType::Utf8), true),
    ]);
    let value = schema_to_json(&schema);
    let outer = &value["fields"][0];
    assert_eq!(
        outer["dictionary"],
        json!({ "id": 0, "indexType": { "name": "int", "bitWidth": 16, "isSigned": false }, "isOrdered": true })
    );
    assert_eq!(outer["type"], json!({ "name": "struct" }));
    assert_eq!(outer["children"][0]["dictionary"]["id"], 1);
    assert_eq!(value["fields"][1]["children"][0]["dictionary"]["id"], 2);
    assert_eq!(value["fields"][2]["dictionary"]["id"], 3);
    let back = schema_from_json(&value).unwrap();
    assert_eq!(back, schema);
    assert_eq!(back.field(0).dict_is_ordered(), Some(true));
    assert_eq!(back.field(2).dict_is_ordered(), Some(false));
}

#[test]
fn json_that_is_no_schema_gives_an_error_that_names_the_place() {
    let bad = json!({ "fields": [{ "name": "a", "nullable": true, "type": { "name": "int", "bitWidth": 24, "isSigned": true } }] });
    let Err(Error::Json { at, reason }) = schema_from_json(&bad) else { panic!("accepted") };
    assert_eq!(at, "schema.fields[0].type.bitWidth");
    assert!(reason.contains("24"), "{reason}");
}

#[test]
fn no_mutation_of_a_good_schema_panics() {
    let fields: Vec<_> =
        every_type().into_iter().enumerate().map(|(i, t)| Field::new(format!("f{i}"), t, true)).collect();
    let good = schema_to_json(&Schema::new(fields));
    let replacements = [
        json!(null),
        json!(-1),
        json!(1e300),
        json!(4294967297u64),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!(true),
    ];
    let mut paths = Vec::new();
    collect_paths(&good, String::new(), &mut paths);
    assert!(paths.len() > 300);
    for path in &paths {
        for replacement in &replacements {
            let mut bad = good.clone();
            *bad.pointer_mut(path).unwrap() = replacement.clone();
            // The promise is an answer of either kind.
            let _ = schema_from_json(&bad);
        }
    }
    for replacement in &replacements {
        assert!(schema_from_json(replacement).is_err());
    }
}

fn collect_paths(value: &Value, path: String, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| collect_paths(v, format!("{path}/{k}"), out)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| collect_paths(v, format!("{path}/{i}"), out)),
        _ => {}
    }
    if !path.is_empty() {
        out.push(path);
    }
}

#[test]
fn a_schema_nested_without_end_is_refused_before_the_stack_is() {
    let mut field =
        json!({ "name": "f", "nullable": true, "type": { "name": "int", "bitWidth": 8, "isSigned": true } });
    for _ in 0..100 {
        field = json!({ "name": "f", "nullable": true, "type": { "name": "list" }, "children": [field] });
    }
    assert!(schema_from_json(&json!({ "fields": [field] })).is_err());
    let mut nested = json!({ "name": "utf8" });
    for _ in 0..100 {
        nested = json!({ "name": "dictionary", "valueType": nested });
    }
    assert!(schema_from_json(&json!({ "fields": [{ "name": "f", "nullable": true, "type": nested }] })).is_err());
}
