//! Memory for bytes that are on their way, taken as they really arrive.

use std::alloc::Layout;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::counters::{ARRIVALS, Counter};
use crate::error::{Limit, MemoryError};
use crate::limits;

/// What is taken before the first byte is there; afterwards the memory is at most twice what arrived.
const FIRST: usize = 1 << 20;

/// Alignment of the first byte: what Arrow recommends, and what typed arrays over every column can do with.
const ALIGN: usize = 64;

/// Bytes that a peer announced, of which some have arrived.
///
/// What a peer says costs nothing: memory is taken as bytes come, at most 1 MiB or as much again as is there, and never more
/// than was announced. The machine's limits are read before it grows. Not shared between threads; may move.
#[derive(Debug)]
pub struct Growing {
    /// `None` until the first byte is to be written.
    span: Option<Span>,
    filled: usize,
    length: usize,
}

/// All bytes that were announced, from an address that is a multiple of 64. Reads as a slice of bytes.
#[derive(Debug)]
pub struct Arrived {
    span: Option<Span>,
    length: usize,
}

impl Growing {
    /// Nothing has arrived of `length` bytes, and no memory is taken.
    pub fn new(length: usize) -> Self {
        Self { span: None, filled: 0, length }
    }

    /// As [`new`](Self::new), with memory for all of it, for transports that have to know where everything goes before the first byte comes. The
    /// memory is not written, so pages of it that nothing arrives in are never taken from the system.
    ///
    /// # Errors
    /// [`MemoryError::OutOfMemory`] where the machine or the cgroup has not that much left.
    pub fn whole(length: usize) -> Result<Self, MemoryError> {
        let mut growing = Self::new(length);
        if length > 0 {
            limits::admit(length as u64)?;
            growing.span = Some(Span::grown(None, length)?);
        }
        Ok(growing)
    }

    /// Bytes that are missing.
    pub fn missing(&self) -> usize {
        self.length - self.filled
    }

    /// Room for the next bytes; empty only where none is missing.
    ///
    /// # Errors
    /// [`MemoryError::OutOfMemory`] where the machine or the cgroup has not that much left.
    pub fn spare(&mut self) -> Result<&mut [MaybeUninit<u8>], MemoryError> {
        let capacity = self.span.as_ref().map_or(0, |span| span.layout.size());
        if self.filled == capacity && self.missing() > 0 {
            let wanted = capacity.saturating_mul(2).max(FIRST).min(self.length);
            limits::admit((wanted - capacity) as u64)?;
            self.span = Some(Span::grown(self.span.take(), wanted)?);
        }
        let Some(span) = &mut self.span else { return Ok(&mut []) };
        let room = span.layout.size() - self.filled;
        // SAFETY: filled ≤ the allocation's size, so the pointer and the rest of it lie inside; `&mut self` keeps others away.
        Ok(unsafe { std::slice::from_raw_parts_mut(span.start.add(self.filled).cast().as_ptr(), room) })
    }

    /// Says that the first `bytes` of [`spare`](Self::spare) were written.
    ///
    /// # Safety
    /// They were: these bytes, in the slice that `spare` returned last.
    pub unsafe fn advance(&mut self, bytes: usize) {
        self.filled += bytes;
        debug_assert!(self.filled <= self.length);
    }

    /// Copies as many of `bytes` as are missing; how many.
    ///
    /// # Errors
    /// As [`spare`](Self::spare); then nothing more may be asked of it than to be dropped.
    pub fn append(&mut self, bytes: &[u8]) -> Result<usize, MemoryError> {
        let wanted = bytes.len().min(self.missing());
        let mut rest = &bytes[..wanted];
        while !rest.is_empty() {
            let spare = self.spare()?;
            let (now, later) = rest.split_at(rest.len().min(spare.len()));
            // SAFETY: `now` is as long as the room or shorter, and cannot overlap it: nobody else has the room's address.
            unsafe {
                std::ptr::copy_nonoverlapping(now.as_ptr(), spare.as_mut_ptr().cast(), now.len());
                self.advance(now.len());
            }
            rest = later;
        }
        Ok(wanted)
    }

