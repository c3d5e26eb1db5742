//! What the machine and its control groups still allow, read before memory is taken.
//!
//! A memory file that outgrows a cgroup meets the OOM killer, not an error; so this is looked at first, and again between
//! the steps in which a segment is filled. Reading costs some tens of microseconds: never do it on an event loop.

mod cgroup;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Limit, MemoryError};

/// Kept free on large machines, in bytes.
const LARGEST_RESERVE: u64 = 64 << 20;
/// Kept free where little is left, in bytes.
const SMALLEST_RESERVE: u64 = 8 << 20;

/// How many bytes could still be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headroom {
    /// What the kernel thinks is available without swapping (`MemAvailable`); `None` where that is unknown.
    pub available: Option<u64>,
    /// The least that this process's control group and those around it allow; `None` without a limit.
    pub cgroup: Option<u64>,
}

impl Headroom {
    /// The smaller of the two, `None` if neither is known.
    pub fn smallest(&self) -> Option<u64> {
        match (self.available, self.cgroup) {
            (Some(available), Some(cgroup)) => Some(available.min(cgroup)),
            (one, other) => one.or(other),
        }
    }

    /// What may be taken of it: 5 % (8 to 64 MiB) stay for page tables, the heap and everybody else.
    pub fn spendable(&self) -> Option<u64> {
        self.smallest().map(after_reserve)
    }

    /// Reads it below `root`, which is `/` except in tests.
    fn read(root: &Path) -> Self {
        Headroom { available: available(root), cgroup: cgroup::headroom(root) }
    }

    /// Says which limit, if any, stands in the way of `requested` bytes.
    fn check(&self, requested: u64) -> Result<(), MemoryError> {
        // The cgroup first: where both are too small, it is the one that somebody can change.
        for (left, which) in [(self.cgroup, Limit::Cgroup), (self.available, Limit::Available)] {
            if let Some(limit) = left.map(after_reserve)
                && requested > limit
            {
                return Err(MemoryError::OutOfMemory { requested, limit, which });
            }
        }
        Ok(())
    }
}

/// Reads what is left now. Other processes may take it a moment later: keep a reserve, and read again between steps.
pub fn headroom() -> Headroom {
    Headroom::read(Path::new("/"))
}

/// An error unless `requested` bytes can be taken now and the reserve still stands.
pub(crate) fn check(requested: u64) -> Result<(), MemoryError> {
    headroom().check(requested)
}

/// So many bytes are taken between two looks at the limits, at most.
const STEP: u64 = 4 << 20;

/// As [`check`], for memory that is taken in pieces of any size on an event loop: small ones are counted, and the limits are
/// read once in so many bytes, when copying them took longer than reading.
pub(crate) fn admit(requested: u64) -> Result<(), MemoryError> {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let taken = TAKEN.fetch_add(requested.min(STEP), Ordering::Relaxed).saturating_add(requested);
    if taken < STEP {
        return Ok(());
    }
    TAKEN.store(0, Ordering::Relaxed);
    check(requested)
}

fn after_reserve(headroom: u64) -> u64 {
    headroom.saturating_sub((headroom / 20).clamp(SMALLEST_RESERVE, LARGEST_RESERVE))
}

fn available(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_known_limit_counts_and_none_known_means_none() {
        let both = Headroom { available: Some(10), cgroup: Some(5) };
        assert_eq!(both.smallest(), Some(5));
        assert_eq!(Headroom { cgroup: None, ..both }.smallest(), Some(10));
        assert_eq!(Headroom::default().smallest(), None);
        assert!(Headroom::default().check(u64::MAX).is_ok());
    }

    #[test]
    fn a_reserve_is_kept_and_the_error_names_the_limit_that_refused() {
        let left = Headroom { available: Some(1 << 40), cgroup: Some(200 << 20) };
        assert_eq!(left.spendable(), Some(190 << 20));
        assert!(left.check(190 << 20).is_ok());
        let error = left.check((190 << 20) + 1).unwrap_err();
        assert!(matches!(error, MemoryError::OutOfMemory { which: Limit::Cgroup, limit, .. } if limit == 190 << 20));
        let little = Headroom { available: Some(1 << 20), cgroup: None };
        assert!(matches!(little.check(1), Err(MemoryError::OutOfMemory { which: Limit::Available, limit: 0, .. })));
    }

    #[test]
    fn mem_available_is_read_in_bytes_and_nonsense_is_unknown() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(available(root.path()), None);
        std::fs::create_dir(root.path().join("proc")).unwrap();
        std::fs::write(root.path().join("proc/meminfo"), "MemTotal: 9 kB\nMemAvailable:     1000 kB\n").unwrap();
        assert_eq!(available(root.path()), Some(1_024_000));
        std::fs::write(root.path().join("proc/meminfo"), "MemAvailable: many kB\n").unwrap();
        assert_eq!(available(root.path()), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_something_available() {
        assert!(headroom().available.unwrap() > 0);
    }
}
