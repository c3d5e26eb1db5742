//! A publisher's memory: blocks on demand, and segments that are given up again.
//!
//! A segment leaves in two steps, because subscribers have it mapped and know it by its number: every subscriber that
//! knows it is told ([`Connection::retire`]), and the pool lets go of its memory; when the last of them has acknowledged that, or is
//! gone, its number may be used again. So nobody waits for a subscriber that is stopped.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use arrowlane_memory::{AllocateError, Block, DEFAULT_SEGMENT};

use super::{ConnectionId, Publisher, State};
use crate::recycle;

/// How long memory has to have been of no use before it goes back to the system, about.
const PERIOD: Duration = Duration::from_secs(5);

/// Segments that are being given up, and who has yet to acknowledge that.
pub(super) type Retiring = BTreeMap<u16, Vec<ConnectionId>>;

impl Publisher {
    /// A block to write a batch into. [`AllocateError::NeedsGrowth`] asks for [`Pool::grow`](arrowlane_memory::Pool::grow)
    /// off the loop; after [`AllocateError::Full`], [`Event::Room`](crate::Event::Room) says when to ask again.
    pub fn allocate(&self, length: usize) -> Result<Block, AllocateError> {
        self.ask_pool(length as u64, || self.pool.try_allocate(length))
    }

    /// Asks the pool for a block of `bytes`. Where it is full, whoever asks is told of what comes back, and segments
    /// that are too small for this block are given up, so that a larger one can take their place.
    pub(super) fn ask_pool<T>(
        &self,
        bytes: u64,
        ask: impl Fn() -> Result<T, AllocateError>,
    ) -> Result<T, AllocateError> {
        // First what came back: it is better used again than left to grow cold.
        self.collect(&mut self.state.lock());
        let first = ask();
        self.shrink();
        if !matches!(first, Err(AllocateError::Full)) {
            return first;
        }
        self.forget_latest();
        // In this order: a block that comes back between the two is either found now or reported.
        self.ask(&mut self.state.lock());
        let second = ask();
        if matches!(second, Err(AllocateError::Full)) {
            self.retire(self.pool.make_way(usize::try_from(bytes).unwrap_or(usize::MAX)));
        }
        second
    }

    /// Gives back memory that was not needed for a while. There is no clock behind this: it happens when blocks come
    /// and go.
    pub(super) fn shrink(&self) {
        let idle = self.idle_segments(Instant::now);
        self.retire(idle);
    }

    /// Gives back memory that was not needed for a while, as of `now`, for whoever has a clock. Of segments that subscribers know,
    /// the memory goes when these have let go of their mappings as well.
    pub fn shrink_as_of(&self, now: Instant) {
        let idle = self.idle_segments(|| now);
        self.retire(idle);
    }

    fn idle_segments(&self, now: impl Fn() -> Instant) -> Vec<u16> {
        let pool = self.pool.statistics();
        if pool.capacity <= DEFAULT_SEGMENT {
            return Vec::new();
        }
        match self.usage.lock().note(pool.used, now()) {
            Some(keep) if keep < pool.capacity => self.pool.idle_segments(keep),
            _ => Vec::new(),
        }
    }

    pub(super) fn retire(&self, segments: Vec<u16>) {
        if segments.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for segment in segments {
            let told = state.connections.iter_mut().filter_map(|(id, c)| c.retire(segment).then_some(*id));
            let told: Vec<_> = told.collect();
            if told.is_empty() {
                self.release(segment);
            } else {
                state.retiring.insert(segment, told);
                let pool = self.pool.clone();
                recycle::later(move || {
                    pool.give_up_segment(segment);
                });
            }
        }
        self.flush_queued(&mut state);
    }

    /// A subscriber acknowledged that a segment is given up; `None`: it will never be sent anything again, which is as
    /// good for all of them.
    pub(super) fn acknowledged(&self, state: &mut State, id: ConnectionId, segment: Option<u16>) {
        state.retiring.retain(|number, waits_for| {
            if segment.is_none_or(|s| s == *number) {
                waits_for.retain(|waiting| *waiting != id);
            }
            if waits_for.is_empty() {
                self.release(*number);
            }
            !waits_for.is_empty()
        });
    }

    /// Unmapping takes long: not on the event loop. The pool reports it, as it reports blocks that come back.
    fn release(&self, segment: u16) {
        if self.relays.lock().release(segment) {
            return;
        }
        let pool = self.pool.clone();
        recycle::later(move || {
            pool.release_segment(segment);
        });
    }
}

/// How much of a pool was in use lately.
pub(super) struct Usage {
    since: Instant,
    peak: u64,
    before: u64,
}

impl Default for Usage {
    fn default() -> Self {
        Self { since: Instant::now(), peak: 0, before: 0 }
    }
}

impl Usage {
    /// Notes how many bytes are in use. At the end of a period: how many are worth keeping, twice what was in use at
    /// most in this period and the one before.
    fn note(&mut self, used: u64, now: Instant) -> Option<u64> {
        self.peak = self.peak.max(used);
        if now.duration_since(self.since) < PERIOD {
            return None;
        }
        let keep = self.peak.max(self.before).saturating_mul(2).max(DEFAULT_SEGMENT);
        self.before = std::mem::replace(&mut self.peak, used);
        self.since = now;
        Some(keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_kept_for_two_periods_after_it_was_last_needed() {
        let start = Instant::now();
        let mut usage = Usage { since: start, peak: 0, before: 0 };
        let large = 4 * DEFAULT_SEGMENT;
        assert_eq!(usage.note(large, start), None);
        assert_eq!(usage.note(10, start + PERIOD / 2), None, "a period has to be over");
        assert_eq!(usage.note(10, start + PERIOD), Some(2 * large));
        assert_eq!(usage.note(10, start + 2 * PERIOD), Some(2 * large), "it was needed in the period before");
        assert_eq!(usage.note(10, start + 3 * PERIOD), Some(DEFAULT_SEGMENT));
    }
}
