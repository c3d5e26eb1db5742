//! Arrays to nodes and buffers.

use arrow_buffer::{ArrowNativeType, Buffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, UnionFields, UnionMode};

use super::offsets::{byte_views, numbers, offsets, views};
use super::window::{Window, bits, broken, empty};
use super::{Flat, fixed_width};
use crate::header::{FieldNode, dictionaries_in};
use crate::{ProtocolError, Result};

/// Takes the columns of a batch apart, in IPC order, for every Arrow type.
///
/// Only what a slice covers travels. A slice of values of fixed width, or of bits that start on a byte, is no copy;
/// offsets that do not start at 0, bits that start inside a byte, and the views, type ids and run ends of slices are
/// rewritten. Validity is left out where nothing is null.
///
/// # Errors
/// Columns of different lengths, or an array whose buffers are too short for it.
pub fn flatten(columns: &[ArrayData]) -> Result<Flat> {
    let mut walk = Walk::default();
    walk.flat.rows = columns.first().map_or(0, ArrayData::len);
    for column in columns {
        if column.len() != walk.flat.rows {
            return Err(ProtocolError::layout("columns", format!("lengths {} and {}", walk.flat.rows, column.len())));
        }
        walk.array(Window::whole(column))?;
    }
    Ok(walk.flat)
}

#[derive(Default)]
struct Walk {
    flat: Flat,
    /// The depth-first index of the next dictionary.
    dictionary: usize,
}

impl Walk {
    fn node(&mut self, length: usize, null_count: usize) {
        self.flat.nodes.push(FieldNode { length: length as u64, null_count: null_count as u64 });
    }

    fn put(&mut self, buffer: Buffer) {
        self.flat.buffers.push(buffer);
    }

    fn array(&mut self, w: Window<'_>) -> Result<()> {
        let data_type = w.data.data_type();
        match data_type {
            DataType::Null => {
                self.node(w.length, w.length);
                return Ok(());
            }
            DataType::Union(fields, mode) => {
                self.node(w.length, 0);
                return self.union(w, fields, *mode);
            }
            DataType::RunEndEncoded(ends, _) => {
                self.node(w.length, 0);
                return match ends.data_type() {
                    DataType::Int16 => self.runs::<i16>(w),
                    DataType::Int32 => self.runs::<i32>(w),
                    DataType::Int64 => self.runs::<i64>(w),
                    _ => Err(broken("run ends")),
                };
            }
            _ => {}
        }
        let (null_count, validity) = w.validity()?;
        self.node(w.length, null_count);
        self.put(validity);
        match data_type {
            DataType::Boolean => {
                let values = bits(w.buffer(0)?, w.first(), w.length)?;
                self.put(values);
                Ok(())
            }
            DataType::Utf8 | DataType::Binary => self.bytes(w, offsets::<i32>(&w)?),
            DataType::LargeUtf8 | DataType::LargeBinary => self.bytes(w, offsets::<i64>(&w)?),
            DataType::Utf8View | DataType::BinaryView => {
                w.buffer(0)?;
                let (views, data) = byte_views(&w)?;
                self.flat.variadic.push(data.len() as u64);
                self.put(views);
                self.flat.buffers.extend(data);
                Ok(())
            }
            DataType::List(_) | DataType::Map(..) => self.list(w, offsets::<i32>(&w)?),
            DataType::LargeList(_) => self.list(w, offsets::<i64>(&w)?),
            DataType::ListView(_) => {
                let child = w.child(0)?.len();
                self.list_view(w, views::<i32>(&w, child)?)
            }
            DataType::LargeListView(_) => {
                let child = w.child(0)?.len();
                self.list_view(w, views::<i64>(&w, child)?)
            }
            DataType::FixedSizeList(_, size) => {
                let size = usize::try_from(*size).map_err(|_| broken("fixed-size list"))?;
                let start = w.first().checked_mul(size);
                let length = w.length.checked_mul(size);
                let (Some(start), Some(length)) = (start, length) else {
                    return Err(broken("fixed-size list"));
                };
                self.array(Window::of(w.child(0)?, start, length)?)
            }
            DataType::Struct(fields) => {
                for index in 0..fields.len() {
                    self.array(w.struct_child(index)?)?;
                }
                Ok(())
            }
            DataType::Dictionary(_, values) => {
                let width = fixed_width(data_type).ok_or_else(|| broken("dictionary keys"))?;
                let keys = w.fixed(0, width)?;
                self.put(keys);
                self.dictionary(w.child(0)?, values)
            }
            other => {
                let width =
                    fixed_width(other).ok_or_else(|| ProtocolError::Unsupported(format!("Arrow type {other}")))?;
                let values = w.fixed(0, width)?;
                self.put(values);
                Ok(())
            }
        }
    }

    fn bytes(&mut self, w: Window<'_>, parts: (Buffer, usize, usize)) -> Result<()> {
        let (offsets, start, length) = parts;
        self.put(offsets);
        let values = match length {
            0 => empty(),
            _ => super::window::cut(w.buffer(1)?, start, length)?,
        };
        self.put(values);
        Ok(())
    }

