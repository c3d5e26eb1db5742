//! Nodes and buffers to arrays.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions, make_array};
use arrow_buffer::Buffer;
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::{ArrowError, DataType, Schema, UnionMode};

use super::window::{aligned_copy, empty};
use super::{Shape, fixed_width, shape_of};
use crate::header::{BatchHeader, FieldNode, dictionaries_in};
use crate::{ProtocolError, Result};

/// Puts a batch together over buffers that lie anywhere; nothing is copied but misaligned buffers.
///
/// `buffers` are the header's, one each, in its order, each at least as long as the header says. `dictionary` gives the
/// current values of a dictionary by its depth-first index.
///
/// # Errors
/// A header that does not fit the schema: counts, lengths, nulls in a column declared without, a missing dictionary; a
/// body that is still compressed (`Unsupported`; see [`Decompression`](crate::Decompression)). Checked is what lengths and first and last offsets say, not every value: see the
/// crate's documentation on trust.
pub fn assemble(
    schema: &Arc<Schema>,
    header: &BatchHeader,
    buffers: Vec<Buffer>,
    dictionary: &dyn Fn(usize) -> Option<ArrayData>,
) -> Result<RecordBatch> {
    shape_of(schema).check(header)?;
    let mut walk = Walk::new(header, buffers, dictionary, 0)?;
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let data = walk.array(field.data_type())?;
            validate(&data)?;
            if data.len() as u64 != header.rows {
                return Err(ProtocolError::layout(
                    "column",
                    format!("{} values in column {:?} of a batch of {} rows", data.len(), field.name(), header.rows),
                ));
            }
            Ok(make_array(data))
        })
        .collect::<Result<Vec<_>>>()?;
    let rows = usize::try_from(header.rows).map_err(|_| too_long(header.rows))?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(refused)
}

/// Puts the values of a dictionary together: a batch of one column of `value_type`.
///
/// `first_dictionary` is the depth-first index of the first dictionary inside the values: that of the field itself less
/// the number inside. Everything else is as with [`assemble`].
pub fn assemble_values(
    value_type: &DataType,
    header: &BatchHeader,
    buffers: Vec<Buffer>,
    first_dictionary: usize,
    dictionary: &dyn Fn(usize) -> Option<ArrayData>,
) -> Result<ArrayData> {
    Shape::of(value_type).check(header)?;
    let data = Walk::new(header, buffers, dictionary, first_dictionary)?.array(value_type)?;
    validate(&data)?;
    Ok(data)
}

/// Structure only. Of an array that is one buffer of fixed width nothing is left to check: its buffers were cut to
/// measure and aligned, and that is most columns.
fn validate(data: &ArrayData) -> Result<()> {
    if is_flat(data.data_type()) {
        return Ok(());
    }
    data.validate().map_err(refused)
}

fn is_flat(data_type: &DataType) -> bool {
    data_type.is_primitive() || matches!(data_type, DataType::Boolean | DataType::Null)
}

fn refused(error: ArrowError) -> ProtocolError {
    ProtocolError::layout("array", error.to_string())
}

fn too_long(length: u64) -> ProtocolError {
    ProtocolError::layout("array", format!("a length of {length} overflows"))
}

struct Walk<'a> {
    nodes: std::slice::Iter<'a, FieldNode>,
    buffers: std::vec::IntoIter<Buffer>,
    variadic: std::slice::Iter<'a, u64>,
    dictionary: &'a dyn Fn(usize) -> Option<ArrayData>,
    next_dictionary: usize,
}

impl<'a> Walk<'a> {
    fn new(
        header: &'a BatchHeader,
        buffers: Vec<Buffer>,
        dictionary: &'a dyn Fn(usize) -> Option<ArrayData>,
        next_dictionary: usize,
    ) -> Result<Self> {
        if let Some(compression) = header.compression {
            return Err(ProtocolError::Unsupported(format!("a body compressed with {compression:?}")));
        }
        if buffers.len() != header.buffers.len() {
            return Err(ProtocolError::layout(
                "buffers",
                format!("{} were given, the header has {}", buffers.len(), header.buffers.len()),
            ));
        }
        let short = buffers.iter().zip(&header.buffers).find(|(buffer, span)| (buffer.len() as u64) < span.length);
        if let Some((buffer, span)) = short {
            return Err(ProtocolError::layout(
                "buffer",
                format!("{} bytes, the header says {}", buffer.len(), span.length),
            ));
        }
        Ok(Self {
            nodes: header.nodes.iter(),
            buffers: buffers.into_iter(),
            variadic: header.variadic.iter(),
            dictionary,
            next_dictionary,
        })
    }

