//! How a publisher ends: well, with an error, or without waiting for anybody.

use std::sync::Arc;

use super::{Publisher, State, connection::Connection};
use crate::Event;

impl Publisher {
    /// As [`close`](Self::close), but every stream that has not ended ends with an error: nobody takes it for complete.
    /// Subscribers that cannot be told see a publisher that went away.
    pub fn fail(self: &Arc<Self>, code: &str, message: &str) {
        let mut state = self.state.lock();
        // Whoever has knocked already is let in, to learn of it: a subscriber that was never greeted would wait for the
        // next publisher.
        self.accept(&mut state);
        self.close_with(&mut state, Some((code, message)));
    }

    /// Closes without handing over what is still queued: those that have not read it see a publisher that went away.
    /// [`Event::Closed`] follows at once. Nothing happens to a publisher that is closed already.
    pub fn give_up(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.closing = true;
        self.stop_listening(&mut state);
        self.let_go(&mut state);
    }

    pub(super) fn close_with(self: &Arc<Self>, state: &mut State, failure: Option<(&str, &str)>) {
        state.closing = true;
        self.stop_listening(state);
        self.hand_over(state, None);
        let ids: Vec<_> = state.connections.keys().copied().collect();
        // All of them first: when one is flushed, those that nothing is owed to are let go.
        for connection in state.connections.values_mut() {
            connection.finish(failure);
        }
        for id in ids {
            self.flush_connection(state, id);
        }
        self.drained(state);
    }

    /// After close: done when nothing is queued any more, and nobody reads what is somebody else's: with the connection
    /// the lease over it would end, and its owner write there.
    pub(super) fn drained(&self, state: &mut State) {
        if state.closing && !state.connections.values().any(|c| c.is_owed() || c.holds_relayed()) {
            self.let_go(state);
        }
    }

    /// The last step of closing: every connection ends, whatever is queued for it.
    pub(super) fn let_go(&self, state: &mut State) {
        if state.closed {
            return;
        }
        state.closed = true;
        if let Some(lane) = self.lane.upgrade() {
            // What is somebody else's stays lent until nobody reads it: its owner would write there.
            state.connections.retain(|_, connection| {
                let stays = connection.holds_relayed() && connection.outlives(&lane);
                if !stays {
                    connection.forget(&lane);
                }
                stays
            });
            state.clock.take().inspect(|clock| clock.forget(&lane));
            state.retiring.clear();
            lane.announce(self.id, Event::Closed);
            lane.remove(self.id);
        }
    }
}

impl Drop for Publisher {
    /// Of a closed one, the environment whose loop waited for those who read what is somebody else's has ended.
    fn drop(&mut self) {
        self.state.get_mut().connections.values().for_each(Connection::abandon);
    }
}
