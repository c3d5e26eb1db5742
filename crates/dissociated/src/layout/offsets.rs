//! Offsets of variable-length values, re-based to the part that travels.

use arrow_buffer::{ArrowNativeType, Buffer};

use super::window::{Window, aligned_copy, broken, cut, empty};
use crate::Result;

/// `i32` or `i64`.
pub(super) trait Offset: ArrowNativeType + PartialOrd {
    fn to_index(self) -> Result<usize>;
    fn minus(self, base: Self) -> Self;
}

impl Offset for i32 {
    fn to_index(self) -> Result<usize> {
        usize::try_from(self).map_err(|_| broken("offsets"))
    }
    fn minus(self, base: Self) -> Self {
        self.wrapping_sub(base)
    }
}

impl Offset for i64 {
    fn to_index(self) -> Result<usize> {
        usize::try_from(self).map_err(|_| broken("offsets"))
    }
    fn minus(self, base: Self) -> Self {
        self.wrapping_sub(base)
    }
}

/// A buffer as numbers; copied when its address is not aligned for them.
pub(super) fn numbers<T: ArrowNativeType, R>(buffer: &Buffer, read: impl FnOnce(&[T]) -> R) -> R {
    let size = size_of::<T>();
    let whole = buffer.slice_with_length(0, buffer.len() / size * size);
    if (whole.as_ptr() as usize).is_multiple_of(align_of::<T>()) {
        read(whole.typed_data::<T>())
    } else {
        read(aligned_copy(whole.as_slice()).typed_data::<T>())
    }
}

/// The offsets of a window, starting at 0, and the range of values they span.
///
/// No copy when the first offset is 0 already. An array of no values has the one offset that the format asks for.
pub(super) fn offsets<O: Offset>(window: &Window<'_>) -> Result<(Buffer, usize, usize)> {
    if window.length == 0 {
        return Ok((Buffer::from_vec(vec![O::usize_as(0)]), 0, 0));
    }
    let buffer = window.fixed_of(0, size_of::<O>(), window.length + 1)?;
    numbers(&buffer, |offsets: &[O]| {
        let (&first, &last) = match offsets {
            [first, .., last] => (first, last),
            _ => return Err(broken("offsets")),
        };
        let (start, end) = (first.to_index()?, last.to_index()?);
        let length = end.checked_sub(start).ok_or_else(|| broken("offsets"))?;
        let rebased = if start == 0 {
            buffer.clone()
        } else {
            Buffer::from_vec(offsets.iter().map(|o| o.minus(first)).collect::<Vec<O>>())
        };
        Ok((rebased, start, length))
    })
}

/// The offsets and sizes of list views, re-based, and the range of the child they use.
///
/// No copy when the range is all of the child.
pub(super) fn views<O: Offset>(window: &Window<'_>, child: usize) -> Result<(Buffer, Buffer, usize, usize)> {
    if window.length == 0 {
        return Ok((empty(), empty(), 0, 0));
    }
    let starts = window.fixed(0, size_of::<O>())?;
    let sizes = window.fixed(1, size_of::<O>())?;
    numbers(&starts, |offsets: &[O]| {
        numbers(&sizes, |lengths: &[O]| {
            let (mut low, mut high) = (usize::MAX, 0);
            for (offset, length) in offsets.iter().zip(lengths) {
                let length = length.to_index()?;
                // An empty list may point anywhere.
                if length > 0 {
                    let offset = offset.to_index()?;
                    low = low.min(offset);
                    high = high.max(offset.checked_add(length).ok_or_else(|| broken("list"))?);
                }
            }
            if high > child {
                return Err(broken("list view"));
            }
            let low = low.min(high);
            if low == 0 && high == child {
                return Ok((starts.clone(), sizes.clone(), 0, child));
            }
            let base = O::usize_as(low);
            let rebased: Vec<O> = offsets
                .iter()
                .zip(lengths)
                .map(|(offset, length)| match *length == O::usize_as(0) {
                    true => O::usize_as(0),
                    false => offset.minus(base),
                })
                .collect();
            Ok((Buffer::from_vec(rebased), sizes.clone(), low, high - low))
        })
    })
}

/// The views of strings or bytes and the parts of the data buffers they use.
///
/// Views that fill their buffer are taken for unsliced, and their data buffers travel whole. Of a slice only the used
/// range of each data buffer travels, and its views are written anew.
pub(super) fn byte_views(window: &Window<'_>) -> Result<(Buffer, Vec<Buffer>)> {
    const VIEW: usize = 16;
    let views = window.fixed(0, VIEW)?;
    let data = &window.data.buffers()[1..];
    let all = window.buffer(0)?;
    if window.length == 0 {
        return Ok((empty(), vec![]));
    }
    if views.len() == all.len() && all.data_ptr().as_ptr().cast_const() == all.as_ptr() {
        return Ok((views, data.to_vec()));
    }
    let nulls = window.nulls()?;
    let valid = |i: usize| nulls.as_ref().is_none_or(|n| n.is_valid(i));
    // Length, and, for values over 12 bytes, data buffer and offset in it.
    let parts = |view: &[u8; VIEW]| {
        let word = |at: usize| u32::from_le_bytes([view[at], view[at + 1], view[at + 2], view[at + 3]]) as usize;
        (word(0) > 12).then(|| (word(0), word(8), word(12)))
    };
    let (rows, _) = views.as_slice().as_chunks::<VIEW>();
    let mut used = vec![(usize::MAX, 0usize); data.len()];
    for (i, row) in rows.iter().enumerate() {
        if let Some((length, index, offset)) = parts(row)
            && valid(i)
        {
            let range = used.get_mut(index).ok_or_else(|| broken("view"))?;
            *range = (range.0.min(offset), range.1.max(offset + length));
        }
    }
    let cuts = used
        .iter()
        .zip(data)
        .map(|((low, high), buffer)| match high {
            0 => Ok(empty()),
            high => cut(buffer, *low, high - low),
        })
        .collect::<Result<Vec<_>>>()?;
    if used.iter().all(|(low, _)| *low == 0) {
        return Ok((views, cuts));
    }
    let mut written = Vec::with_capacity(views.len());
    for (i, row) in rows.iter().enumerate() {
        let mut row = *row;
        if let Some((_, index, offset)) = parts(&row) {
            if valid(i) {
                // Not above the offset it had, so it fits.
                row[12..].copy_from_slice(&((offset - used[index].0) as u32).to_le_bytes());
            } else {
                // Whatever a null held may point outside what travels.
                row = [0; VIEW];
            }
        }
        written.extend_from_slice(&row);
    }
    Ok((Buffer::from_vec(written), cuts))
}
