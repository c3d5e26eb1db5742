//! A block: the right to some pages of a pool's segment.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use super::Inner;
use crate::counters::BLOCKS;
use crate::region::{Kind, Region};

/// The bits of an address that are the offset; the 16 above are the segment.
const OFFSET_BITS: u32 = 48;

/// Where a block lies.
pub(super) struct Span {
    pub(super) segment: u16,
    /// In bytes.
    pub(super) offset: u64,
    /// In bytes: whole pages.
    pub(super) capacity: usize,
    /// The bytes asked for.
    pub(super) asked: usize,
}

/// Some whole pages of a pool, owned by whoever holds this value.
///
/// Starts and ends on a page; no other live block shares a page with it. The bytes are initialised: zero at first, later
/// whatever an earlier block left. Not `Clone`: put it into an [`Arc`] to share it. **Dropping it, on any thread, returns the
/// pages to the pool**; it happens exactly once, and whoever can still read them must be gone by then.
pub struct Block {
    pool: Arc<Inner>,
    region: Region,
    start: NonNull<u8>,
    offset: u64,
    asked: usize,
    capacity: usize,
    segment: u16,
}

// SAFETY: the pages belong to this value alone, the pointer is only handed out, and the pool may be entered from any thread.
unsafe impl Send for Block {}
// SAFETY: every method takes `&self` and only reads plain fields.
unsafe impl Sync for Block {}

impl Block {
    /// `span` was taken from the segment `region` of `pool` for this value, which gives it back; it lies inside the region.
    pub(super) fn new(pool: Arc<Inner>, region: Region, start: NonNull<u8>, span: Span) -> Self {
        BLOCKS.up();
        let Span { segment, offset, capacity, asked } = span;
        Block { pool, region, start, offset, asked, capacity, segment }
    }

    /// The pool's number of the segment this lies in, from 1.
    pub fn segment(&self) -> u16 {
        self.segment
    }

    /// Where in the segment this starts, in bytes: a multiple of the page size.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of bytes asked for.
    pub fn len(&self) -> usize {
        self.asked
    }

    /// Whether no bytes were asked for; one page is there nevertheless.
    pub fn is_empty(&self) -> bool {
        self.asked == 0
    }

    /// The number of bytes that may be used: whole pages, at least [`len`](Block::len).
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The first byte in this process, valid for reads and writes of [`capacity`](Block::capacity) bytes while this lives.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.start
    }

    /// The address as it goes over the wire: segment in the high 16 bits, offset in the low 48.
    pub fn address(&self) -> u64 {
        u64::from(self.segment) << OFFSET_BITS | self.offset
    }

    /// The whole segment that this lies in, at [`offset`](Block::offset). A clone of it keeps the memory mapped; it does not keep
    /// this block from being used again.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// What sort of memory this is.
    pub fn kind(&self) -> Kind {
        self.region.kind()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        BLOCKS.down();
        self.pool.give_back(self.segment, self.offset, self.capacity as u64);
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("segment", &self.segment)
            .field("offset", &self.offset)
            .field("len", &self.asked)
            .field("capacity", &self.capacity())
            .finish()
    }
}