    /// The bytes, where all have arrived; otherwise what has arrived is dropped.
    pub fn finish(self) -> Option<Arrived> {
        (self.missing() == 0).then_some(Arrived { span: self.span, length: self.length })
    }
}

impl AsRef<[u8]> for Arrived {
    fn as_ref(&self) -> &[u8] {
        let Some(span) = &self.span else { return &[] };
        // SAFETY: `finish` made sure that `length` bytes were written from `start` on, and `self` keeps them.
        unsafe { std::slice::from_raw_parts(span.start.as_ptr(), self.length) }
    }
}

/// An allocation of the global allocator, not empty.
#[derive(Debug)]
struct Span {
    start: NonNull<u8>,
    layout: Layout,
    counter: &'static Counter,
}

// SAFETY: the allocation belongs to this value alone and the global allocator frees from any thread.
unsafe impl Send for Span {}
// SAFETY: nothing can be written through a shared reference to it.
unsafe impl Sync for Span {}

impl Span {
    /// `size` bytes, not 0, that begin with those of `old`, which is shorter.
    fn grown(old: Option<Self>, size: usize) -> Result<Self, MemoryError> {
        let refused = || MemoryError::OutOfMemory { requested: size as u64, limit: 0, which: Limit::System };
        let layout = Layout::from_size_align(size, ALIGN).map_err(|_| refused())?;
        let start = match &old {
            // SAFETY: the layout's size is not zero.
            None => unsafe { std::alloc::alloc(layout) },
            // SAFETY: it is the allocation of that layout; the new size is not zero and fits a layout of that alignment.
            Some(span) => unsafe { std::alloc::realloc(span.start.as_ptr(), span.layout, size) },
        };
        let start = NonNull::new(start).ok_or_else(refused)?;
        // The allocation went over into the new one: it must not be freed, or counted, again.
        match old {
            Some(old) => std::mem::forget(old),
            None => ARRIVALS.up(),
        }
        Ok(Self { start, layout, counter: &ARRIVALS })
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // SAFETY: `start` came from the allocator with this layout (`grown` keeps both together) and is freed here only.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
        self.counter.down();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_takes_no_memory_and_what_arrives_at_most_twice_as_much() {
        let mut growing = Growing::new(1 << 40);
        assert!(growing.span.is_none());
        let taken = |growing: &Growing| growing.span.as_ref().map_or(0, |span| span.layout.size());
        for piece in 1..40usize {
            assert_eq!(growing.append(&vec![piece as u8; 100_000]).unwrap(), 100_000);
            assert!(taken(&growing) <= FIRST.max(2 * piece * 100_000), "after {piece} pieces");
        }
        assert!(growing.finish().is_none(), "most of it never came");
    }

    #[test]
    fn memory_for_a_whole_body_lies_in_one_place_and_more_than_the_machine_has_is_an_error() {
        let mut growing = Growing::whole(3_000_000).unwrap();
        let start = growing.spare().unwrap().as_ptr() as usize;
        assert_eq!((growing.spare().unwrap().len(), start % ALIGN), (3_000_000, 0));
        growing.append(&[7; 3_000_000]).unwrap();
        assert_eq!(growing.finish().unwrap().as_ref().as_ptr() as usize, start);
        assert!(Growing::whole(0).unwrap().finish().is_some());
        #[cfg(target_os = "linux")]
        assert!(matches!(Growing::whole(1 << 50), Err(MemoryError::OutOfMemory { .. })));
    }

    #[test]
    fn bytes_arrive_in_order_aligned_and_not_one_more_than_announced() {
        let wanted: Vec<u8> = (0..3_000_001u32).map(|n| (n % 251) as u8).collect();
        let mut growing = Growing::new(wanted.len());
        for piece in wanted.chunks(777_777) {
            assert_eq!(growing.append(piece).unwrap(), piece.len());
        }
        assert_eq!((growing.missing(), growing.append(&[1, 2, 3]).unwrap(), growing.spare().unwrap().len()), (0, 0, 0));
        let arrived = growing.finish().unwrap();
        assert!(arrived.as_ref() == wanted);
        assert_eq!(arrived.as_ref().as_ptr() as usize % ALIGN, 0);
        assert!(Growing::new(0).finish().unwrap().as_ref().is_empty());
    }
}
