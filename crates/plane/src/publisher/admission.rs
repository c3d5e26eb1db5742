//! Subscribers that came in by another door than the publisher's own.

use std::sync::Arc;

use arrowlane_dissociated::encode_schema;
use arrowlane_transport::Endpoint;

use super::{ConnectionId, Publisher, connection::Connection, talk::Talk};
use crate::{BatchSchema, PlaneError, ticket::Ticket};

/// A subscriber that has asked, and whose question was understood.
pub(crate) struct Admission {
    /// Its connection.
    pub(crate) endpoint: Box<dyn Endpoint>,
    /// Whether it declared the extension.
    pub(crate) extended: bool,
    /// What it asked for.
    pub(crate) asked: Ticket,
    /// Tagged messages that came behind its question.
    pub(crate) rest: Vec<(u64, Vec<u8>)>,
}

impl Publisher {
    /// Serves a subscriber that another door let in, as one of its own. From any thread; it is read on this publisher's lane.
    pub(crate) fn admit(self: &Arc<Self>, admission: Admission) {
        let (publisher, Some(lane)) = (Arc::clone(self), self.lane.upgrade()) else { return };
        if lane.is_here() {
            return publisher.admit_here(admission);
        }
        lane.run(move || publisher.admit_here(admission));
    }

    fn admit_here(self: &Arc<Self>, admission: Admission) {
        let Admission { endpoint, extended, asked, rest } = admission;
        let Some(lane) = self.lane.upgrade() else { return };
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.closing || state.closed {
            return;
        }
        let mut talk = Talk::admitted(&self.topic, asked, extended);
        if let Some(error) = rest.into_iter().find_map(|(tag, body)| talk.tagged(tag, &body).err()) {
            return tracing::warn!(topic = self.topic, %error, "a subscriber was not admitted");
        }
        let Some(id) = self.let_in(state, &lane, endpoint, talk) else { return };
        self.connection_ready(state, id);
    }

    /// Has a subscriber with a stream of its own told the schema, though no batch may follow.
    ///
    /// # Errors
    /// As [`try_send_to`](Self::try_send_to).
    pub fn begin(self: &Arc<Self>, id: ConnectionId, schema: &Arc<BatchSchema>) -> Result<(), PlaneError> {
        let mut state = self.state.lock();
        let connection = state.connections.get_mut(&id).filter(|c| c.takes_part()).ok_or(PlaneError::Closed)?;
        connection.begin(&encode_schema(&schema.arrow), schema.dictionaries.len());
        Ok(())
    }

    /// Once a second: shows subscribers of the network that this side lives, and drops those that have shown nothing for long.
    /// `listening`: whether it was read since.
    pub(crate) fn beat(self: &Arc<Self>, listening: bool) {
        let mut state = self.state.lock();
        let late = |(id, c): (&ConnectionId, &mut Connection)| (!c.beat(listening)).then_some(*id);
        let silent: Vec<_> = state.connections.iter_mut().filter_map(late).collect();
        for id in silent {
            tracing::warn!(topic = self.topic, connection = id, "a subscriber gave no sign of life: it was dropped");
            self.remove(&mut state, id);
        }
        self.flush_queued(&mut state);
    }

    /// As [`beat`](Self::beat), from another thread than its lane's, whose loop may be busy. `turns`: that lane's, the last time.
    /// Whether there is anybody to show it to.
    pub(crate) fn beat_from_afar(self: &Arc<Self>, turns: &mut u64) -> bool {
        let Some(lane) = self.lane.upgrade() else { return false };
        if !self.has_connections() {
            return false;
        }
        let now = lane.turn_number();
        self.beat(std::mem::replace(turns, now) != now);
        // Were it idle, it would not have turned by the next time.
        lane.rouse();
        true
    }

    /// Whether anybody is connected.
    pub(crate) fn has_connections(&self) -> bool {
        !self.state.lock().connections.is_empty()
    }
}
