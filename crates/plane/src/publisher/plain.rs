//! How far a plain client may lag behind.
//!
//! It gives no credit, so all that is known of it is what it holds: a batch counts until the last of its addresses came back.
//! What has no address cannot come back and does not count, nor does a dictionary, which a client keeps for as long as it
//! needs it; both are bounded by what the socket takes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use super::Queue;

/// Batches that a plain client holds.
#[derive(Default)]
pub(super) struct Outstanding {
    batches: AtomicUsize,
    bytes: AtomicU64,
}

impl Outstanding {
    pub(super) fn has_room(&self, bytes: u64, queue: &Queue) -> bool {
        let batches = self.batches.load(Ordering::Acquire);
        batches < queue.batches && (batches == 0 || self.bytes.load(Ordering::Acquire) + bytes <= queue.bytes)
    }

    /// Counts a batch until what is returned is dropped.
    pub(super) fn hold(self: &Arc<Self>, bytes: u64) -> Counted {
        self.batches.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Counted { of: Arc::clone(self), bytes }
    }
}

/// One batch that is held.
pub(super) struct Counted {
    of: Arc<Outstanding>,
    bytes: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.batches.fetch_sub(1, Ordering::AcqRel);
        self.of.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_in_batches_and_bytes_and_one_always_fits() {
        let outstanding = Arc::new(Outstanding::default());
        let queue = Queue { batches: 2, bytes: 100 };
        assert!(outstanding.has_room(1000, &queue), "one always fits");
        let first = outstanding.hold(60);
        assert!(outstanding.has_room(40, &queue) && !outstanding.has_room(41, &queue));
        let second = outstanding.hold(40);
        assert!(!outstanding.has_room(0, &queue));
        drop(first);
        assert!(outstanding.has_room(60, &queue));
        drop(second);
        assert!(outstanding.has_room(1000, &queue));
    }
}
