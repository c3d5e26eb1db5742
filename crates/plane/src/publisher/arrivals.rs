//! What the lane's reactor brings a publisher: subscribers that come, speak and go.

use std::sync::Arc;

use arrowlane_transport::{Readiness, Source, TransportError};

use super::{ConnectionId, Publisher, State, connection::Connection};
use crate::{Event, PlaneError};

/// Token of the listener among a publisher's sources; connections count from 1.
pub(super) const LISTENER: u64 = 0;
/// So many subscribers, at most.
const MAX_CONNECTIONS: usize = 1024;

impl Publisher {
    pub(super) fn accept(self: &Arc<Self>, state: &mut State) {
        let Some(lane) = self.lane.upgrade() else { return };
        while let Some(endpoint) = state.door.as_mut().and_then(|door| door.accept(&self.topic)) {
            if state.connections.len() >= MAX_CONNECTIONS && !self.evict(state) {
                tracing::warn!(topic = self.topic, "more than {MAX_CONNECTIONS} subscribers: one was turned away");
                continue;
            }
            state.last += 1;
            let id = state.last;
            let source: Arc<dyn Source> = self.clone();
            match Connection::new(endpoint, &lane, source, id, &self.uri, &self.topic) {
                Ok(connection) => {
                    state.connections.insert(id, connection);
                    self.flush_connection(state, id);
                }
                Err(error) => tracing::warn!(topic = self.topic, %error, "a connection was not accepted"),
            }
        }
    }

    /// Drops the oldest connection that never said what it wants, if there is one.
    fn evict(&self, state: &mut State) -> bool {
        let silent = state.connections.iter().find(|(_, c)| c.is_silent()).map(|(id, _)| *id);
        silent.is_some_and(|id| {
            self.remove(state, id);
            true
        })
    }

    fn connection_ready(&self, state: &mut State, id: ConnectionId) {
        let (Some(lane), Some(connection)) = (self.lane.upgrade(), state.connections.get_mut(&id)) else { return };
        let was = connection.takes_part();
        let result = connection.receive().and_then(|()| connection.flush(&lane));
        let result = result.and_then(|pause| self.pause(&lane, pause));
        let is = connection.takes_part();
        connection.ask(state.asking);
        if !was && is {
            connection.announce();
            lane.emit(self.id, Event::Joined(id));
        }
        if was && !is && connection.leave() {
            // It wants no more; the connection stays for the leases that it holds.
            lane.emit(self.id, Event::Left(id));
        }
        let (done, retired) = (connection.is_done(), connection.take_retired());
        if is {
            retired.into_iter().for_each(|segment| self.acknowledged(state, id, Some(segment)));
        } else {
            self.acknowledged(state, id, None);
        }
        match result {
            Ok(()) if done => self.remove(state, id),
            Ok(()) => self.waiting.end(),
            Err(error) => {
                if !matches!(error, PlaneError::Transport(TransportError::Closed)) {
                    tracing::warn!(topic = self.topic, %error, "a subscriber was dropped");
                }
                self.remove(state, id);
            }
        }
        self.drained(state);
    }
}

/// The publisher as the lane's reactor sees it.
impl Source for Publisher {
    fn ready(&self, token: u64, _readiness: Readiness) {
        let Some(this) = self.lane.upgrade().and_then(|lane| lane.publisher(self.id)) else { return };
        let mut state = this.state.lock();
        if token == LISTENER { this.accept(&mut state) } else { this.connection_ready(&mut state, token) }
    }
}
