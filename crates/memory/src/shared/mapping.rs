//! The consumer's side of a shared segment.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::{fmt, io};

use parking_lot::Mutex;
use rustix::fs::{SealFlags, fcntl_get_seals, fstat, fstatfs};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munlock};

use super::{Keepers, MappedSpan, SEALS, written};
use crate::counters::MAPPINGS;
use crate::error::MemoryError;
use crate::page::page_size;
use crate::region::{Kind, Region};

/// `TMPFS_MAGIC` of linux/magic.h: the file system of plain memfds (huge-page ones live on another).
const TMPFS_MAGIC: u64 = 0x0102_1994;

const MAP: &str = "map a received segment";

/// A private, readable and writable view of somebody else's segment.
///
/// It shows what the producer writes. Writing to it reaches nobody else and kills nobody, but the page written no longer
/// follows the producer: call [`discard_written`](Mapping::discard_written) on a block's span before its lease ends.
/// The mapping lives as long as a clone of its [`Region`]. Send and Sync.
pub struct Mapping {
    fd: OwnedFd,
    region: Region,
    at_end: Mutex<Vec<AtEnd>>,
    /// Closed after the memory is unmapped.
    keepers: Keepers,
}

/// What is called when a mapping goes.
type AtEnd = Box<dyn FnOnce() + Send>;

impl Mapping {
    /// Maps a descriptor received from a peer, which is taken for hostile: it must be a plain memfd, fully allocated, sealed
    /// against all change by others, and exactly `expected_len` bytes (a positive multiple of the page size) long.
    ///
    /// Then no read of the mapping can fail, ever. The descriptor is kept for forwarding ([`fd`](Mapping::fd)).
    pub fn open(fd: OwnedFd, expected_len: u64) -> Result<Self, MemoryError> {
        let len = check(&fd, expected_len, SEALS)?;
        if !expected_len.is_multiple_of(page_size() as u64) {
            return Err(MemoryError::WrongSize { expected: expected_len, found: expected_len });
        }
        let failed = |errno: Errno| MemoryError::system(MAP, expected_len, errno);
        // Mapped without access first: where the process has locked its future memory (mlockall), the kernel would populate a
        // private writable mapping at once, as MAP_POPULATE does, which copies every page: stale bytes for ever.
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe { mmap(null_mut(), len, ProtFlags::empty(), flags, &fd, 0) }.map_err(failed)?;
        let start = NonNull::new(start.cast::<u8>()).ok_or_else(|| failed(Errno::FAULT))?;
        let span = MappedSpan::new(start, len, &MAPPINGS);
        let address = start.as_ptr().cast();
        // SAFETY: exactly the mapping made above, not yet known to anybody else.
        unsafe {
            munlock(address, len).map_err(failed)?;
            mprotect(address, len, MprotectFlags::READ | MprotectFlags::WRITE).map_err(failed)?;
        }
        let region = Region::owned_by(Kind::Shared, start, len, Arc::new(span));
        Ok(Mapping { fd, region, at_end: Mutex::default(), keepers: Keepers::default() })
    }

    /// With the keepers that came with it.
    pub fn kept_by(mut self, keepers: Keepers) -> Self {
        self.keepers = keepers;
        self
    }

    /// The keepers that came with it.
    pub fn keepers(&self) -> &Keepers {
        &self.keepers
    }

    /// The memory, as this process sees it.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The descriptor, to hand on to another process or environment.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Calls `f` when this value is dropped, on the thread that does so, which may hold locks: `f` notes it and returns. Every
    /// [`Weak`](std::sync::Weak) to it is dead by then.
    pub fn at_end(&self, f: impl FnOnce() + Send + 'static) {
        self.at_end.lock().push(Box::new(f));
    }

    /// The length in bytes: whole pages.
    pub fn len(&self) -> usize {
        self.region.len()
    }

    /// Whether there are no bytes at all; never true.
    pub fn is_empty(&self) -> bool {
        self.region.is_empty()
    }

    /// Drops this process's private copies of pages in `offset..offset + len` (widened to whole pages), so that the span shows
    /// the producer's bytes again. Returns how many pages were dropped.
    ///
    /// Call it when nobody in this process can read or write the span any more, and before the producer is told so: a write
    /// that comes later makes a new private page. From any thread. One system call where nothing was written (Linux ≥ 6.7,
    /// 7.5–9 µs per MiB that was read); where the kernel cannot tell what was written, all pages are dropped and counted.
    pub fn discard_written(&self, offset: usize, len: usize) -> io::Result<usize> {
        let end = offset.checked_add(len).filter(|&end| end <= self.len()).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the span {offset} + {len} does not lie in a segment of {} bytes", self.len()),
            )
        })?;
        if len == 0 {
            return Ok(0);
        }
        let base = self.region.address();
        // The segment is whole pages, so widening stays inside it.
        let first = base + (offset & !(page_size() - 1));
        let last = base + end.next_multiple_of(page_size());
        // SAFETY: first..last lies in this private mapping, which the region keeps alive; losing private copies in it is what
        // the caller asks for.
        unsafe { written::discard(first, last) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.at_end.get_mut().drain(..).for_each(|f| f());
    }
}

impl AsFd for Mapping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("fd", &self.fd).field("region", &self.region).finish_non_exhaustive()
    }
}

/// Looks at a peer's file before it is mapped; its length as a usize if all is well.
pub(super) fn check(fd: &OwnedFd, expected: u64, seals: SealFlags) -> Result<usize, MemoryError> {
    let found = fcntl_get_seals(fd).unwrap_or(SealFlags::empty());
    if !found.contains(seals) {
        return Err(MemoryError::NotSealed { found: found.bits(), missing: seals.difference(found).bits() });
    }
    let io = |errno: Errno| MemoryError::system("look at a received segment", expected, errno);
    // The type of f_type differs between platforms; its low 32 bits hold the number on all of them.
    if fstatfs(fd).map_err(io)?.f_type as u32 as u64 != TMPFS_MAGIC {
        // A page of a huge-page file may be missing at the moment it is read: SIGBUS.
        return Err(MemoryError::NotPlainMemory { why: "it is not an ordinary memfd" });
    }
    let stat = fstat(fd).map_err(io)?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let wrong = MemoryError::WrongSize { expected, found: size };
    if size != expected || size == 0 {
        return Err(wrong);
    }
    // A hole would be filled on reading, at this process's expense and perhaps beyond its limits. Sealed files grow no holes.
    if u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) < size {
        return Err(MemoryError::NotPlainMemory { why: "it has holes" });
    }
    usize::try_from(size).map_err(|_| wrong)
}