    fn buffer(&mut self) -> Result<Buffer> {
        self.buffers.next().ok_or_else(|| ProtocolError::layout("buffers", "the header has too few"))
    }

    /// The first `count` values of the next buffer, exactly: arrow-rs wants no torn value behind them, and the address
    /// aligned for them.
    fn values(&mut self, count: usize, width: usize, align: usize) -> Result<Buffer> {
        let buffer = self.buffer()?;
        let needed = count.checked_mul(width).ok_or_else(|| too_long(count as u64))?;
        if buffer.len() < needed {
            return Err(ProtocolError::layout(
                "buffer",
                format!("{} bytes for {count} values of {width}", buffer.len()),
            ));
        }
        Ok(if !(buffer.as_ptr() as usize).is_multiple_of(align) {
            aligned_copy(&buffer.as_slice()[..needed])
        } else if buffer.len() == needed {
            buffer
        } else {
            buffer.slice_with_length(0, needed)
        })
    }

    /// Offsets: one more than values, or none at all where there are no values.
    fn offsets(&mut self, length: usize, width: usize) -> Result<Buffer> {
        if length == 0 {
            self.buffer()?;
            return Ok(empty());
        }
        let count = length.checked_add(1).ok_or_else(|| too_long(length as u64))?;
        self.values(count, width, width)
    }

    fn array(&mut self, data_type: &DataType) -> Result<ArrayData> {
        let node = *self.nodes.next().ok_or_else(|| ProtocolError::layout("field nodes", "the header has too few"))?;
        let length = usize::try_from(node.length).map_err(|_| too_long(node.length))?;
        let mut builder = ArrayData::builder(data_type.clone()).len(length);
        match data_type {
            DataType::Null => return Ok(build(builder)),
            DataType::Union(fields, mode) => {
                builder = builder.add_buffer(self.values(length, 1, 1)?);
                if *mode == UnionMode::Dense {
                    builder = builder.add_buffer(self.values(length, 4, 4)?);
                }
                for (_, field) in fields.iter() {
                    builder = builder.add_child_data(self.array(field.data_type())?);
                }
                return Ok(build(builder));
            }
            DataType::RunEndEncoded(ends, values) => {
                let ends = self.array(ends.data_type())?;
                check_runs(&ends, length)?;
                let values = self.array(values.data_type())?;
                return Ok(build(builder.add_child_data(ends).add_child_data(values)));
            }
            _ => {}
        }
        builder = self.validity(builder, &node, length)?;
        builder = match data_type {
            DataType::Boolean => {
                let bytes = self.values(length.div_ceil(8), 1, 1)?;
                builder.add_buffer(bytes)
            }
            DataType::Utf8 | DataType::Binary => {
                builder.add_buffer(self.offsets(length, 4)?).add_buffer(self.buffer()?)
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                builder.add_buffer(self.offsets(length, 8)?).add_buffer(self.buffer()?)
            }
            DataType::Utf8View | DataType::BinaryView => {
                let count = *self.variadic.next().ok_or_else(|| ProtocolError::layout("variadic counts", "too few"))?;
                builder = builder.add_buffer(self.values(length, 16, 16)?);
                // The shape was checked: there are that many buffers.
                for _ in 0..count {
                    builder = builder.add_buffer(self.buffer()?);
                }
                builder
            }
            DataType::List(child) | DataType::Map(child, _) => {
                builder.add_buffer(self.offsets(length, 4)?).add_child_data(self.array(child.data_type())?)
            }
            DataType::LargeList(child) => {
                builder.add_buffer(self.offsets(length, 8)?).add_child_data(self.array(child.data_type())?)
            }
            DataType::ListView(child) => builder
                .add_buffer(self.values(length, 4, 4)?)
                .add_buffer(self.values(length, 4, 4)?)
                .add_child_data(self.array(child.data_type())?),
            DataType::LargeListView(child) => builder
                .add_buffer(self.values(length, 8, 8)?)
                .add_buffer(self.values(length, 8, 8)?)
                .add_child_data(self.array(child.data_type())?),
            DataType::FixedSizeList(child, size) => {
                let child = self.array(child.data_type())?;
                // arrow-rs panics when this product overflows.
                usize::try_from(*size)
                    .ok()
                    .and_then(|size| size.checked_mul(length))
                    .ok_or_else(|| too_long(node.length))?;
                builder.add_child_data(child)
            }
            DataType::Struct(fields) => {
                for field in fields {
                    builder = builder.add_child_data(self.array(field.data_type())?);
                }
                builder
            }
            DataType::Dictionary(_, values) => {
                let width = fixed_width(data_type)
                    .ok_or_else(|| ProtocolError::layout("dictionary", "keys are no integers"))?;
                let keys = self.values(length, width, width)?;
                let values = self.dictionary_values(values, node.null_count == node.length)?;
                builder.add_buffer(keys).add_child_data(values)
            }
            other => {
                let width =
                    fixed_width(other).ok_or_else(|| ProtocolError::Unsupported(format!("Arrow type {other}")))?;
                builder.add_buffer(self.values(length, width, alignment(other, width))?)
            }
        };
        Ok(build(builder))
    }

