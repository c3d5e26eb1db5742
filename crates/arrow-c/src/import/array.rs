//! One C array to `ArrayData`, with every check that the interface permits before a byte is believed.

use std::sync::Arc;

use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow_data::ffi::FFI_ArrowArray;
use arrow_data::{ArrayData, ArrayDataBuilder, BufferSpec, layout};
use arrow_schema::{DataType, UnionMode};

use super::owner::Owner;
use super::slice;
use crate::error::{Error, Result};

/// Reads a struct array; its buffers hold `owner`, which does not own the array yet.
///
/// # Safety
/// The pointers in `array` are NULL or valid for what the interface says about them, for as long as `owner` or the
/// result lives.
pub(super) unsafe fn read(array: &FFI_ArrowArray, data_type: &DataType, owner: &Arc<Owner>) -> Result<ArrayData> {
    Reader { owner }.node(array, data_type, "batch")
}

/// Depth is bounded by the type, which was checked with the schema: arrays are walked along their type.
struct Reader<'a> {
    owner: &'a Arc<Owner>,
}

/// A node's place and extent: `end` is offset + length, checked.
struct Extent<'a> {
    path: &'a str,
    data_type: &'a DataType,
    len: usize,
    offset: usize,
    end: usize,
}

impl Extent<'_> {
    fn fail<T>(&self, problem: impl Into<String>) -> Result<T> {
        Err(Error::invalid(self.path, problem))
    }

    /// `count * width`, which a hostile length could overflow.
    fn bytes(&self, count: usize, width: usize) -> Result<usize> {
        match count.checked_mul(width) {
            Some(bytes) if isize::try_from(bytes).is_ok() => Ok(bytes),
            _ => self.fail(format!("{count} values of {width} bytes exceed the address space")),
        }
    }
}

