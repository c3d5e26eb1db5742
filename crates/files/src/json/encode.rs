//! Schema to JSON.

use std::collections::HashMap;

use arrow_schema::{DataType, Field, IntervalUnit, Schema, TimeUnit, UnionMode};
use serde_json::{Map, Value, json};

/// A schema as a JSON object: `{"fields": […], "metadata": […]}`, `metadata` only where there is some.
///
/// Never fails; equal schemas give equal JSON (metadata is sorted by key).
#[must_use]
pub fn schema_to_json(schema: &Schema) -> Value {
    let mut next_id = 0;
    let fields: Vec<Value> = schema.fields().iter().map(|f| field(f, &mut next_id)).collect();
    let mut out = Map::new();
    out.insert("fields".into(), fields.into());
    if let Some(m) = metadata(schema.metadata()) {
        out.insert("metadata".into(), m);
    }
    Value::Object(out)
}

fn metadata(map: &HashMap<String, String>) -> Option<Value> {
    if map.is_empty() {
        return None;
    }
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort();
    Some(pairs.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect())
}

fn field(field: &Field, next_id: &mut i64) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), field.name().as_str().into());
    out.insert("nullable".into(), field.is_nullable().into());
    let value_type = match field.data_type() {
        DataType::Dictionary(index, value) => {
            let id = *next_id;
            *next_id += 1;
            out.insert(
                "dictionary".into(),
                json!({
                    "id": id,
                    "indexType": type_object(index),
                    "isOrdered": field.dict_is_ordered().unwrap_or(false),
                }),
            );
            value.as_ref()
        }
        plain => plain,
    };
    out.insert("type".into(), type_object(value_type));
    out.insert("children".into(), children(value_type, next_id).into());
    if let Some(m) = metadata(field.metadata()) {
        out.insert("metadata".into(), m);
    }
    Value::Object(out)
}

/// The child fields of a type, in the order of the format.
fn children(data_type: &DataType, next_id: &mut i64) -> Vec<Value> {
    match data_type {
        DataType::List(f)
        | DataType::LargeList(f)
        | DataType::ListView(f)
        | DataType::LargeListView(f)
        | DataType::FixedSizeList(f, _)
        | DataType::Map(f, _) => vec![field(f, next_id)],
        DataType::Struct(fields) => fields.iter().map(|f| field(f, next_id)).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, f)| field(f, next_id)).collect(),
        DataType::RunEndEncoded(run_ends, values) => vec![field(run_ends, next_id), field(values, next_id)],
        // Only reached for a dictionary of dictionaries.
        DataType::Dictionary(_, value) => children(value, next_id),
        _ => Vec::new(),
    }
}

fn int(bits: u8, signed: bool) -> Value {
    json!({ "name": "int", "bitWidth": bits, "isSigned": signed })
}

fn decimal(bits: u16, precision: u8, scale: i8) -> Value {
    json!({ "name": "decimal", "bitWidth": bits, "precision": precision, "scale": scale })
}

fn unit(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "SECOND",
        TimeUnit::Millisecond => "MILLISECOND",
        TimeUnit::Microsecond => "MICROSECOND",
        TimeUnit::Nanosecond => "NANOSECOND",
    }
}

fn type_object(data_type: &DataType) -> Value {
    match data_type {
        DataType::Null => json!({ "name": "null" }),
        DataType::Boolean => json!({ "name": "bool" }),
        DataType::Int8 => int(8, true),
        DataType::Int16 => int(16, true),
        DataType::Int32 => int(32, true),
        DataType::Int64 => int(64, true),
        DataType::UInt8 => int(8, false),
        DataType::UInt16 => int(16, false),
        DataType::UInt32 => int(32, false),
        DataType::UInt64 => int(64, false),
        DataType::Float16 => json!({ "name": "floatingpoint", "precision": "HALF" }),
        DataType::Float32 => json!({ "name": "floatingpoint", "precision": "SINGLE" }),
        DataType::Float64 => json!({ "name": "floatingpoint", "precision": "DOUBLE" }),
        DataType::Timestamp(u, None) => json!({ "name": "timestamp", "unit": unit(*u) }),
        DataType::Timestamp(u, Some(zone)) => {
            json!({ "name": "timestamp", "unit": unit(*u), "timezone": zone.as_ref() })
        }
        DataType::Date32 => json!({ "name": "date", "unit": "DAY" }),
        DataType::Date64 => json!({ "name": "date", "unit": "MILLISECOND" }),
        DataType::Time32(u) => json!({ "name": "time", "unit": unit(*u), "bitWidth": 32 }),
        DataType::Time64(u) => json!({ "name": "time", "unit": unit(*u), "bitWidth": 64 }),
        DataType::Duration(u) => json!({ "name": "duration", "unit": unit(*u) }),
        DataType::Interval(u) => {
            let unit = match u {
                IntervalUnit::YearMonth => "YEAR_MONTH",
                IntervalUnit::DayTime => "DAY_TIME",
                IntervalUnit::MonthDayNano => "MONTH_DAY_NANO",
            };
            json!({ "name": "interval", "unit": unit })
        }
        DataType::Binary => json!({ "name": "binary" }),
        DataType::LargeBinary => json!({ "name": "largebinary" }),
        DataType::BinaryView => json!({ "name": "binaryview" }),
        DataType::FixedSizeBinary(width) => json!({ "name": "fixedsizebinary", "byteWidth": width }),
        DataType::Utf8 => json!({ "name": "utf8" }),
        DataType::LargeUtf8 => json!({ "name": "largeutf8" }),
        DataType::Utf8View => json!({ "name": "utf8view" }),
        DataType::List(_) => json!({ "name": "list" }),
        DataType::LargeList(_) => json!({ "name": "largelist" }),
        DataType::ListView(_) => json!({ "name": "listview" }),
        DataType::LargeListView(_) => json!({ "name": "largelistview" }),
        DataType::FixedSizeList(_, size) => json!({ "name": "fixedsizelist", "listSize": size }),
        DataType::Struct(_) => json!({ "name": "struct" }),
        DataType::Union(fields, mode) => {
            let mode = match mode {
                UnionMode::Sparse => "SPARSE",
                UnionMode::Dense => "DENSE",
            };
            let ids: Vec<i8> = fields.iter().map(|(id, _)| id).collect();
            json!({ "name": "union", "mode": mode, "typeIds": ids })
        }
        DataType::Dictionary(index, value) => {
            json!({ "name": "dictionary", "indexType": type_object(index), "valueType": type_object(value) })
        }
        DataType::Decimal32(p, s) => decimal(32, *p, *s),
        DataType::Decimal64(p, s) => decimal(64, *p, *s),
        DataType::Decimal128(p, s) => decimal(128, *p, *s),
        DataType::Decimal256(p, s) => decimal(256, *p, *s),
        DataType::Map(_, sorted) => json!({ "name": "map", "keysSorted": sorted }),
        DataType::RunEndEncoded(_, _) => json!({ "name": "runendencoded" }),
    }
}
