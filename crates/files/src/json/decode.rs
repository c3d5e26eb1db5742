//! JSON to schema. The JSON comes from another language, so nothing about it is believed.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{
    DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType,
    Field, FieldRef, IntervalUnit, Schema, TimeUnit, UnionFields, UnionMode,
};
use serde_json::Value;

use crate::error::{Error, Result};

/// How deep fields may lie within fields. Real schemas stay below ten; the limit keeps the stack bounded.
const MAX_DEPTH: usize = 64;

/// A schema from the JSON that [`schema_to_json`](super::schema_to_json) and `apache-arrow` write.
///
/// Missing `metadata`, `children`, `dictionary` and `timezone` mean none; a missing decimal `bitWidth` means 128,
/// a missing `indexType` 32-bit signed integers. Dictionary ids are read over.
///
/// # Errors
/// [`Error::Json`] names the place and what was expected there. Any JSON at all gives a schema or this error.
pub fn schema_from_json(value: &Value) -> Result<Schema> {
    let at = At(String::from("schema"));
    let fields = at.array(value, "fields")?;
    let fields = fields
        .iter()
        .enumerate()
        .map(|(i, f)| field(&at.index("fields", i), f, 0))
        .collect::<Result<Vec<FieldRef>>>()?;
    Ok(Schema::new_with_metadata(fields, metadata(&at, value)?))
}

/// Where in the JSON we are, for the error message.
struct At(String);

impl At {
    fn key(&self, key: &str) -> At {
        At(format!("{}.{key}", self.0))
    }

    fn index(&self, key: &str, index: usize) -> At {
        At(format!("{}.{key}[{index}]", self.0))
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        Error::Json { at: self.0.clone(), reason: reason.into() }
    }

    fn expected<T>(&self, what: &str, found: Option<&Value>) -> Result<T> {
        let found = match found {
            None => "nothing".to_owned(),
            Some(Value::Array(_)) => "an array".to_owned(),
            Some(Value::Object(_)) => "an object".to_owned(),
            Some(Value::String(s)) => format!("\"{}\"", s.chars().take(40).collect::<String>()),
            Some(other) => other.to_string(),
        };
        Err(self.error(format!("expected {what}, found {found}")))
    }

    fn array<'a>(&self, value: &'a Value, key: &str) -> Result<&'a [Value]> {
        match value.get(key) {
            Some(Value::Array(items)) => Ok(items),
            other => self.key(key).expected("an array", other),
        }
    }

    /// An array that may be absent.
    fn optional_array<'a>(&self, value: &'a Value, key: &str) -> Result<&'a [Value]> {
        match value.get(key) {
            None | Some(Value::Null) => Ok(&[]),
            Some(_) => self.array(value, key),
        }
    }

    fn string<'a>(&self, value: &'a Value, key: &str) -> Result<&'a str> {
        match value.get(key) {
            Some(Value::String(s)) => Ok(s),
            other => self.key(key).expected("a string", other),
        }
    }

    fn boolean(&self, value: &Value, key: &str) -> Result<bool> {
        match value.get(key) {
            Some(Value::Bool(b)) => Ok(*b),
            other => self.key(key).expected("true or false", other),
        }
    }

    /// A whole number from `low` to `high`.
    fn integer(&self, value: &Value, key: &str, low: i64, high: i64) -> Result<i64> {
        match value.get(key).and_then(Value::as_i64) {
            Some(n) if (low..=high).contains(&n) => Ok(n),
            _ => self.key(key).expected(&format!("a whole number from {low} to {high}"), value.get(key)),
        }
    }
}

fn metadata(at: &At, value: &Value) -> Result<HashMap<String, String>> {
    at.optional_array(value, "metadata")?
        .iter()
        .enumerate()
        .map(|(i, pair)| {
            let at = at.index("metadata", i);
            Ok((at.string(pair, "key")?.to_owned(), at.string(pair, "value")?.to_owned()))
        })
        .collect()
}

