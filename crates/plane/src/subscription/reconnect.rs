//! Going over to the next publisher of a topic.

use std::sync::Arc;

use super::{State, Subscription};
use crate::{Event, Lane, link::Link};

impl Subscription {
    /// The publisher went away without ending its stream. Batches that are held stay valid; those that were delivered and
    /// not taken too, and nobody is told when they are.
    pub(super) fn lost(&self, mut state: parking_lot::MutexGuard<'_, State>, link: &Arc<Link>, lane: &Arc<Lane>) {
        state.link = None;
        state.schema = None;
        state.lost = true;
        let delivered = std::mem::take(&mut state.delivered);
        state.stale += delivered.count();
        let dictionaries = std::mem::take(&mut state.dictionaries);
        drop(state);
        drop(dictionaries);
        self.figures.lost();
        link.hang_up(&mut link.wire.lock());
        self.emit(lane, Event::Lost);
        let Some(this) = lane.subscription(self.id) else { return };
        if let Err(error) = this.connect() {
            lane.emit(self.id, Event::Failed(error));
            lane.remove(self.id);
        }
    }
}
