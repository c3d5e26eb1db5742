//! Subscribers that free nothing for too long.
//!
//! A timer of the lane's own looks at every subscriber eight times in `evict_after`. Looks are counted, not hours: a
//! clock that is set changes nothing, and a publisher that was stopped itself comes back to one look, not to a verdict.

use std::{sync::Arc, time::Duration};

use arrowlane_transport::{Interest, Source, system::Timer};
use rustix::fd::AsFd;

use super::{ConnectionId, Publisher, State};
use crate::{Event, Lane, PlaneError};

/// Token of the timer among a publisher's sources.
pub(super) const CLOCK: u64 = u64::MAX;
/// Looks without anything freed, after the first that saw something held, that are one too many.
const LOOKS: u32 = 8;

/// The code that an evicted subscriber is told.
pub(crate) const EVICTED: &str = "ERR_EVICTED";

/// A timer that runs while there are subscribers.
pub(super) struct Clock {
    timer: Timer,
    key: u64,
    running: bool,
}

impl Clock {
    pub(super) fn new(lane: &Lane, source: Arc<dyn Source>) -> Result<Self, PlaneError> {
        let timer = Timer::new()?;
        let key = lane.reactor().watch(timer.as_fd(), Interest::Read, source, CLOCK)?;
        Ok(Self { timer, key, running: false })
    }

    fn run(&mut self, period: Duration) {
        let running = !period.is_zero();
        if self.running != running {
            // Valid arguments are all that it can refuse.
            self.running = self.timer.every(period).is_ok() && running;
        }
    }

    pub(super) fn forget(&self, lane: &Lane) {
        lane.reactor().forget(self.key, self.timer.as_fd());
    }
}

/// What was seen of one subscriber, and how often in a row.
#[derive(Default)]
pub(super) struct Watch {
    seen: Option<(bool, u64)>,
    looks: u32,
}

impl Watch {
    /// Notes what is seen now; how many looks before this one saw the same. `None`: there is nothing to wait for.
    pub(super) fn look(&mut self, seen: Option<(bool, u64)>) -> u32 {
        self.looks = if seen.is_some() && seen == self.seen { self.looks + 1 } else { 0 };
        self.seen = seen;
        self.looks
    }

    fn is_due(looks: u32) -> bool {
        looks >= LOOKS
    }
}

impl Publisher {
    /// Has the timer run from now on, if this publisher evicts at all.
    pub(super) fn wind(&self, state: &mut State) {
        if let (Some(clock), Some(after)) = (&mut state.clock, self.options.evict_after) {
            clock.run((after / LOOKS).max(Duration::from_millis(1)));
        }
    }

    /// Looks at every subscriber. Whoever would be evicted is heard first: what it sent may not have been read, because
    /// this process was busy or stopped.
    pub(super) fn tick(self: &Arc<Self>, state: &mut State) {
        let Some(clock) = &mut state.clock else { return };
        // How often it rang is not looked at, see above.
        clock.timer.quiet();
        if state.connections.is_empty() {
            return clock.run(Duration::ZERO);
        }
        self.collect(state);
        let due = |(id, looks): (ConnectionId, u32)| Watch::is_due(looks).then_some(id);
        let ids: Vec<_> = state.connections.iter_mut().map(|(id, c)| (*id, c.look())).filter_map(due).collect();
        for id in ids {
            self.connection_ready(state, id);
            let unheard = state.connections.get_mut(&id).is_some_and(|c| c.look() > 0);
            if unheard {
                self.evict(state, id);
            }
        }
    }

    /// A subscriber gets nothing more. What it holds is its own until it frees it, or is gone.
    fn evict(self: &Arc<Self>, state: &mut State, id: ConnectionId) {
        let (Some(lane), Some(connection)) = (self.lane.upgrade(), state.connections.get_mut(&id)) else { return };
        let after = self.options.evict_after.unwrap_or_default().as_millis();
        connection.evict(
            EVICTED,
            &format!(
                "this subscriber freed nothing for {after} ms, the publisher's evictAfter: dispose batches sooner, or \
                 subscribe with a policy that drops some"
            ),
        );
        if connection.leave() {
            lane.emit(self.id, Event::Evicted(id));
        }
        tracing::warn!(
            topic = self.topic,
            connection = id,
            "a subscriber freed nothing for {after} ms: it was evicted"
        );
        self.recount(state);
        self.acknowledged(state, id, None);
        self.flush_connection(state, id);
        self.waiting.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_looks_in_a_row_that_see_the_same_count() {
        let mut watch = Watch::default();
        for expected in 0..=LOOKS {
            assert_eq!(watch.look(Some((true, 7))), expected);
        }
        assert!(Watch::is_due(watch.looks));
        assert_eq!(watch.look(Some((true, 8))), 0, "something was freed");
        assert_eq!(watch.look(Some((true, 8))), 1);
        assert_eq!(watch.look(None), 0, "nothing is held");
        assert_eq!(watch.look(None), 0);
        assert_eq!(watch.look(Some((true, 8))), 0, "what is held now was not before");
    }
}
