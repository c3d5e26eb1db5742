//! What the lane's reactor brings a publisher: subscribers that come, speak and go.

use std::sync::Arc;

use arrowlane_transport::{Endpoint, Readiness, Source, TransportError};

use super::{ConnectionId, Publisher, State, clock::CLOCK, connection::Connection, policy::NOT_PERMITTED, talk::Talk};
use crate::{Event, Lane, PlaneError, ticket::Ticket};

/// Token of the listener among a publisher's sources; connections count from 1.
pub(super) const LISTENER: u64 = 0;
/// So many subscribers, at most.
const MAX_CONNECTIONS: usize = 1024;

impl Publisher {
    pub(super) fn accept(self: &Arc<Self>, state: &mut State) {
        let Some(lane) = self.lane.upgrade() else { return };
        while let Some(mut endpoint) = state.door.as_mut().and_then(|door| door.accept(&self.topic)) {
            endpoint.greet(&self.uri);
            if let Some(id) = self.let_in(state, &lane, endpoint, Talk::new(&self.topic)) {
                self.flush_connection(state, id);
            }
        }
    }

    pub(super) fn let_in(
        self: &Arc<Self>,
        state: &mut State,
        lane: &Lane,
        endpoint: Box<dyn Endpoint>,
        talk: Talk,
    ) -> Option<ConnectionId> {
        if state.connections.len() >= MAX_CONNECTIONS && !self.turn_out(state) {
            tracing::warn!(topic = self.topic, "more than {MAX_CONNECTIONS} subscribers: one was turned away");
            return None;
        }
        state.last += 1;
        let id = state.last;
        let source: Arc<dyn Source> = self.clone();
        self.wind(state);
        match Connection::new(endpoint, lane, source, id, &self.lending, talk) {
            Ok(connection) => {
                state.connections.insert(id, connection);
                Some(id)
            }
            Err(error) => {
                tracing::warn!(topic = self.topic, %error, "a connection was not accepted");
                None
            }
        }
    }

    /// Drops the oldest connection that never said what it wants, if there is one.
    fn turn_out(&self, state: &mut State) -> bool {
        let silent = state.connections.iter().find(|(_, c)| c.is_silent()).map(|(id, _)| *id);
        silent.is_some_and(|id| {
            self.remove(state, id);
            true
        })
    }

    pub(super) fn connection_ready(self: &Arc<Self>, state: &mut State, id: ConnectionId) {
        let (Some(lane), Some(connection)) = (self.lane.upgrade(), state.connections.get_mut(&id)) else { return };
        let was = connection.takes_part() && connection.is_announced();
        let result = connection.receive();
        if let Some(asked) = connection.asked() {
            self.asked(state, id, asked);
        }
        let result = result
            .and_then(|()| self.catch_up(state, id))
            .and_then(|()| state.connections.get_mut(&id).map_or(Ok(false), |connection| connection.flush(&lane)))
            .and_then(|pause| self.pause(&lane, pause));
        let Some(connection) = state.connections.get_mut(&id) else { return };
        let is = connection.takes_part();
        connection.ask(state.asking);
        if !was && is {
            connection.announce();
            lane.emit(self.id, Event::Joined(id));
        }
        if was && !is && connection.leave() {
            // It wants no more; the connection stays for the leases that it holds.
            lane.emit(self.id, Event::Left(id));
            self.recount(state);
        }
        let Some(connection) = state.connections.get_mut(&id) else { return };
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

impl Publisher {
    /// What a subscriber said first.
    fn asked(self: &Arc<Self>, state: &mut State, id: ConnectionId, asked: Ticket) {
        let Some(connection) = state.connections.get_mut(&id) else { return };
        let request = match asked {
            Ticket::Statistics => return self.answer(state, id),
            Ticket::Batches { request, keeps } => {
                if keeps {
                    connection.keep();
                }
                request
            }
        };
        match self.options.permits.grant(&self.options.policy(), &request.unwrap_or_default()) {
            Ok(policy) => {
                connection.welcome(policy, request.is_some());
                self.recount(state);
                self.begin_with_latest(state, id);
            }
            Err(refusal) => connection.finish(Some((NOT_PERMITTED, &refusal.0))),
        }
    }
}

/// The publisher as the lane's reactor sees it.
impl Source for Publisher {
    fn ready(&self, token: u64, _readiness: Readiness) {
        let Some(this) = self.lane.upgrade().and_then(|lane| lane.publisher(self.id)) else {
            // Closed, and here for those alone who read what is somebody else's.
            return self.remove(&mut self.state.lock(), token);
        };
        let mut state = this.state.lock();
        match token {
            LISTENER => this.accept(&mut state),
            CLOCK => this.tick(&mut state),
            connection => this.connection_ready(&mut state, connection),
        }
    }
}
