//! How many bytes of bodies this process copied: what `zeroCopy` claims is proved with.

use std::sync::atomic::{AtomicU64, Ordering};

static COPIED: AtomicU64 = AtomicU64::new(0);

/// Bytes of bodies that were copied in this process so far: into a pool, out of one, or out of a message.
pub fn copied_bytes() -> u64 {
    COPIED.load(Ordering::Relaxed)
}

pub(crate) fn count(bytes: u64) {
    COPIED.fetch_add(bytes, Ordering::Relaxed);
}