impl Reader<'_> {
    fn node(&self, array: &FFI_ArrowArray, data_type: &DataType, path: &str) -> Result<ArrayData> {
        if array.release.is_none() {
            return Err(Error::Released { what: format!("array at {path}") });
        }
        let extent = extent(array, data_type, path)?;
        let nulls = self.validity(array, &extent)?;
        let buffers = self.buffers(array, &extent)?;
        let children = self.children(array, &extent)?;
        check_children(&extent, &children)?;
        let builder = ArrayDataBuilder::new(data_type.clone()).len(extent.len).buffers(buffers).child_data(children);
        // SAFETY (both): the buffers have the sizes that type, length and offset ask for, as the producer vouches; the
        // caller validates the finished tree before anyone reads values from it.
        Ok(match data_type {
            DataType::Struct(_) | DataType::FixedSizeList(..) | DataType::Union(..) => {
                // The parent is built over all rows and cut to its own, see `slice`. Validity is already cut.
                // SAFETY: as above.
                let whole = unsafe { builder.len(extent.end).build_unchecked() };
                let cut = slice::normal(whole, extent.offset, extent.len);
                // SAFETY: as above.
                unsafe { cut.into_builder().nulls(nulls).build_unchecked() }
            }
            // SAFETY: as above.
            _ => unsafe { builder.offset(extent.offset).nulls(nulls).build_unchecked() },
        })
    }

    fn validity(&self, array: &FFI_ArrowArray, at: &Extent) -> Result<Option<NullBuffer>> {
        let shape = layout(at.data_type);
        check_buffer_count(array, at)?;
        if !(-1..=at.len as i64).contains(&array.null_count) {
            return at.fail(format!("null count {}, expected -1 (unknown) to {}", array.null_count, at.len));
        }
        if !shape.can_contain_null_mask || at.len == 0 {
            return Ok(None);
        }
        if pointer(array, 0).is_null() {
            return match array.null_count {
                0 | -1 => Ok(None),
                n => at.fail(format!("null count {n}, but the validity buffer is NULL")),
            };
        }
        let bits = self.buffer(array, 0, at.end.div_ceil(8), 1, at)?;
        let nulls = NullBuffer::new(BooleanBuffer::new(bits, at.offset, at.len));
        if array.null_count >= 0 && array.null_count != nulls.null_count() as i64 {
            return at.fail(format!(
                "null count {}, but the validity buffer has {} nulls",
                array.null_count,
                nulls.null_count()
            ));
        }
        Ok((nulls.null_count() > 0).then_some(nulls))
    }

    fn buffers(&self, array: &FFI_ArrowArray, at: &Extent) -> Result<Vec<Buffer>> {
        let shape = layout(at.data_type);
        let first = usize::from(shape.can_contain_null_mask);
        let mut buffers = Vec::with_capacity(shape.buffers.len());
        for (position, spec) in shape.buffers.iter().enumerate() {
            let (bytes, alignment) = match spec {
                BufferSpec::FixedWidth { byte_width, alignment } => {
                    let extra = usize::from(at.len > 0 && has_offsets(at.data_type));
                    (at.bytes(at.end + extra, *byte_width)?, *alignment)
                }
                BufferSpec::BitMap => (at.end.div_ceil(8), 1),
                BufferSpec::VariableWidth => (last_offset(&buffers, at)?, 1),
                BufferSpec::AlwaysNull => (0, 1),
            };
            buffers.push(self.buffer(array, first + position, bytes, alignment, at)?);
        }
        if shape.variadic {
            self.variadic(array, at, &mut buffers)?;
        }
        Ok(buffers)
    }

    /// The data buffers of a view array; their sizes are in the last C buffer.
    fn variadic(&self, array: &FFI_ArrowArray, at: &Extent, buffers: &mut Vec<Buffer>) -> Result<()> {
        if at.len == 0 {
            return Ok(());
        }
        // Validity, views and sizes are there: `check_buffer_count` has seen to it.
        let count = array.n_buffers as usize - 3;
        let sizes = pointer(array, array.n_buffers as usize - 1).cast::<i64>();
        if count > 0 && sizes.is_null() {
            return at.fail(format!("{count} data buffers, but the buffer of their sizes is NULL"));
        }
        for position in 0..count {
            // SAFETY: not NULL, and the producer vouches for one size per data buffer.
            let size = unsafe { sizes.add(position).read_unaligned() };
            let Ok(size) = usize::try_from(size) else {
                return at.fail(format!("data buffer {position} has the negative size {size}"));
            };
            buffers.push(self.buffer(array, 2 + position, size, 1, at)?);
        }
        Ok(())
    }

    /// One buffer in place, or an aligned copy where Rust could not read it in place.
    fn buffer(
        &self,
        array: &FFI_ArrowArray,
        index: usize,
        bytes: usize,
        alignment: usize,
        at: &Extent,
    ) -> Result<Buffer> {
        if bytes == 0 {
            return Ok(MutableBuffer::new(0).into());
        }
        let Some(start) = std::ptr::NonNull::new(pointer(array, index).cast_mut()) else {
            return at.fail(format!("buffer {index} is NULL, expected {bytes} bytes"));
        };
        if isize::try_from(bytes).is_err() || start.addr().checked_add(bytes).is_none() {
            return at.fail(format!("buffer {index} of {bytes} bytes exceeds the address space"));
        }
        if start.addr().get() % alignment != 0 {
            // SAFETY: the producer vouches for the bytes that type, length and offset ask for.
            let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), bytes) };
            return Ok(Buffer::from_slice_ref(bytes));
        }
        // SAFETY: as above; they stay while `owner` has not released the array.
        Ok(unsafe { Buffer::from_custom_allocation(start, bytes, self.owner.clone()) })
    }

    fn children(&self, array: &FFI_ArrowArray, at: &Extent) -> Result<Vec<ArrayData>> {
        let types: Vec<(&str, &DataType)> = match at.data_type {
            DataType::List(f)
            | DataType::LargeList(f)
            | DataType::ListView(f)
            | DataType::LargeListView(f)
            | DataType::FixedSizeList(f, _)
            | DataType::Map(f, _) => vec![(f.name(), f.data_type())],
            DataType::Struct(fields) => fields.iter().map(|f| (f.name().as_str(), f.data_type())).collect(),
            DataType::Union(fields, _) => fields.iter().map(|(_, f)| (f.name().as_str(), f.data_type())).collect(),
            DataType::RunEndEncoded(ends, values) => {
                vec![(ends.name(), ends.data_type()), (values.name(), values.data_type())]
            }
            _ => Vec::new(),
        };
        if array.n_children != types.len() as i64 {
            return at.fail(format!("{} children, expected {} for {}", array.n_children, types.len(), at.data_type));
        }
        if !types.is_empty() && array.children.is_null() {
            return at.fail(format!("{} children, but `children` is NULL", types.len()));
        }
        let mut children = Vec::with_capacity(types.len());
        for (index, (name, data_type)) in types.into_iter().enumerate() {
            // SAFETY: `children` is not NULL and the producer vouches for `n_children` entries.
            let child = unsafe { array.children.add(index).read_unaligned() };
            children.push(self.child(child, data_type, &format!("{}.{name}", at.path))?);
        }
        match (at.data_type, array.dictionary.is_null()) {
            (DataType::Dictionary(_, values), false) => {
                let path = format!("{}.dictionary", at.path);
                children.push(self.child(array.dictionary, values, &path)?);
            }
            (DataType::Dictionary(..), true) => return at.fail("the dictionary is NULL"),
            (_, false) => return at.fail(format!("{} has a dictionary, expected none", at.data_type)),
            (_, true) => {}
        }
        Ok(children)
    }

    fn child(&self, child: *mut FFI_ArrowArray, data_type: &DataType, path: &str) -> Result<ArrayData> {
        if child.is_null() || !child.is_aligned() {
            return Err(Error::invalid(path, "the array of this child is NULL or misaligned"));
        }
        // SAFETY: not NULL and aligned; the producer vouches for the struct.
        self.node(unsafe { &*child }, data_type, path)
    }
}

