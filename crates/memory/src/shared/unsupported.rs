//! Shared memory between processes: not on this platform, where every way in says so.

use crate::error::MemoryError;
use crate::region::Region;

/// Always [`MemoryError::Unsupported`].
pub fn probe() -> Result<&'static str, MemoryError> {
    Err(MemoryError::Unsupported { what: "shared memory (memfd)" })
}

/// A producer's segment; none can exist on this platform.
#[derive(Debug)]
pub enum Segment {}

impl Segment {
    /// Always [`MemoryError::Unsupported`].
    pub fn create(_len: usize) -> Result<Self, MemoryError> {
        Err(MemoryError::Unsupported { what: "shared memory (memfd)" })
    }

    /// The memory.
    pub fn region(&self) -> &Region {
        match *self {}
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        match *self {}
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        match *self {}
    }
}

/// A consumer's mapping; none can exist on this platform.
#[derive(Debug)]
pub enum Mapping {}

/// A page for returns; none can exist on this platform.
#[derive(Debug)]
pub enum ReturnPage {}
