//! What is in each column, accumulated while batches pass by.

use std::cmp::Ordering;
use std::fmt;

use arrow_arith::aggregate;
use arrow_array::cast::AsArray;
use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, LargeBinaryArray, LargeStringArray, PrimitiveArray,
    RecordBatch, StringArray, StringViewArray, downcast_primitive,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_data::ArrayData;
use arrow_ord::ord::make_comparator;
use arrow_schema::{ArrowError, DataType, SchemaRef, SortOptions};
use arrow_select::take::take;

use crate::error::{Error, Result};

/// One column, over all batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSummary {
    /// Name of the column.
    pub name: String,
    /// Its type, as Arrow writes it.
    pub data_type: String,
    /// Rows.
    pub rows: u64,
    /// Rows without a value, also where the encoding hides that (dictionaries, run-end encoding, the null type).
    pub nulls: u64,
    /// Least value as text, for types that have an order and columns that have a value. Floats compare in IEEE
    /// total order, in which NaN is the greatest.
    pub min: Option<String>,
    /// Greatest value, as [`min`](ColumnSummary::min).
    pub max: Option<String>,
    /// Bytes the column's slices take in memory; a dictionary shared by consecutive batches counts once.
    pub bytes: u64,
}

/// Streaming accumulator: feed it every batch, then ask. Keeps one value of each kind per column, no batch.
pub struct Summary {
    schema: SchemaRef,
    columns: Vec<Column>,
}

#[derive(Default)]
struct Column {
    rows: u64,
    nulls: u64,
    bytes: u64,
    /// One-row arrays.
    min: Option<ArrayRef>,
    max: Option<ArrayRef>,
    /// The dictionary that was counted last.
    dictionary: Option<ArrayData>,
}

impl Summary {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(schema: SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|_| Column::default()).collect();
        Self { schema, columns }
    }

    /// Counts a batch in.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] when the batch has other columns; [`Error::Arrow`] when values cannot be compared.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_columns() != self.columns.len() {
            let reason = format!("{} columns, expected {}", batch.num_columns(), self.columns.len());
            return Err(Error::SchemaMismatch { reason });
        }
        for ((column, array), field) in self.columns.iter_mut().zip(batch.columns()).zip(self.schema.fields()) {
            if array.data_type() != field.data_type() {
                let (have, want) = (array.data_type(), field.data_type());
                let reason = format!("column {:?} is of type {have}, expected {want}", field.name());
                return Err(Error::SchemaMismatch { reason });
            }
            column.add(array).map_err(|e| Error::arrow(format!("summarising column {:?}", field.name()), e))?;
        }
        Ok(())
    }

    /// The summary of each column, in schema order.
    #[must_use]
    pub fn finish(self) -> Vec<ColumnSummary> {
        let fields = self.schema.fields().iter();
        fields
            .zip(self.columns)
            .map(|(field, column)| ColumnSummary {
                name: field.name().clone(),
                data_type: field.data_type().to_string(),
                rows: column.rows,
                nulls: column.nulls,
                min: column.min.as_ref().and_then(text),
                max: column.max.as_ref().and_then(text),
                bytes: column.bytes,
            })
            .collect()
    }
}

impl fmt::Debug for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summary").field("columns", &self.columns.len()).finish_non_exhaustive()
    }
}

impl Column {
    fn add(&mut self, array: &ArrayRef) -> std::result::Result<(), ArrowError> {
        self.rows += array.len() as u64;
        self.nulls += array.logical_null_count() as u64;
        self.bytes += self.count_bytes(&array.to_data());
        // Extremes of a dictionary column are those of the values in use.
        let values = match array.as_any_dictionary_opt() {
            Some(dictionary) => take(dictionary.values(), dictionary.keys(), None)?,
            None => ArrayRef::clone(array),
        };
        if let Some((min, max)) = extremes(&values) {
            keep(&mut self.min, min, Ordering::Less)?;
            keep(&mut self.max, max, Ordering::Greater)?;
        }
        Ok(())
    }

