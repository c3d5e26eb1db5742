//! A region: a span of memory of one kind, with whatever keeps it alive.

use std::alloc::Layout;
use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::error::{Limit, MemoryError};
use crate::limits;

/// What sort of memory a region is. More kinds (pinned, CUDA, disk) will come: always have a default arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Memory of this process alone.
    Heap,
    /// A memory file that other processes can map.
    Shared,
}

/// A span of memory of one kind.
///
/// Cloning shares the owner: the memory goes when the last clone does. A region says where bytes are, not whether they may
/// be read: that is the business of the [`Block`](crate::Block) or lease over it. Send and Sync; reading and writing through
/// [`host_ptr`](Region::host_ptr) needs `unsafe`, and whoever does it keeps readers and writers apart.
#[derive(Clone)]
pub struct Region {
    kind: Kind,
    start: NonNull<u8>,
    len: usize,
    /// Never looked into: dropping the last clone gives the memory back.
    #[expect(dead_code, reason = "held for its Drop")]
    owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: a Region hands out its pointer only by value and never dereferences it; the memory behind it is tied to no thread
// and lives as long as `owner`, which is Send + Sync itself.
unsafe impl Send for Region {}
// SAFETY: as above; every method takes `&self` and only reads plain fields.
unsafe impl Sync for Region {}

impl Region {
    /// Zeroed memory of this process, aligned to 64 bytes as Arrow recommends. `len` may be 0.
    ///
    /// Fails with [`MemoryError::OutOfMemory`] where the allocator refuses. It does not read the machine's limits:
    /// [`heap_within_limits`](Region::heap_within_limits) does.
    pub fn heap(len: usize) -> Result<Self, MemoryError> {
        Self::heap_aligned(len, 64)
    }

    /// As [`heap`](Region::heap), within what the machine and the cgroup still allow: an allocator gives more than there is, and
    /// whoever writes into that meets the OOM killer. Small regions are counted, and the limits are read every few MiB.
    pub fn heap_within_limits(len: usize) -> Result<Self, MemoryError> {
        limits::admit(len as u64)?;
        Self::heap(len)
    }

    /// As [`heap`](Region::heap), with an alignment that must be a power of two.
    pub(crate) fn heap_aligned(len: usize, align: usize) -> Result<Self, MemoryError> {
        let refused = || MemoryError::OutOfMemory { requested: len as u64, limit: 0, which: Limit::System };
        // One byte at least: the allocator must not be asked for nothing.
        let layout = Layout::from_size_align(len.max(1), align).map_err(|_| refused())?;
        // SAFETY: the layout's size is not zero (line above).
        let start = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).ok_or_else(refused)?;
        let owner = Arc::new(HeapSpan { start, layout });
        Ok(Region { kind: Kind::Heap, start, len, owner })
    }

    /// A region over memory that `owner` keeps valid: `start..start + len` must live until `owner` is dropped.
    #[cfg(target_os = "linux")]
    pub(crate) fn owned_by(kind: Kind, start: NonNull<u8>, len: usize, owner: Arc<dyn Any + Send + Sync>) -> Self {
        Region { kind, start, len, owner }
    }

    /// What sort of memory this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The address of the first byte, in the address space that the kind implies (host and shared: this process's).
    pub fn address(&self) -> usize {
        self.start.as_ptr() as usize
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first byte, if the host can read this kind; valid for [`len`](Region::len) bytes while a clone of this region
    /// lives. `None` for device memory.
    pub fn host_ptr(&self) -> Option<NonNull<u8>> {
        match self.kind {
            Kind::Heap | Kind::Shared => Some(self.start),
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("kind", &self.kind)
            .field("address", &format_args!("{:#x}", self.address()))
            .field("len", &self.len)
            .finish()
    }
}

/// An allocation of the global allocator.
struct HeapSpan {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the allocation belongs to this value alone and the global allocator frees from any thread.
unsafe impl Send for HeapSpan {}
// SAFETY: nothing can be done through a shared reference to it.
unsafe impl Sync for HeapSpan {}

impl Drop for HeapSpan {
    fn drop(&mut self) {
        // SAFETY: `start` came from alloc_zeroed with this very layout and is freed here only.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_region_is_zeroed_aligned_and_readable_from_another_thread() {
        let region = Region::heap(1000).unwrap();
        assert_eq!((region.kind(), region.len(), region.address() % 64), (Kind::Heap, 1000, 0));
        let clone = region.clone();
        drop(region);
        std::thread::spawn(move || {
            let start = clone.host_ptr().unwrap();
            // SAFETY: the clone keeps 1000 initialised bytes alive and nobody writes them.
            let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), clone.len()) };
            assert!(bytes.iter().all(|&byte| byte == 0));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn an_empty_region_has_an_address_and_an_impossible_one_is_an_error() {
        assert!(Region::heap(0).unwrap().is_empty());
        let error = Region::heap(usize::MAX).unwrap_err();
        assert!(matches!(error, MemoryError::OutOfMemory { which: Limit::System, .. }));
    }
}
