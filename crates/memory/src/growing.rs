//! Memory for bytes that are on their way, taken as they really arrive.

use std::mem::MaybeUninit;

use crate::error::MemoryError;
use crate::limits;
use crate::span::Span;

/// What is taken before the first byte is there; afterwards the memory is at most twice what arrived.
const FIRST: usize = 1 << 20;

/// Bytes that a peer announced, of which some have arrived.
///
/// What a peer says costs nothing but address space: memory is taken as bytes come, at most 1 MiB or as much again as is there, and
/// never more than was announced. The machine's limits are read before it grows. Not shared between threads; may move.
#[derive(Debug)]
pub struct Growing {
    /// `None` until the first byte is to be written.
    span: Option<Span>,
    /// So much of the span may be written to, from its start.
    admitted: usize,
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
        Self { span: None, admitted: 0, filled: 0, length }
    }

    /// As [`new`](Self::new), with memory for all of it, for transports that have to know where everything goes before the first byte comes. The
    /// memory is not written, so pages of it that nothing arrives in are never taken from the system.
    ///
    /// # Errors
    /// [`MemoryError::OutOfMemory`] where the machine or the cgroup has not that much left.
    pub fn whole(length: usize) -> Result<Self, MemoryError> {
        let mut growing = Self::new(length);
        if length > 0 {
            growing.admit(length)?;
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
        if self.filled == self.admitted && self.missing() > 0 {
            self.admit(self.admitted.saturating_mul(2).max(FIRST).min(self.length))?;
        }
        let Some(span) = &mut self.span else { return Ok(&mut []) };
        let room = self.admitted - self.filled;
        // SAFETY: filled ≤ admitted ≤ the span's size, so pointer and room lie inside; `&mut self` keeps others away.
        Ok(unsafe { std::slice::from_raw_parts_mut(span.start().add(self.filled).cast().as_ptr(), room) })
    }

    /// Lets so many bytes be written, from the start on.
    fn admit(&mut self, wanted: usize) -> Result<(), MemoryError> {
        let span = match &mut self.span {
            Some(span) => {
                span.grow(wanted, self.length)?;
                span
            }
            none => none.insert(Span::new(wanted, self.length)?),
        };
        // What was written to before is no more memory than there was.
        let written = span.written().min(self.length);
        let wanted = wanted.max(written);
        let fresh = wanted - self.admitted.max(written);
        if fresh > 0 {
            limits::admit(fresh as u64)?;
        }
        self.admitted = wanted;
        Ok(())
    }

    /// Says that the first `bytes` of [`spare`](Self::spare) were written.
    ///
    /// # Safety
    /// They were: these bytes, in the slice that `spare` returned last.
    pub unsafe fn advance(&mut self, bytes: usize) {
        self.filled += bytes;
        debug_assert!(self.filled <= self.admitted);
        if let Some(span) = &mut self.span {
            span.wrote(self.filled);
        }
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
        unsafe { std::slice::from_raw_parts(span.start().as_ptr(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::ALIGN;

    #[test]
    fn what_is_announced_takes_no_memory_and_what_arrives_at_most_twice_as_much() {
        let mut growing = Growing::new(1 << 40);
        assert!(growing.span.is_none());
        for piece in 1..40usize {
            assert_eq!(growing.append(&vec![piece as u8; 100_000]).unwrap(), 100_000);
            let most = FIRST.max(2 * piece * 100_000);
            assert!(growing.admitted <= most, "after {piece} pieces");
            #[cfg(target_os = "linux")]
            assert!(resident(&growing) <= most, "after {piece} pieces");
        }
        assert!(growing.finish().is_none(), "most of it never came");
    }

    /// Bytes of it that the system gave memory for.
    #[cfg(target_os = "linux")]
    fn resident(growing: &Growing) -> usize {
        let page = crate::page_size();
        let Some(span) = &growing.span else { return 0 };
        let mut pages = vec![0u8; span.size() / page];
        // SAFETY: the span is mapped, whole pages of it, and there is a byte for each of them.
        let looked = unsafe { libc::mincore(span.start().as_ptr().cast(), pages.len() * page, pages.as_mut_ptr()) };
        assert_eq!(looked, 0);
        pages.iter().filter(|page| **page & 1 == 1).count() * page
    }

    #[test]
    fn a_second_body_may_lie_where_the_first_lay_and_has_bytes_of_its_own_alone() {
        for (byte, length) in [(1u8, 5_000_000), (2, 4_900_000), (3, 5_000_000), (4, 100)] {
            let mut growing = Growing::new(length);
            growing.append(&vec![byte; length]).unwrap();
            let arrived = growing.finish().unwrap();
            assert_eq!(arrived.as_ref().len(), length);
            assert!(arrived.as_ref().iter().all(|found| *found == byte));
        }
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
