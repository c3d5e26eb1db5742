//! Buffers one behind the other.

use super::Flat;
use crate::header::{BatchHeader, Span};

/// Padding is at most this; alignments above it are taken for it.
const MAX_ALIGN: usize = 64;
static PADDING: [u8; MAX_ALIGN] = [0; MAX_ALIGN];

/// At least 8, as the IPC format wants, and a power of two.
fn alignment(align: usize) -> u64 {
    align.clamp(8, MAX_ALIGN).next_power_of_two() as u64
}

/// Bytes of the body when each buffer is padded to `align` (8 on a wire, 64 in a block).
#[must_use]
pub fn packed_size(flat: &Flat, align: usize) -> u64 {
    let align = alignment(align);
    flat.buffers.iter().map(|b| (b.len() as u64).next_multiple_of(align)).sum()
}

/// The header of the body whose buffers are padded to `align`: `buffers[i].offset` is where buffer `i` starts.
#[must_use]
pub fn header_of(flat: &Flat, align: usize) -> BatchHeader {
    let align = alignment(align);
    let mut offset = 0;
    let buffers = flat
        .buffers
        .iter()
        .map(|buffer| {
            let span = Span { offset, length: buffer.len() as u64 };
            offset += span.length.next_multiple_of(align);
            span
        })
        .collect();
    BatchHeader {
        rows: flat.rows as u64,
        nodes: flat.nodes.clone(),
        buffers,
        variadic: flat.variadic.clone(),
        compression: None,
        body_length: offset,
    }
}

/// The body as a gather list: the buffers themselves, and static zeros between them. Nothing is copied.
#[must_use]
pub fn packed_parts(flat: &Flat, align: usize) -> Vec<&[u8]> {
    let align = alignment(align);
    let mut parts = Vec::with_capacity(flat.buffers.len() * 2);
    for buffer in flat.buffers.iter().filter(|b| !b.is_empty()) {
        parts.push(buffer.as_slice());
        let length = buffer.len() as u64;
        let padding = (length.next_multiple_of(align) - length) as usize;
        if padding > 0 {
            parts.push(&PADDING[..padding]);
        }
    }
    parts
}