    fn list(&mut self, w: Window<'_>, parts: (Buffer, usize, usize)) -> Result<()> {
        let (offsets, start, length) = parts;
        self.put(offsets);
        self.array(Window::of(w.child(0)?, start, length)?)
    }

    fn list_view(&mut self, w: Window<'_>, parts: (Buffer, Buffer, usize, usize)) -> Result<()> {
        let (offsets, sizes, start, length) = parts;
        self.put(offsets);
        self.put(sizes);
        self.array(Window::of(w.child(0)?, start, length)?)
    }

    /// Dictionaries inside the values come first, as they must be sent first.
    fn dictionary(&mut self, values: &ArrayData, value_type: &DataType) -> Result<()> {
        if dictionaries_in(value_type) > 0 {
            let mut inner = Walk { dictionary: self.dictionary, ..Self::default() };
            inner.array(Window::whole(values))?;
            self.dictionary = inner.dictionary;
            self.flat.dictionaries.append(&mut inner.flat.dictionaries);
        }
        self.flat.dictionaries.push((self.dictionary, values.clone()));
        self.dictionary += 1;
        Ok(())
    }

    fn union(&mut self, w: Window<'_>, fields: &UnionFields, mode: UnionMode) -> Result<()> {
        let ids = w.fixed(0, 1)?;
        if mode == UnionMode::Sparse {
            self.put(ids);
            for index in 0..fields.len() {
                self.array(Window::of(w.child(index)?, w.first(), w.length)?)?;
            }
            return Ok(());
        }
        let starts = w.fixed(1, 4)?;
        let lengths: Vec<usize> = w.data.child_data().iter().map(ArrayData::len).collect();
        // Values that no slot points at mean that the union is a slice.
        if lengths.iter().sum::<usize>() == w.length {
            self.put(ids);
            self.put(starts);
            for index in 0..fields.len() {
                self.array(Window::whole(w.child(index)?))?;
            }
            return Ok(());
        }
        let mut child_of = [usize::MAX; 128];
        for (index, (id, _)) in fields.iter().enumerate() {
            child_of[usize::from(id.unsigned_abs() & 127)] = index;
        }
        let mut used = vec![(usize::MAX, 0usize); fields.len()];
        let rebased = numbers(&starts, |offsets: &[i32]| {
            let slots = || {
                ids.as_slice().iter().zip(offsets).map(|(id, offset)| {
                    let child = child_of.get(usize::from(*id)).copied();
                    let offset = usize::try_from(*offset).map_err(|_| broken("union"))?;
                    Ok((child.filter(|c| *c < fields.len()), offset))
                })
            };
            for slot in slots() {
                let (Some(child), offset) = slot? else {
                    return Err(broken("union type ids"));
                };
                let range = &mut used[child];
                *range = (range.0.min(offset), range.1.max(offset + 1));
            }
            slots()
                .map(|slot| {
                    let (child, offset) = slot?;
                    let low = child.map_or(0, |c| used[c].0);
                    Ok(i32::usize_as(offset - low))
                })
                .collect::<Result<Vec<i32>>>()
        })?;
        self.put(ids);
        self.put(Buffer::from_vec(rebased));
        for (index, (low, high)) in used.into_iter().enumerate() {
            let low = low.min(high);
            self.array(Window::of(w.child(index)?, low, high - low)?)?;
        }
        Ok(())
    }

    /// The runs that the window touches; the ends are rewritten when the window does not start and end with the array.
    fn runs<T: ArrowNativeType + Ord>(&mut self, w: Window<'_>) -> Result<()> {
        let (ends, values) = (w.child(0)?, w.child(1)?);
        let ends_window = Window::whole(ends);
        let buffer = ends_window.fixed(0, size_of::<T>())?;
        let (from, to) = (w.first(), w.first() + w.length);
        let (first, count, kept) = numbers(&buffer, |all: &[T]| {
            if w.length == 0 {
                return Ok((0, 0, empty()));
            }
            // Run r covers the values before ends[r] and from ends[r - 1] on.
            let first = all.partition_point(|end| end.as_usize() <= from);
            let last = all.partition_point(|end| end.as_usize() < to);
            // Ends that do not ascend may put the last run before the first.
            if last >= all.len() || last < first {
                return Err(broken("run ends"));
            }
            let count = last + 1 - first;
            let size = size_of::<T>();
            let kept = if from == 0 && all[last].as_usize() == to {
                buffer.slice_with_length(first * size, count * size)
            } else {
                let rewritten: Vec<T> =
                    all[first..=last].iter().map(|end| T::usize_as(end.as_usize().clamp(from, to) - from)).collect();
                Buffer::from_vec(rewritten)
            };
            Ok((first, count, kept))
        })?;
        self.node(count, 0);
        self.put(empty());
        self.put(kept);
        self.array(Window::of(values, first, count)?)
    }
}
