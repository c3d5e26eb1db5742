//! What subscribers noted as free, looked for when it is needed.
//!
//! A subscriber that gave its publisher a page for returns sends no message for them (`docs/wire.md`, "Returns"). So the
//! publisher looks there before it takes memory, sends or answers questions, and asks to be woken only while it waits.

use arrowlane_transport::TransportError;

use super::{Publisher, State};
use crate::PlaneError;

impl Publisher {
    /// Takes back everything that subscribers noted. Whether there was anything.
    pub(super) fn collect(&self, state: &mut State) -> bool {
        let mut any = false;
        let mut broken: Vec<(u64, PlaneError)> = Vec::new();
        for (id, connection) in &mut state.connections {
            match connection.collect() {
                Ok(found) => any |= found,
                Err(error) => broken.push((*id, error)),
            }
        }
        for (id, error) in broken {
            if !matches!(error, PlaneError::Transport(TransportError::Closed)) {
                tracing::warn!(topic = self.topic, %error, "a subscriber was dropped");
            }
            self.remove(state, id);
            any = true;
        }
        if any {
            self.waiting.end();
        }
        any
    }

    /// Somebody waits from now on: has every subscriber say when something goes back. `true` when something came back
    /// meanwhile, so that it is worth trying again.
    pub(super) fn ask(&self, state: &mut State) -> bool {
        self.waiting.begin();
        state.asking = true;
        state.connections.values_mut().for_each(|connection| connection.ask(true));
        self.collect(state)
    }

    /// Nobody waits any more.
    pub(super) fn ask_no_more(&self, state: &mut State) {
        if std::mem::take(&mut state.asking) {
            state.connections.values_mut().for_each(|connection| connection.ask(false));
        }
    }
}