    fn validity(&mut self, builder: ArrayDataBuilder, node: &FieldNode, length: usize) -> Result<ArrayDataBuilder> {
        if node.null_count == 0 {
            // It may be there all the same.
            self.buffer()?;
            return Ok(builder);
        }
        if node.null_count > node.length {
            return Err(ProtocolError::layout(
                "field node",
                format!("{} nulls among {} values", node.null_count, node.length),
            ));
        }
        let bitmap = self.values(length.div_ceil(8), 1, 1)?;
        Ok(builder.null_bit_buffer(Some(bitmap)).null_count(node.null_count as usize))
    }

    fn dictionary_values(&mut self, value_type: &DataType, unused: bool) -> Result<ArrayData> {
        let index = self.next_dictionary + dictionaries_in(value_type);
        self.next_dictionary = index + 1;
        match (self.dictionary)(index) {
            Some(values) if values.data_type() == value_type => Ok(values),
            Some(values) => Err(ProtocolError::layout(
                "dictionary",
                format!("values of type {}, expected {value_type}", values.data_type()),
            )),
            // A sender may leave out a dictionary that no value refers to.
            None if unused => no_values(value_type),
            None => Err(ProtocolError::MissingDictionary(index)),
        }
    }
}

/// An array of no values, made like every other so that no type needs a path of its own.
fn no_values(value_type: &DataType) -> Result<ArrayData> {
    let shape = Shape::of(value_type);
    let header = BatchHeader {
        nodes: vec![FieldNode::default(); shape.nodes],
        buffers: vec![crate::Span::default(); shape.buffers],
        variadic: vec![0; shape.views],
        ..BatchHeader::default()
    };
    let buffers = vec![empty(); shape.buffers];
    assemble_values(value_type, &header, buffers, 0, &|_| None)
}

/// The last run must reach the end; arrow-rs looks for it when a value is read and panics when there is none.
fn check_runs(ends: &ArrayData, length: usize) -> Result<()> {
    if length == 0 {
        return Ok(());
    }
    let bytes = ends.buffers().first().map_or(&[][..], |b| b.as_slice());
    let last = match ends.data_type() {
        DataType::Int16 => bytes.last_chunk().map(|b| i64::from(i16::from_le_bytes(*b))),
        DataType::Int32 => bytes.last_chunk().map(|b| i64::from(i32::from_le_bytes(*b))),
        DataType::Int64 => bytes.last_chunk().map(|b| i64::from_le_bytes(*b)),
        _ => None,
    };
    match last.and_then(|end| usize::try_from(end).ok()) {
        Some(end) if end >= length => Ok(()),
        _ => Err(ProtocolError::layout("run ends", format!("the last is {last:?}, the array has {length} values"))),
    }
}

/// What arrow-rs wants a value's address to be a multiple of: the size of its native type, with two exceptions.
fn alignment(data_type: &DataType, width: usize) -> usize {
    match data_type {
        DataType::FixedSizeBinary(_) => 1,
        // Structs of smaller numbers; a packed body would be copied for nothing if more were asked for.
        DataType::Interval(_) => width.min(8),
        _ => width.min(align_of::<i128>()),
    }
}

/// Builds without validating: the whole column is validated once, from its root.
fn build(builder: ArrayDataBuilder) -> ArrayData {
    // SAFETY: the array is only handed out after `ArrayData::validate` has accepted the column it belongs to, which
    // `assemble` and `assemble_values` see to; until then only its lengths, types and children are looked at. Every
    // buffer was cut to what its length needs and aligned above, the validity bitmap too, so building cannot fail.
    unsafe { builder.build_unchecked() }
}
