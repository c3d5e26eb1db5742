//! Schemas: from flatbuffer to arrow-rs, refusing what arrow-rs would panic on.

use std::sync::Arc;

use arrow_ipc as ipc;
use arrow_schema::{
    DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType,
    Field, FieldRef, Fields, IntervalUnit, Schema, TimeUnit, UnionFields, UnionMode,
};

use super::{DecodedSchema, DictionaryField, key_value_map};
use crate::{Limits, ProtocolError, Result};

pub(super) fn schema(table: ipc::Schema<'_>, limits: &Limits) -> Result<DecodedSchema> {
    if table.endianness() != ipc::Endianness::Little {
        return Err(ProtocolError::Unsupported("big-endian data".into()));
    }
    let mut walk = Walk { limits, fields: 0, dictionaries: vec![] };
    let fields = table.fields().into_iter().flatten().map(|f| walk.field(f, 1)).collect::<Result<Fields>>()?;
    Ok(DecodedSchema {
        schema: Arc::new(Schema::new_with_metadata(fields, key_value_map(table.custom_metadata()))),
        dictionaries: walk.dictionaries,
    })
}

struct Walk<'l> {
    limits: &'l Limits,
    fields: u64,
    dictionaries: Vec<DictionaryField>,
}

fn wrong(detail: impl Into<String>) -> ProtocolError {
    ProtocolError::malformed("schema", detail)
}

