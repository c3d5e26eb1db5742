//! Handing to the system what is queued for subscribers.

use std::sync::{Arc, atomic::Ordering};

use super::{ConnectionId, Publisher, State};
use crate::{Lane, PlaneError};

impl Publisher {
    pub(super) fn flush_later(self: &Arc<Self>) {
        if let Some(lane) = self.lane.upgrade()
            && !self.dirty.swap(true, Ordering::AcqRel)
        {
            lane.flush_publisher_later(self);
        }
    }

    /// Hands to the system what was sent after the first batch of a turn.
    pub(crate) fn flush(self: &Arc<Self>) {
        self.dirty.store(false, Ordering::Release);
        self.sweep();
        self.flush_queued(&mut self.state.lock());
    }

    /// Hands to the system what is queued for anybody.
    pub(super) fn flush_queued(&self, state: &mut State) {
        let ids: Vec<_> = state.connections.iter().filter(|(_, c)| c.is_queued()).map(|(id, _)| *id).collect();
        for id in ids {
            self.flush_connection(state, id);
        }
    }

    pub(super) fn flush_connection(&self, state: &mut State, id: ConnectionId) {
        let (Some(lane), Some(connection)) = (self.lane.upgrade(), state.connections.get_mut(&id)) else { return };
        let flushed = connection.flush(&lane).and_then(|pause| self.pause(&lane, pause));
        if flushed.is_err() {
            self.remove(state, id);
        }
        self.drained(state);
    }

    pub(super) fn pause(&self, lane: &Lane, wanted: bool) -> Result<(), PlaneError> {
        if wanted {
            lane.retries().later(self.id)?;
        }
        Ok(())
    }
}