fn field(at: &At, value: &Value, depth: usize) -> Result<FieldRef> {
    if depth > MAX_DEPTH {
        return Err(at.error(format!("fields lie more than {MAX_DEPTH} deep")));
    }
    let name = match value.get("name") {
        // Nameless children of lists appear as null in some writers.
        None | Some(Value::Null) => "",
        Some(_) => at.string(value, "name")?,
    };
    let nullable = at.boolean(value, "nullable")?;
    let children = at
        .optional_array(value, "children")?
        .iter()
        .enumerate()
        .map(|(i, child)| field(&at.index("children", i), child, depth + 1))
        .collect::<Result<Vec<FieldRef>>>()?;
    let Some(type_json) = value.get("type") else {
        return at.key("type").expected("an object", None);
    };
    let data_type = data_type(&at.key("type"), type_json, &children, depth)?;
    let field = match value.get("dictionary") {
        None | Some(Value::Null) => Field::new(name, data_type, nullable),
        Some(dictionary) => {
            let at = at.key("dictionary");
            let index = index_type(&at, dictionary)?;
            let ordered = match dictionary.get("isOrdered") {
                None | Some(Value::Null) => false,
                Some(_) => at.boolean(dictionary, "isOrdered")?,
            };
            Field::new(name, DataType::Dictionary(Box::new(index), Box::new(data_type)), nullable)
                .with_dict_is_ordered(ordered)
        }
    };
    Ok(Arc::new(field.with_metadata(metadata(at, value)?)))
}

fn index_type(at: &At, dictionary: &Value) -> Result<DataType> {
    match dictionary.get("indexType") {
        None | Some(Value::Null) => Ok(DataType::Int32),
        Some(index) => {
            let at = at.key("indexType");
            match index.get("name") {
                Some(Value::String(name)) if name == "int" => int(&at, index),
                other => at.key("name").expected("\"int\"", other),
            }
        }
    }
}

fn int(at: &At, value: &Value) -> Result<DataType> {
    let bits = at.integer(value, "bitWidth", 8, 64)?;
    Ok(match (bits, at.boolean(value, "isSigned")?) {
        (8, true) => DataType::Int8,
        (16, true) => DataType::Int16,
        (32, true) => DataType::Int32,
        (64, true) => DataType::Int64,
        (8, false) => DataType::UInt8,
        (16, false) => DataType::UInt16,
        (32, false) => DataType::UInt32,
        (64, false) => DataType::UInt64,
        _ => return at.key("bitWidth").expected("8, 16, 32 or 64", value.get("bitWidth")),
    })
}

fn unit(at: &At, value: &Value) -> Result<TimeUnit> {
    Ok(match at.string(value, "unit")? {
        "SECOND" => TimeUnit::Second,
        "MILLISECOND" => TimeUnit::Millisecond,
        "MICROSECOND" => TimeUnit::Microsecond,
        "NANOSECOND" => TimeUnit::Nanosecond,
        _ => {
            return at.key("unit").expected("SECOND, MILLISECOND, MICROSECOND or NANOSECOND", value.get("unit"));
        }
    })
}

fn decimal(at: &At, value: &Value) -> Result<DataType> {
    let bits = match value.get("bitWidth") {
        None | Some(Value::Null) => 128,
        Some(_) => at.integer(value, "bitWidth", 32, 256)?,
    };
    let (make, max): (fn(u8, i8) -> DataType, u8) = match bits {
        32 => (DataType::Decimal32, DECIMAL32_MAX_PRECISION),
        64 => (DataType::Decimal64, DECIMAL64_MAX_PRECISION),
        128 => (DataType::Decimal128, DECIMAL128_MAX_PRECISION),
        256 => (DataType::Decimal256, DECIMAL256_MAX_PRECISION),
        _ => return at.key("bitWidth").expected("32, 64, 128 or 256", value.get("bitWidth")),
    };
    let precision = at.integer(value, "precision", 1, i64::from(max))?;
    let scale = at.integer(value, "scale", i64::from(i8::MIN), i64::from(max))?;
    // Both were bounded just above, so neither cast can change a value.
    Ok(make(precision as u8, scale as i8))
}