    fn count_bytes(&mut self, data: &ArrayData) -> u64 {
        let bytes = match data.data_type() {
            DataType::Utf8View | DataType::BinaryView => view_bytes(data),
            DataType::Dictionary(index, _) => {
                let values = &data.child_data()[0];
                let indices = data.len() * index.primitive_width().unwrap_or(0);
                if self.dictionary.as_ref().is_some_and(|last| last.ptr_eq(values)) {
                    indices
                } else {
                    self.dictionary = Some(values.clone());
                    indices + values.get_slice_memory_size().unwrap_or(0)
                }
            }
            _ => data.get_slice_memory_size().unwrap_or_else(|_| data.get_array_memory_size()),
        };
        bytes as u64
    }
}

/// A view array's views and the text they point to, not the (often shared and larger) buffers that hold it.
fn view_bytes(data: &ArrayData) -> usize {
    let lengths = data.buffer::<u128>(0).iter().take(data.len()).map(|view| *view as u32 as usize);
    let long: usize = lengths.filter(|length| *length > 12).sum();
    data.len() * 16 + data.nulls().map_or(0, |nulls| nulls.len().div_ceil(8)) + long
}

/// Keeps the more extreme of two one-row arrays.
fn keep(kept: &mut Option<ArrayRef>, new: ArrayRef, wanted: Ordering) -> std::result::Result<(), ArrowError> {
    let better = match kept {
        None => true,
        Some(kept) => make_comparator(&new, kept, SortOptions::default())?(0, 0) == wanted,
    };
    if better {
        *kept = Some(new);
    }
    Ok(())
}

fn text(one: &ArrayRef) -> Option<String> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(one, &options).ok()?;
    formatter.value(0).try_to_string().ok()
}

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<(ArrayRef, ArrayRef)> {
    let array = array.as_primitive::<T>();
    let one = |value| -> ArrayRef {
        let one = PrimitiveArray::<T>::from_value(value, 1);
        std::sync::Arc::new(one.with_data_type(array.data_type().clone()))
    };
    Some((one(aggregate::min(array)?), one(aggregate::max(array)?)))
}

/// Least and greatest value, as arrays of one row; None for types without an order and arrays without a value.
fn extremes(array: &ArrayRef) -> Option<(ArrayRef, ArrayRef)> {
    macro_rules! primitive_extremes {
        ($t:ty) => {
            primitive::<$t>(array)
        };
    }
    macro_rules! pair {
        ($wrap:expr, $min:expr, $max:expr) => {
            Some((std::sync::Arc::new($wrap($min?)) as ArrayRef, std::sync::Arc::new($wrap($max?)) as ArrayRef))
        };
    }
    match array.data_type() {
        // Months, days and nanoseconds have no common measure.
        DataType::Interval(_) => None,
        DataType::Boolean => {
            let a = array.as_boolean();
            pair!(|v| BooleanArray::from(vec![v]), aggregate::min_boolean(a), aggregate::max_boolean(a))
        }
        DataType::Utf8 => {
            let a = array.as_string::<i32>();
            pair!(|v| StringArray::from_iter_values([v]), aggregate::min_string(a), aggregate::max_string(a))
        }
        DataType::LargeUtf8 => {
            let a = array.as_string::<i64>();
            pair!(|v| LargeStringArray::from_iter_values([v]), aggregate::min_string(a), aggregate::max_string(a))
        }
        DataType::Utf8View => {
            let a = array.as_string_view();
            pair!(
                |v| StringViewArray::from_iter_values([v]),
                aggregate::min_string_view(a),
                aggregate::max_string_view(a)
            )
        }
        DataType::Binary => {
            let a = array.as_binary::<i32>();
            pair!(|v| BinaryArray::from_iter_values([v]), aggregate::min_binary(a), aggregate::max_binary(a))
        }
        DataType::LargeBinary => {
            let a = array.as_binary::<i64>();
            pair!(|v| LargeBinaryArray::from_iter_values([v]), aggregate::min_binary(a), aggregate::max_binary(a))
        }
        DataType::BinaryView => {
            let a = array.as_binary_view();
            pair!(
                |v| BinaryViewArray::from_iter_values([v]),
                aggregate::min_binary_view(a),
                aggregate::max_binary_view(a)
            )
        }
        other => downcast_primitive!(other => (primitive_extremes), _ => None),
    }
}

#[cfg(test)]
mod tests;