fn extent<'a>(array: &FFI_ArrowArray, data_type: &'a DataType, path: &'a str) -> Result<Extent<'a>> {
    let (Ok(len), Ok(offset)) = (usize::try_from(array.length), usize::try_from(array.offset)) else {
        return Err(Error::invalid(
            path,
            format!("length {} and offset {}, expected 0 or more", array.length, array.offset),
        ));
    };
    // Buffers of an array without rows are not looked at: producers may leave them out, whatever the offset.
    let offset = if len == 0 { 0 } else { offset };
    match len.checked_add(offset) {
        // The extra place is for the offset after the last.
        Some(end) if end < isize::MAX as usize => Ok(Extent { path, data_type, len, offset, end }),
        _ => Err(Error::invalid(path, format!("offset {offset} + length {len} exceed the address space"))),
    }
}

fn check_buffer_count(array: &FFI_ArrowArray, at: &Extent) -> Result<()> {
    let shape = layout(at.data_type);
    let fixed = shape.buffers.len() as i64 + i64::from(shape.can_contain_null_mask);
    let fits = match fixed {
        // Null and run-end-encoded arrays: some producers count a validity buffer that is never there.
        0 => (0..=1).contains(&array.n_buffers),
        // Views: the data buffers and their sizes follow.
        _ if shape.variadic => array.n_buffers > fixed,
        _ => array.n_buffers == fixed,
    };
    if !fits {
        return at.fail(format!(
            "{} buffers, expected {}{fixed} for {}",
            array.n_buffers,
            if shape.variadic { "more than " } else { "" },
            at.data_type
        ));
    }
    if fixed > 0 && array.buffers.is_null() {
        return at.fail(format!("{} buffers, but `buffers` is NULL", array.n_buffers));
    }
    Ok(())
}

/// Buffer `index`, which `check_buffer_count` has found to exist.
fn pointer(array: &FFI_ArrowArray, index: usize) -> *const u8 {
    // SAFETY: `buffers` is not NULL and the producer vouches for `n_buffers` entries, of which `index` is one.
    unsafe { array.buffers.add(index).read_unaligned() }.cast()
}

/// Whether the first buffer has one value more than the array has rows.
fn has_offsets(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::List(_)
            | DataType::LargeList(_)
            | DataType::Map(..)
    )
}

/// The size of a text or binary array's values: its last offset.
fn last_offset(buffers: &[Buffer], at: &Extent) -> Result<usize> {
    if at.len == 0 {
        return Ok(0);
    }
    let last = match at.data_type {
        DataType::Utf8 | DataType::Binary => i64::from(buffers[0].typed_data::<i32>()[at.end]),
        _ => buffers[0].typed_data::<i64>()[at.end],
    };
    usize::try_from(last).or_else(|_| at.fail(format!("the last offset is {last}, expected 0 or more")))
}

/// What the parent needs of its children before they are cut to its rows.
fn check_children(at: &Extent, children: &[ArrayData]) -> Result<()> {
    let needed = match at.data_type {
        DataType::Struct(_) | DataType::Union(_, UnionMode::Sparse) => at.end,
        DataType::FixedSizeList(_, width) => at.bytes(at.end, usize::try_from(*width).unwrap_or_default())?,
        DataType::RunEndEncoded(..) => return check_run_ends(at, &children[0]),
        _ => return Ok(()),
    };
    for (index, child) in children.iter().enumerate() {
        if child.len() < needed {
            return at.fail(format!(
                "child {index} has {} rows, expected at least {needed} (offset {} + length {})",
                child.len(),
                at.offset,
                at.len
            ));
        }
    }
    Ok(())
}

/// Run ends must reach as far as the array; arrow-rs only looks when it searches.
fn check_run_ends(at: &Extent, ends: &ArrayData) -> Result<()> {
    if at.len == 0 {
        return Ok(());
    }
    let last = (ends.offset() + ends.len()).checked_sub(1);
    let reach = match (ends.data_type(), last) {
        (_, None) => 0,
        (DataType::Int16, Some(i)) => i64::from(ends.buffers()[0].typed_data::<i16>()[i]),
        (DataType::Int32, Some(i)) => i64::from(ends.buffers()[0].typed_data::<i32>()[i]),
        (_, Some(i)) => ends.buffers()[0].typed_data::<i64>()[i],
    };
    if usize::try_from(reach).is_ok_and(|reach| reach >= at.end) {
        Ok(())
    } else {
        at.fail(format!("the run ends reach to row {reach}, expected at least {}", at.end))
    }
}
