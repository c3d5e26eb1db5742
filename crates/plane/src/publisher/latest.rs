//! Batches that were published before: the latest, for those who come, and what is kept for those who lag behind.

use std::{cell::OnceCell, sync::Arc};

use super::{ConnectionId, Publisher, State};
use crate::PlaneError;

/// This part of the pool at most is held by (and a further one kept for) all subscribers together that may lose batches.
const SHARE: u64 = 4;

impl Publisher {
    /// How much one subscriber may hold that may lose batches: the more there are, the less each.
    pub(super) fn share(&self, state: &State) -> u64 {
        self.options.memory / SHARE / state.droppers.max(1)
    }

    /// Counts those who may lose batches: after one came, changed or went.
    pub(super) fn recount(&self, state: &mut State) {
        state.droppers = state.connections.values().filter(|c| c.may_lose()).count() as u64;
    }

    /// Sends what is kept for a subscriber as far as it has room now.
    pub(super) fn catch_up(&self, state: &mut State, id: ConnectionId) -> Result<(), PlaneError> {
        let share = self.share(state);
        let schema = state.schema.as_ref().map(|(_, flatbuffer)| flatbuffer.as_slice()).unwrap_or_default();
        match state.connections.get_mut(&id) {
            Some(connection) => connection.advance(&self.pool, schema, Some(share)),
            None => Ok(()),
        }
    }

    /// Sends all that is kept, for one or for everybody: their streams end.
    pub(super) fn hand_over(&self, state: &mut State, only: Option<ConnectionId>) {
        let schema = state.schema.as_ref().map(|(_, flatbuffer)| flatbuffer.as_slice()).unwrap_or_default();
        for (id, connection) in &mut state.connections {
            if only.is_none_or(|only| only == *id)
                && let Err(error) = connection.advance(&self.pool, schema, None)
            {
                tracing::warn!(topic = self.topic, %error, "what was kept for a subscriber could not be sent");
            }
        }
    }

    /// A subscriber that asked for it begins with the latest batch.
    pub(super) fn begin_with_latest(self: &Arc<Self>, state: &mut State, id: ConnectionId) {
        let share = self.share(state);
        let (Some(latest), Some((_, schema))) = (state.latest.clone(), &state.schema) else { return };
        let Some(connection) = state.connections.get_mut(&id).filter(|c| c.wants_latest()) else { return };
        // Nothing is in its queue yet, so this is sent.
        if let Err(error) = connection.offer(&self.pool, &latest.message(schema, &OnceCell::new()), share) {
            tracing::warn!(topic = self.topic, %error, "the latest batch could not be sent");
        }
    }

    /// Lets the latest batch go, whose memory is needed for the next one.
    pub(super) fn forget_latest(&self) {
        let latest = self.state.lock().latest.take();
        drop(latest);
    }
}
