//! Spans of memory for what arrives: short ones from the allocator, long ones as address space that becomes memory where it is
//! written to. Long ones grow without being copied, and wait for the next body when they are let go of.

use std::alloc::Layout;
use std::ptr::NonNull;

use crate::counters::{ARRIVALS, Counter};
use crate::error::{Limit, MemoryError};
#[cfg(target_os = "linux")]
use crate::spares::Mapping;

/// Alignment of the first byte: what Arrow recommends, and what typed arrays over every column can do with.
pub(crate) const ALIGN: usize = 64;

/// From here on a span is mapped; below, the allocator is as quick, and wastes no part of a page.
#[cfg(target_os = "linux")]
const LONG: usize = 32 << 10;

/// So much address space is reserved at once, at most, for what a peer announced. It costs nothing until it is written to.
#[cfg(target_os = "linux")]
const RESERVE: usize = 1 << 30;

/// Memory that belongs to this value alone; not empty.
#[derive(Debug)]
pub(crate) struct Span {
    memory: Memory,
    counter: &'static Counter,
}

#[derive(Debug)]
enum Memory {
    Allocated(Allocation),
    #[cfg(target_os = "linux")]
    Mapped(Mapping),
}

impl Span {
    /// Room for `wanted` bytes, not 0, of `length` that may follow.
    pub(crate) fn new(wanted: usize, length: usize) -> Result<Self, MemoryError> {
        let memory = memory(wanted, length).ok_or_else(|| refused(wanted))?;
        ARRIVALS.up();
        Ok(Self { memory, counter: &ARRIVALS })
    }

    /// Makes room for `wanted` bytes behind the address that it then has; what was written goes along.
    pub(crate) fn grow(&mut self, wanted: usize, length: usize) -> Result<(), MemoryError> {
        let grown = wanted <= self.size()
            || match &mut self.memory {
                Memory::Allocated(allocation) => allocation.grow(wanted),
                #[cfg(target_os = "linux")]
                Memory::Mapped(mapping) => {
                    let most = length.min(mapping.size().saturating_add(RESERVE)).max(wanted);
                    mapping.grow(most) || mapping.grow(wanted)
                }
            };
        #[cfg(not(target_os = "linux"))]
        let _ = length;
        if grown { Ok(()) } else { Err(refused(wanted)) }
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        match &self.memory {
            Memory::Allocated(allocation) => allocation.start,
            #[cfg(target_os = "linux")]
            Memory::Mapped(mapping) => mapping.start(),
        }
    }

    pub(crate) fn size(&self) -> usize {
        match &self.memory {
            Memory::Allocated(allocation) => allocation.layout.size(),
            #[cfg(target_os = "linux")]
            Memory::Mapped(mapping) => mapping.size(),
        }
    }

    /// So many bytes from the start are memory of this process already, for they were written to before.
    pub(crate) fn written(&self) -> usize {
        match &self.memory {
            Memory::Allocated(_) => 0,
            #[cfg(target_os = "linux")]
            Memory::Mapped(mapping) => mapping.written(),
        }
    }

    /// Says that so many bytes from the start were written to.
    pub(crate) fn wrote(&mut self, _bytes: usize) {
        #[cfg(target_os = "linux")]
        if let Memory::Mapped(mapping) = &mut self.memory {
            mapping.wrote(_bytes);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.counter.down();
    }
}

#[cfg(target_os = "linux")]
fn memory(wanted: usize, length: usize) -> Option<Memory> {
    if length < LONG {
        return Allocation::new(length.max(wanted)).map(Memory::Allocated);
    }
    let most = length.min(RESERVE).max(wanted);
    // Where address space is limited, what is needed now may still be had.
    Mapping::new(most).or_else(|| Mapping::new(wanted)).map(Memory::Mapped)
}

#[cfg(not(target_os = "linux"))]
fn memory(wanted: usize, _length: usize) -> Option<Memory> {
    Allocation::new(wanted).map(Memory::Allocated)
}

fn refused(size: usize) -> MemoryError {
    MemoryError::OutOfMemory { requested: size as u64, limit: 0, which: Limit::System }
}

/// An allocation of the global allocator, not empty.
#[derive(Debug)]
struct Allocation {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the allocation belongs to this value alone and the global allocator frees from any thread.
unsafe impl Send for Allocation {}
// SAFETY: nothing can be written through a shared reference to it.
unsafe impl Sync for Allocation {}

impl Allocation {
    fn new(size: usize) -> Option<Self> {
        let layout = Layout::from_size_align(size.max(1), ALIGN).ok()?;
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { std::alloc::alloc(layout) })?;
        Some(Self { start, layout })
    }

    fn grow(&mut self, size: usize) -> bool {
        let Ok(layout) = Layout::from_size_align(size, ALIGN) else { return false };
        // SAFETY: it is the allocation of that layout; the new size is greater, so not zero, and fits a layout of that alignment.
        let start = unsafe { std::alloc::realloc(self.start.as_ptr(), self.layout, size) };
        let Some(start) = NonNull::new(start) else { return false };
        (self.start, self.layout) = (start, layout);
        true
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: `start` came from the allocator with this layout (`new` and `grow` keep both together) and is freed here only.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_keeps_what_was_written_however_long_it_was() {
        for (first, then) in [(100, 200), (100, 100_000), (40_000, 1 << 20), (1 << 20, 3 << 30)] {
            let mut span = Span::new(first, first).unwrap();
            // SAFETY: the span has that many bytes, and nobody else has its address.
            unsafe { span.start().as_ptr().write_bytes(7, first) };
            span.grow(then, then).unwrap();
            assert!(span.size() >= then);
            assert_eq!(span.start().as_ptr() as usize % ALIGN, 0);
            // SAFETY: these bytes were written, and went along.
            let bytes = unsafe { std::slice::from_raw_parts(span.start().as_ptr(), first) };
            assert!(bytes.iter().all(|byte| *byte == 7), "{first} to {then}");
            assert!(span.grow(usize::MAX, usize::MAX).is_err(), "more than there can be");
        }
    }
}