fn data_type(at: &At, value: &Value, children: &[FieldRef], depth: usize) -> Result<DataType> {
    if depth > MAX_DEPTH {
        return Err(at.error(format!("types lie more than {MAX_DEPTH} deep")));
    }
    let width = |key| at.integer(value, key, 0, i64::from(i32::MAX)).map(|n| n as i32);
    Ok(match at.string(value, "name")? {
        "null" => DataType::Null,
        "bool" => DataType::Boolean,
        "int" => int(at, value)?,
        "floatingpoint" => match at.string(value, "precision")? {
            "HALF" => DataType::Float16,
            "SINGLE" => DataType::Float32,
            "DOUBLE" => DataType::Float64,
            _ => return at.key("precision").expected("HALF, SINGLE or DOUBLE", value.get("precision")),
        },
        "utf8" => DataType::Utf8,
        "largeutf8" => DataType::LargeUtf8,
        "utf8view" => DataType::Utf8View,
        "binary" => DataType::Binary,
        "largebinary" => DataType::LargeBinary,
        "binaryview" => DataType::BinaryView,
        "fixedsizebinary" => DataType::FixedSizeBinary(width("byteWidth")?),
        "decimal" => decimal(at, value)?,
        "date" => match at.string(value, "unit")? {
            "DAY" => DataType::Date32,
            "MILLISECOND" => DataType::Date64,
            _ => return at.key("unit").expected("DAY or MILLISECOND", value.get("unit")),
        },
        "time" => match (unit(at, value)?, at.integer(value, "bitWidth", 32, 64)?) {
            (u @ (TimeUnit::Second | TimeUnit::Millisecond), 32) => DataType::Time32(u),
            (u @ (TimeUnit::Microsecond | TimeUnit::Nanosecond), 64) => DataType::Time64(u),
            _ => {
                let rule = "32 for SECOND and MILLISECOND, 64 for MICROSECOND and NANOSECOND";
                return at.key("bitWidth").expected(rule, value.get("bitWidth"));
            }
        },
        "timestamp" => {
            let zone = match value.get("timezone") {
                None | Some(Value::Null) => None,
                Some(_) => Some(Arc::from(at.string(value, "timezone")?)),
            };
            DataType::Timestamp(unit(at, value)?, zone)
        }
        "duration" => DataType::Duration(unit(at, value)?),
        "interval" => DataType::Interval(match at.string(value, "unit")? {
            "YEAR_MONTH" => IntervalUnit::YearMonth,
            "DAY_TIME" => IntervalUnit::DayTime,
            "MONTH_DAY_NANO" => IntervalUnit::MonthDayNano,
            _ => return at.key("unit").expected("YEAR_MONTH, DAY_TIME or MONTH_DAY_NANO", value.get("unit")),
        }),
        "list" => DataType::List(only_child(at, children)?),
        "largelist" => DataType::LargeList(only_child(at, children)?),
        "listview" => DataType::ListView(only_child(at, children)?),
        "largelistview" => DataType::LargeListView(only_child(at, children)?),
        "fixedsizelist" => DataType::FixedSizeList(only_child(at, children)?, width("listSize")?),
        "struct" => DataType::Struct(children.into()),
        "map" => map(at, value, only_child(at, children)?)?,
        "union" => union(at, value, children)?,
        "runendencoded" => run_end_encoded(at, children)?,
        "dictionary" => {
            let Some(value_type) = value.get("valueType") else {
                return at.key("valueType").expected("an object", None);
            };
            let inner = data_type(&at.key("valueType"), value_type, children, depth + 1)?;
            DataType::Dictionary(Box::new(index_type(at, value)?), Box::new(inner))
        }
        _ => return at.key("name").expected("the name of an Arrow type", value.get("name")),
    })
}

fn only_child(at: &At, children: &[FieldRef]) -> Result<FieldRef> {
    match children {
        [child] => Ok(Arc::clone(child)),
        _ => Err(at.error(format!("expected one child, found {}", children.len()))),
    }
}

fn map(at: &At, value: &Value, entries: FieldRef) -> Result<DataType> {
    match entries.data_type() {
        DataType::Struct(pair) if pair.len() == 2 => Ok(DataType::Map(entries, at.boolean(value, "keysSorted")?)),
        other => Err(at.error(format!("expected a struct of a key and a value as the child of a map, found {other}"))),
    }
}

fn union(at: &At, value: &Value, children: &[FieldRef]) -> Result<DataType> {
    let mode = match at.string(value, "mode")? {
        "SPARSE" => UnionMode::Sparse,
        "DENSE" => UnionMode::Dense,
        _ => return at.key("mode").expected("SPARSE or DENSE", value.get("mode")),
    };
    let ids = at.array(value, "typeIds")?;
    if ids.len() != children.len() {
        return Err(at.error(format!(
            "expected a type id for each of {} children, found {}",
            children.len(),
            ids.len()
        )));
    }
    let ids = ids
        .iter()
        .map(|id| match id.as_i64().and_then(|n| i8::try_from(n).ok()) {
            Some(n) if n >= 0 => Ok(n),
            _ => at.key("typeIds").expected("whole numbers from 0 to 127", Some(id)),
        })
        .collect::<Result<Vec<i8>>>()?;
    let fields = UnionFields::try_new(ids, children.iter().cloned()).map_err(|e| at.error(e.to_string()))?;
    Ok(DataType::Union(fields, mode))
}

fn run_end_encoded(at: &At, children: &[FieldRef]) -> Result<DataType> {
    match children {
        [run_ends, values] if matches!(run_ends.data_type(), DataType::Int16 | DataType::Int32 | DataType::Int64) => {
            Ok(DataType::RunEndEncoded(Arc::clone(run_ends), Arc::clone(values)))
        }
        _ => Err(at.error("expected two children, run ends (int 16, 32 or 64, signed) and values")),
    }
}
