//! Between arrow-rs arrays and the flat nodes and buffers of the IPC format.
//!
//! [`flatten`] takes arrays apart, [`header_of`] and [`packed_parts`] lay their buffers out, [`assemble`] puts arrays
//! together again over buffers that lie anywhere. Buffers are never copied on the way, except where a slice must be
//! re-based or shifted, and where a buffer's address is not aligned for its type.

mod assemble;
mod flatten;
mod offsets;
mod pack;
mod shape;
mod window;

use arrow_buffer::Buffer;
use arrow_data::ArrayData;
use arrow_schema::DataType;

pub use assemble::{assemble, assemble_values};
pub use flatten::flatten;
pub use pack::{header_of, packed_parts, packed_size};
pub use shape::{Shape, shape_of};

use crate::header::FieldNode;

/// Arrays taken apart: what a batch header and a body are made of.
#[derive(Debug, Clone, Default)]
pub struct Flat {
    /// Rows.
    pub rows: usize,
    /// One per array, depth-first.
    pub nodes: Vec<FieldNode>,
    /// In IPC order; empty where there is nothing to send.
    pub buffers: Vec<Buffer>,
    /// Data buffers of each view array, in order.
    pub variadic: Vec<u64>,
    /// Each dictionary-encoded array's depth-first index and its values, those inside values before them: the order
    /// in which dictionaries must be sent. The values are whole, however the keys were sliced; to send them, `flatten`
    /// them as a batch of one column and ignore that one's `dictionaries`, which are listed here already.
    pub dictionaries: Vec<(usize, ArrayData)>,
}

/// Bytes per value of a type whose values all lie in one buffer of fixed width.
fn fixed_width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::FixedSizeBinary(size) => usize::try_from(*size).ok(),
        DataType::Dictionary(keys, _) => keys.primitive_width(),
        other => other.primitive_width(),
    }
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
