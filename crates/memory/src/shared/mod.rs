//! Shared memory between processes: sealed, anonymous memory files.
//!
//! The producer makes a [`Segment`]: a memfd that it maps shared and writable, fills with memory, and then seals so that
//! nobody can ever map it shared-writable again, write to it, reopen it for writing, change its size or punch holes into it,
//! whatever descriptor they hold. A consumer makes a [`Mapping`] from the descriptor it received: private, so that it sees
//! what the producer writes while its own stray writes reach nobody else. A page that a consumer wrote to no longer follows
//! the producer: [`Mapping::discard_written`] drops such pages before the block is used again.
//!
//! The files have no name and go with their last user, however that one dies.

mod keepers;
mod mapping;
mod returns;
mod segment;
mod written;

use std::ptr::NonNull;

use rustix::fs::SealFlags;
use rustix::io::Errno;
use rustix::mm::munmap;

use crate::counters::Counter;
use crate::error::MemoryError;
use crate::page::page_size;

pub use keepers::Keepers;
pub use mapping::Mapping;
pub use returns::{Noted, Overrun, RETURNS_LENGTH, ReturnPage, ReturnReader, ReturnWriter};
pub use segment::Segment;

/// What a segment must be sealed with before its descriptor leaves the process.
///
/// SHRINK and GROW: no reader meets SIGBUS. FUTURE_WRITE: only the producer's existing mapping writes; no shared-writable
/// map, write(), or hole punching through any descriptor, reopened or not. SEAL: this stays so.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// Tries shared memory on a segment of one page, and says how this machine tells which pages a consumer wrote to.
///
/// # Errors
/// Why there can be no shared memory between processes here.
pub fn probe() -> Result<&'static str, MemoryError> {
    let segment = Segment::create(page_size())?;
    let failed = |error: std::io::Error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        MemoryError::system("try shared memory", page_size() as u64, errno)
    };
    let descriptor = segment.fd().try_clone_to_owned().map_err(failed)?;
    let mapping = Mapping::open(descriptor, segment.len() as u64)?;
    mapping.discard_written(0, mapping.len()).map_err(failed)?;
    Ok(written::method_name())
}

/// A span of address space that munmap gives back.
struct MappedSpan {
    start: NonNull<u8>,
    len: usize,
    counter: &'static Counter,
}

// SAFETY: the mapping belongs to this value alone, is never dereferenced through it, and munmap works from any thread.
unsafe impl Send for MappedSpan {}
// SAFETY: nothing can be done through a shared reference to it.
unsafe impl Sync for MappedSpan {}

impl MappedSpan {
    /// Takes over the mapping `start..start + len`, which nobody else may unmap.
    fn new(start: NonNull<u8>, len: usize, counter: &'static Counter) -> Self {
        counter.up();
        MappedSpan { start, len, counter }
    }
}

impl Drop for MappedSpan {
    fn drop(&mut self) {
        // SAFETY: `new` took over exactly this mapping; regions over it hold this span, so none is left.
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast(), self.len) } {
            // Only a broken address space gets here; leaking is safer than anything else.
            tracing::error!(%error, len = self.len, "could not unmap a segment");
        }
        self.counter.down();
    }
}