impl Walk<'_> {
    fn field(&mut self, field: ipc::Field<'_>, depth: usize) -> Result<FieldRef> {
        self.fields += 1;
        Limits::check("number of fields", self.fields, self.limits.max_fields as u64)?;
        Limits::check("nesting of a field", depth as u64, self.limits.max_nesting as u64)?;
        let plain = self.data_type(field, depth)?;
        let name = field.name().unwrap_or_default();
        let built = match field.dictionary() {
            None => Field::new(name, plain, field.nullable()),
            Some(encoding) => {
                // The keys are 32-bit signed where nothing is said (Schema.fbs).
                let key = encoding.indexType().map_or(Ok(DataType::Int32), integer)?;
                let dictionary = DictionaryField {
                    id: encoding.id(),
                    key_type: key.clone(),
                    value_type: plain.clone(),
                    ordered: encoding.isOrdered(),
                };
                self.dictionaries.push(dictionary);
                let data_type = DataType::Dictionary(Box::new(key), Box::new(plain));
                Field::new(name, data_type, field.nullable()).with_dict_is_ordered(encoding.isOrdered())
            }
        };
        Ok(Arc::new(built.with_metadata(key_value_map(field.custom_metadata()))))
    }

    fn children(&mut self, field: ipc::Field<'_>, depth: usize) -> Result<Vec<FieldRef>> {
        field.children().into_iter().flatten().map(|child| self.field(child, depth + 1)).collect()
    }

    fn only_child(&mut self, field: ipc::Field<'_>, depth: usize) -> Result<FieldRef> {
        let children = self.children(field, depth)?;
        let count = children.len();
        <[FieldRef; 1]>::try_from(children)
            .map(|[child]| child)
            .map_err(|_| wrong(format!("a {:?} field has {count} children, expected 1", field.type_type())))
    }

    /// The type of the field's values, without its dictionary encoding.
    fn data_type(&mut self, field: ipc::Field<'_>, depth: usize) -> Result<DataType> {
        let kind = field.type_type();
        let missing = || wrong(format!("the parameters of type {kind:?} are missing"));
        Ok(match kind {
            ipc::Type::Null => DataType::Null,
            ipc::Type::Bool => DataType::Boolean,
            ipc::Type::Binary => DataType::Binary,
            ipc::Type::LargeBinary => DataType::LargeBinary,
            ipc::Type::BinaryView => DataType::BinaryView,
            ipc::Type::Utf8 => DataType::Utf8,
            ipc::Type::LargeUtf8 => DataType::LargeUtf8,
            ipc::Type::Utf8View => DataType::Utf8View,
            ipc::Type::Int => integer(field.type_as_int().ok_or_else(missing)?)?,
            ipc::Type::FixedSizeBinary => {
                let t = field.type_as_fixed_size_binary().ok_or_else(missing)?;
                DataType::FixedSizeBinary(size(t.byteWidth())?)
            }
            ipc::Type::FloatingPoint => {
                let t = field.type_as_floating_point().ok_or_else(missing)?;
                match t.precision() {
                    ipc::Precision::HALF => DataType::Float16,
                    ipc::Precision::SINGLE => DataType::Float32,
                    ipc::Precision::DOUBLE => DataType::Float64,
                    other => return Err(wrong(format!("float precision {other:?}"))),
                }
            }
            ipc::Type::Decimal => decimal(field.type_as_decimal().ok_or_else(missing)?)?,
            ipc::Type::Date => match field.type_as_date().ok_or_else(missing)?.unit() {
                ipc::DateUnit::DAY => DataType::Date32,
                ipc::DateUnit::MILLISECOND => DataType::Date64,
                other => return Err(wrong(format!("date unit {other:?}"))),
            },
            ipc::Type::Time => {
                let t = field.type_as_time().ok_or_else(missing)?;
                match (t.bitWidth(), time_unit(t.unit())?) {
                    (32, u @ (TimeUnit::Second | TimeUnit::Millisecond)) => DataType::Time32(u),
                    (64, u @ (TimeUnit::Microsecond | TimeUnit::Nanosecond)) => DataType::Time64(u),
                    (bits, u) => return Err(wrong(format!("time of {bits} bits in {u:?}"))),
                }
            }
            ipc::Type::Timestamp => {
                let t = field.type_as_timestamp().ok_or_else(missing)?;
                DataType::Timestamp(time_unit(t.unit())?, t.timezone().map(Into::into))
            }
            ipc::Type::Duration => {
                let t = field.type_as_duration().ok_or_else(missing)?;
                DataType::Duration(time_unit(t.unit())?)
            }
            ipc::Type::Interval => {
                let t = field.type_as_interval().ok_or_else(missing)?;
                DataType::Interval(match t.unit() {
                    ipc::IntervalUnit::YEAR_MONTH => IntervalUnit::YearMonth,
                    ipc::IntervalUnit::DAY_TIME => IntervalUnit::DayTime,
                    ipc::IntervalUnit::MONTH_DAY_NANO => IntervalUnit::MonthDayNano,
                    other => return Err(wrong(format!("interval unit {other:?}"))),
                })
            }
            ipc::Type::List => DataType::List(self.only_child(field, depth)?),
            ipc::Type::LargeList => DataType::LargeList(self.only_child(field, depth)?),
            ipc::Type::ListView => DataType::ListView(self.only_child(field, depth)?),
            ipc::Type::LargeListView => DataType::LargeListView(self.only_child(field, depth)?),
            ipc::Type::FixedSizeList => {
                let t = field.type_as_fixed_size_list().ok_or_else(missing)?;
                DataType::FixedSizeList(self.only_child(field, depth)?, size(t.listSize())?)
            }
            ipc::Type::Struct_ => DataType::Struct(self.children(field, depth)?.into()),
            ipc::Type::Map => {
                let t = field.type_as_map().ok_or_else(missing)?;
                let entries = self.only_child(field, depth)?;
                map_entries(&entries)?;
                DataType::Map(entries, t.keysSorted())
            }
            ipc::Type::RunEndEncoded => {
                let children = self.children(field, depth)?;
                let count = children.len();
                let [ends, values] = <[FieldRef; 2]>::try_from(children)
                    .map_err(|_| wrong(format!("run-end encoding of {count} children, expected 2")))?;
                if !ends.data_type().is_run_ends_type() || ends.is_nullable() {
                    return Err(wrong(format!(
                        "run ends of type {}, expected Int16, Int32 or Int64, not nullable",
                        ends.data_type()
                    )));
                }
                DataType::RunEndEncoded(ends, values)
            }
            ipc::Type::Union => {
                let t = field.type_as_union().ok_or_else(missing)?;
                let children = self.children(field, depth)?;
                let mode = match t.mode() {
                    ipc::UnionMode::Sparse => UnionMode::Sparse,
                    ipc::UnionMode::Dense => UnionMode::Dense,
                    other => return Err(wrong(format!("union mode {other:?}"))),
                };
                DataType::Union(union_fields(t, children)?, mode)
            }
            other => return Err(ProtocolError::Unsupported(format!("Arrow type {other:?}"))),
        })
    }
}

