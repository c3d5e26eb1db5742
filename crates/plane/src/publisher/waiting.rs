//! Senders that wait for room.

use std::sync::{
    Weak,
    atomic::{AtomicBool, Ordering},
};

use crate::{Event, Lane};

/// Whether somebody waits, and whom to tell when it may be worth trying again. Only then is [`Event::Room`] emitted.
pub(super) struct Waiting {
    pub(super) publisher: u32,
    pub(super) lane: Weak<Lane>,
    pub(super) flag: AtomicBool,
}

impl Waiting {
    /// Somebody waits from now on.
    pub(super) fn begin(&self) {
        self.flag.store(true, Ordering::SeqCst);
    }

    /// Something came back, on whatever thread. Takes no lock of the publisher's.
    pub(super) fn end(&self) {
        if self.flag.load(Ordering::SeqCst)
            && self.flag.swap(false, Ordering::SeqCst)
            && let Some(lane) = self.lane.upgrade()
        {
            lane.announce(self.publisher, Event::Room);
        }
    }
}
