//! The producer's side of a shared segment.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::{Errno, retry_on_intr};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};

use super::{MappedSpan, SEALS};
use crate::counters::SEGMENTS;
use crate::error::MemoryError;
use crate::limits;
use crate::page::{bytes_in, page_size, pages_for};
use crate::region::{Kind, Region};

/// How much memory is taken between two looks at the limits.
const STEP: usize = 64 << 20;

/// What is done to every 64 MiB of the new segment, as the error names it.
const FILL: &str = "allocate memory for a shared segment";

/// A sealed memory file that this process writes and others read.
///
/// Dropping it closes the descriptor; the mapping goes with the last clone of its [`Region`], the memory with the last
/// process that has it mapped or open. Send and Sync.
#[derive(Debug)]
pub struct Segment {
    fd: OwnedFd,
    region: Region,
}

impl Segment {
    /// Makes a zeroed segment of at least `len` bytes (rounded up to whole pages), with every page present and mapped.
    ///
    /// Blocks for 0.3 to 2 ms per MiB. The limits are read first and between steps of 64 MiB; beyond them, or where the
    /// kernel refuses, [`MemoryError::OutOfMemory`] and nothing is left behind.
    pub fn create(len: usize) -> Result<Self, MemoryError> {
        Self::create_checked(len, &limits::check)
    }

    /// As [`create`](Segment::create); `check` says whether so many bytes more may be taken now.
    fn create_checked(len: usize, check: &dyn Fn(u64) -> Result<(), MemoryError>) -> Result<Self, MemoryError> {
        if len == 0 {
            return Err(MemoryError::Invalid { what: "the length of a shared segment", value: 0 });
        }
        let requested = bytes_in(pages_for(len as u64));
        let Ok(len) = isize::try_from(requested).map(isize::cast_unsigned) else {
            return Err(MemoryError::Invalid { what: "the length of a shared segment", value: requested });
        };
        check(requested)?;
        let fd = anonymous_file()?;
        ftruncate(&fd, requested).map_err(|e| MemoryError::system("size a shared segment", requested, e))?;
        let mut taken = 0;
        while taken < len {
            if taken > 0 {
                check((len - taken) as u64)?;
            }
            let step = STEP.min(len - taken);
            retry_on_intr(|| fallocate(&fd, FallocateFlags::empty(), taken as u64, step as u64))
                .map_err(|e| MemoryError::system(FILL, requested, e))?;
            taken += step;
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe { mmap(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &fd, 0) }
            .map_err(|e| MemoryError::system("map a shared segment", requested, e))?;
        let Some(start) = NonNull::new(start.cast::<u8>()) else {
            return Err(MemoryError::system("map a shared segment", requested, Errno::FAULT));
        };
        let span = MappedSpan::new(start, len, &SEGMENTS);
        populate(start, len).map_err(|e| MemoryError::system(FILL, requested, e))?;
        fcntl_add_seals(&fd, SEALS).map_err(|e| MemoryError::system("seal a shared segment", requested, e))?;
        let region = Region::owned_by(Kind::Shared, start, len, Arc::new(span));
        Ok(Segment { fd, region })
    }

    /// The descriptor to pass to consumers. It is sealed: whoever holds it can read, and nothing else.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The memory, as this process writes it.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The length in bytes: whole pages.
    pub fn len(&self) -> usize {
        self.region.len()
    }

    /// Whether there are no bytes at all; never true.
    pub fn is_empty(&self) -> bool {
        self.region.is_empty()
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}

/// A memory file without a name that can be sealed and, where the kernel knows that (Linux 6.3), never be executed.
pub(super) fn anonymous_file() -> Result<OwnedFd, MemoryError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("arrowlane", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create("arrowlane", flags),
        other => other,
    }
    .map_err(|e| MemoryError::system("create a shared segment", 0, e))
}

/// Maps every page of the fresh mapping for writing: a first touch later costs four times as much, in the middle of a send.
fn populate(start: NonNull<u8>, len: usize) -> Result<(), Errno> {
    // SAFETY: the caller's mapping covers start..start + len; populating changes no byte.
    match retry_on_intr(|| unsafe { madvise(start.as_ptr().cast(), len, Advice::LinuxPopulateWrite) }) {
        Err(Errno::INVAL) => {
            // Before Linux 5.14.
            for offset in (0..len).step_by(page_size()) {
                // SAFETY: inside the caller's mapping, which nobody else knows yet and which is all zero.
                unsafe { start.add(offset).write_volatile(0) };
            }
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rustix::fs::{fcntl_get_seals, fstat};

    use super::*;
    use crate::error::Limit;

    #[test]
    fn a_segment_is_whole_pages_zeroed_writable_sealed_and_fully_allocated() {
        let segment = Segment::create(3 * page_size() - 1).unwrap();
        assert_eq!(segment.len(), 3 * page_size());
        assert_eq!(segment.region().kind(), Kind::Shared);
        assert!(fcntl_get_seals(segment.fd()).unwrap().contains(SEALS));
        let stat = fstat(segment.fd()).unwrap();
        assert_eq!((stat.st_size as usize, stat.st_blocks as usize * 512), (segment.len(), segment.len()));
        let start = segment.region().host_ptr().unwrap();
        // SAFETY: the segment is this test's alone and at least a page long.
        unsafe {
            assert_eq!(start.read_volatile(), 0);
            start.write_volatile(7);
            assert_eq!(start.read_volatile(), 7);
        }
    }

    #[test]
    fn a_segment_of_nothing_or_of_everything_is_an_error() {
        assert!(matches!(Segment::create(0), Err(MemoryError::Invalid { .. })));
        assert!(matches!(Segment::create(usize::MAX), Err(MemoryError::Invalid { .. })));
    }

    #[test]
    fn more_than_the_machine_has_is_an_error_before_anything_is_taken() {
        let error = Segment::create(1 << 46).unwrap_err();
        assert!(matches!(error, MemoryError::OutOfMemory { which: Limit::Available | Limit::Cgroup, .. }), "{error}");
    }

    #[test]
    fn a_limit_that_shrinks_between_steps_stops_the_growth_and_leaves_nothing() {
        let looks = Cell::new(0);
        let check = |bytes: u64| {
            looks.set(looks.get() + 1);
            match looks.get() {
                1 => Ok(()),
                _ => Err(MemoryError::OutOfMemory { requested: bytes, limit: 0, which: Limit::Cgroup }),
            }
        };
        let error = Segment::create_checked(STEP + page_size(), &check).unwrap_err();
        assert!(matches!(error, MemoryError::OutOfMemory { requested, .. } if requested == page_size() as u64));
        assert_eq!(looks.get(), 2);
    }
}