fn size(value: i32) -> Result<i32> {
    if value < 0 {
        return Err(wrong(format!("a fixed size of {value}")));
    }
    Ok(value)
}

fn integer(t: ipc::Int<'_>) -> Result<DataType> {
    Ok(match (t.bitWidth(), t.is_signed()) {
        (8, true) => DataType::Int8,
        (16, true) => DataType::Int16,
        (32, true) => DataType::Int32,
        (64, true) => DataType::Int64,
        (8, false) => DataType::UInt8,
        (16, false) => DataType::UInt16,
        (32, false) => DataType::UInt32,
        (64, false) => DataType::UInt64,
        (bits, _) => return Err(wrong(format!("an integer of {bits} bits"))),
    })
}

fn decimal(t: ipc::Decimal<'_>) -> Result<DataType> {
    let refuse =
        || wrong(format!("a decimal of {} bits, precision {}, scale {}", t.bitWidth(), t.precision(), t.scale()));
    let precision = u8::try_from(t.precision()).map_err(|_| refuse())?;
    let scale = i8::try_from(t.scale()).map_err(|_| refuse())?;
    let (most, built) = match t.bitWidth() {
        32 => (DECIMAL32_MAX_PRECISION, DataType::Decimal32(precision, scale)),
        64 => (DECIMAL64_MAX_PRECISION, DataType::Decimal64(precision, scale)),
        128 => (DECIMAL128_MAX_PRECISION, DataType::Decimal128(precision, scale)),
        256 => (DECIMAL256_MAX_PRECISION, DataType::Decimal256(precision, scale)),
        _ => return Err(refuse()),
    };
    if precision == 0 || precision > most {
        return Err(refuse());
    }
    Ok(built)
}

fn time_unit(unit: ipc::TimeUnit) -> Result<TimeUnit> {
    Ok(match unit {
        ipc::TimeUnit::SECOND => TimeUnit::Second,
        ipc::TimeUnit::MILLISECOND => TimeUnit::Millisecond,
        ipc::TimeUnit::MICROSECOND => TimeUnit::Microsecond,
        ipc::TimeUnit::NANOSECOND => TimeUnit::Nanosecond,
        other => return Err(wrong(format!("time unit {other:?}"))),
    })
}

/// arrow-rs takes a map only of non-nullable entries with a non-nullable key.
fn map_entries(entries: &Field) -> Result<()> {
    match entries.data_type() {
        DataType::Struct(fields) if fields.len() == 2 && !entries.is_nullable() && !fields[0].is_nullable() => Ok(()),
        other => Err(wrong(format!(
            "map entries of type {other}, expected a non-nullable struct of a non-nullable key and a value"
        ))),
    }
}

fn union_fields(t: ipc::Union<'_>, children: Vec<FieldRef>) -> Result<UnionFields> {
    let refused = |e: arrow_schema::ArrowError| wrong(format!("union: {e}"));
    match t.typeIds() {
        None => {
            let count = children.len();
            let ids = (0..count)
                .map(|i| i8::try_from(i).map_err(|_| wrong(format!("a union of {count} types"))))
                .collect::<Result<Vec<_>>>()?;
            UnionFields::try_new(ids, children).map_err(refused)
        }
        Some(ids) => {
            let ids = ids
                .iter()
                .map(|id| i8::try_from(id).map_err(|_| wrong(format!("union type id {id}"))))
                .collect::<Result<Vec<_>>>()?;
            UnionFields::try_new(ids, children).map_err(refused)
        }
    }
}
