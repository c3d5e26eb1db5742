//! Slicing `ArrayData` so that arrow-rs reads it right.
//!
//! `ArrayData::slice` of a struct slices the children *and* keeps an offset, which `StructArray::from` then applies
//! again: a struct inside a sliced struct, fixed-size list or sparse union panics, or shows other rows. Here such
//! parents always have offset 0 and children of exactly their length.

use arrow_data::ArrayData;
use arrow_schema::{DataType, UnionMode};

/// Rows `offset..offset + len`; the caller has checked that they exist.
pub(super) fn rows(data: &ArrayData, offset: usize, len: usize) -> ArrayData {
    if offset == 0 && len == data.len() {
        return data.clone();
    }
    match data.data_type() {
        DataType::Struct(_) | DataType::FixedSizeList(..) | DataType::Union(..) => {
            let sliced = normal(data.clone(), offset, len);
            debug_assert_eq!(sliced.offset(), 0);
            sliced
        }
        _ => data.slice(offset, len),
    }
}

/// The same for a struct, fixed-size list or union that has offset 0; other types are returned unchanged.
pub(super) fn normal(data: ArrayData, offset: usize, len: usize) -> ArrayData {
    let mut buffers = data.buffers().to_vec();
    let child_data = match data.data_type() {
        DataType::Struct(_) => each(&data, offset, len),
        DataType::FixedSizeList(_, width) => {
            let width = usize::try_from(*width).unwrap_or_default();
            each(&data, offset * width, len * width)
        }
        DataType::Union(_, mode) => {
            buffers[0] = buffers[0].slice_with_length(offset, len);
            match mode {
                UnionMode::Sparse => each(&data, offset, len),
                UnionMode::Dense => {
                    buffers[1] = buffers[1].slice_with_length(offset * 4, len * 4);
                    data.child_data().to_vec()
                }
            }
        }
        _ => return data,
    };
    let nulls = data.nulls().map(|nulls| nulls.slice(offset, len));
    let builder = data.into_builder().len(len).offset(0).nulls(nulls).buffers(buffers).child_data(child_data);
    // SAFETY: the rows exist, so every part is a slice of a part that fits its type; callers validate the whole.
    unsafe { builder.build_unchecked() }
}

fn each(data: &ArrayData, offset: usize, len: usize) -> Vec<ArrayData> {
    data.child_data().iter().map(|child| rows(child, offset, len)).collect()
}
