//! How much native memory this process holds through this crate, for leak tests and `top`.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was alive in this process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Shared segments mapped as their producer.
    pub segments: u64,
    /// Shared segments mapped as a consumer.
    pub mappings: u64,
    /// Blocks out of their pools.
    pub blocks: u64,
    /// Bodies that came inside their message, whole or in part.
    pub arrivals: u64,
}

pub(crate) static SEGMENTS: Counter = Counter(AtomicU64::new(0));
pub(crate) static MAPPINGS: Counter = Counter(AtomicU64::new(0));
pub(crate) static BLOCKS: Counter = Counter(AtomicU64::new(0));
pub(crate) static ARRIVALS: Counter = Counter(AtomicU64::new(0));

/// Counts what is alive in the whole process. The numbers are read one after the other, so they fit each other only
/// while nothing is made or dropped.
pub fn snapshot() -> Counters {
    Counters { segments: SEGMENTS.get(), mappings: MAPPINGS.get(), blocks: BLOCKS.get(), arrivals: ARRIVALS.get() }
}

/// A count of living things. Relaxed: it orders nothing, it is only read by people and tests.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
