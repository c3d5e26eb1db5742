//! A range of an array, without making a sliced array of it.

use std::sync::OnceLock;

use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow_data::ArrayData;

use crate::{ProtocolError, Result};

/// `length` values of `data` from `start` on; both are inside it.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub data: &'a ArrayData,
    pub start: usize,
    pub length: usize,
}

pub(super) fn broken(what: &'static str) -> ProtocolError {
    ProtocolError::layout(what, "a buffer or child is shorter than the array's length and offsets need")
}

/// A buffer of no bytes, shared by all. Its address is aligned for every type, which arrow-rs asks of empty ones too.
pub(super) fn empty() -> Buffer {
    static EMPTY: OnceLock<Buffer> = OnceLock::new();
    EMPTY.get_or_init(|| MutableBuffer::new(0).into()).clone()
}

/// A copy at an address that is aligned for every type, which a copy into a `Vec` of bytes need not be.
pub(super) fn aligned_copy(bytes: &[u8]) -> Buffer {
    let mut copy = MutableBuffer::new(bytes.len());
    copy.extend_from_slice(bytes);
    copy.into()
}

/// Part of a buffer, in bytes; no copy.
pub(super) fn cut(buffer: &Buffer, offset: usize, length: usize) -> Result<Buffer> {
    match offset.checked_add(length) {
        Some(end) if end <= buffer.len() => Ok(buffer.slice_with_length(offset, length)),
        _ => Err(broken("buffer")),
    }
}

/// Bits of a buffer: no copy where they start on a byte, shifted into a new buffer where not.
pub(super) fn bits(buffer: &Buffer, offset: usize, length: usize) -> Result<Buffer> {
    let end = offset.checked_add(length).ok_or_else(|| broken("bitmap"))?;
    if end.div_ceil(8) > buffer.len() {
        return Err(broken("bitmap"));
    }
    if length == 0 {
        return Ok(empty());
    }
    if offset.is_multiple_of(8) {
        return cut(buffer, offset / 8, length.div_ceil(8));
    }
    Ok(buffer.bit_slice(offset, length))
}

impl<'a> Window<'a> {
    pub fn whole(data: &'a ArrayData) -> Self {
        Self { data, start: 0, length: data.len() }
    }

    /// A range of another array; an error when it is not inside.
    pub fn of(data: &'a ArrayData, start: usize, length: usize) -> Result<Self> {
        match start.checked_add(length) {
            Some(end) if end <= data.len() => Ok(Self { data, start, length }),
            _ => Err(broken("child array")),
        }
    }

    /// The position in the buffers of the first value.
    pub fn first(&self) -> usize {
        self.data.offset() + self.start
    }

    pub fn child(&self, index: usize) -> Result<&'a ArrayData> {
        self.data.child_data().get(index).ok_or_else(|| broken("child array"))
    }

    pub fn buffer(&self, index: usize) -> Result<&'a Buffer> {
        self.data.buffers().get(index).ok_or_else(|| broken("buffer"))
    }

    /// The values of a buffer of fixed width.
    pub fn fixed(&self, index: usize, width: usize) -> Result<Buffer> {
        self.fixed_of(index, width, self.length)
    }

    /// As many values as asked for, of a buffer of fixed width.
    pub fn fixed_of(&self, index: usize, width: usize, count: usize) -> Result<Buffer> {
        let offset = self.first().checked_mul(width);
        let length = count.checked_mul(width);
        match (offset, length) {
            (_, Some(0)) => Ok(empty()),
            (Some(offset), Some(length)) => cut(self.buffer(index)?, offset, length),
            _ => Err(broken("buffer")),
        }
    }

    /// How many nulls there are, and the bitmap that says where; empty when there are none.
    pub fn validity(&self) -> Result<(usize, Buffer)> {
        match self.nulls()? {
            Some(nulls) if nulls.null_count() > 0 => {
                let inner: &BooleanBuffer = nulls.inner();
                let bitmap = bits(inner.inner(), inner.offset(), inner.len())?;
                Ok((nulls.null_count(), bitmap))
            }
            _ => Ok((0, empty())),
        }
    }

    /// The nulls of the window.
    pub fn nulls(&self) -> Result<Option<NullBuffer>> {
        let Some(nulls) = self.data.nulls() else {
            return Ok(None);
        };
        if nulls.len() != self.data.len() {
            return Err(broken("validity"));
        }
        Ok(Some(if self.length == self.data.len() { nulls.clone() } else { nulls.slice(self.start, self.length) }))
    }

    /// The children of a struct: where arrow-rs sliced it, they were sliced already; where it came over the C interface,
    /// they were not. An already sliced child is too short to be sliced again.
    pub fn struct_child(&self, index: usize) -> Result<Self> {
        let child = self.child(index)?;
        let unsliced = child.len().checked_sub(self.data.offset()).is_some_and(|rest| rest >= self.data.len());
        let start = if unsliced { self.first() } else { self.start };
        Self::of(child, start, self.length)
    }
}
