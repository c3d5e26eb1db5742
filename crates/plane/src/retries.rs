//! Trying again after a pause, where no descriptor says when it is worth it.

use std::{collections::BTreeSet, sync::Weak, time::Duration};

use arrowlane_transport::{Readiness, Source, TransportError, system::Timer};
use parking_lot::Mutex;
use rustix::fd::{AsFd, BorrowedFd};

use crate::Lane;

/// The first pause; each that follows without success is twice as long.
const FIRST: Duration = Duration::from_millis(5);
/// The longest.
const LAST: Duration = Duration::from_millis(320);

/// One timer for all publishers of a lane that have to pause.
pub(crate) struct Retries {
    timer: Timer,
    state: Mutex<State>,
}

struct State {
    waiting: BTreeSet<u32>,
    pause: Duration,
    armed: bool,
}

impl Retries {
    pub(crate) fn new() -> Result<Self, TransportError> {
        Ok(Self {
            timer: Timer::new()?,
            state: Mutex::new(State { waiting: BTreeSet::new(), pause: FIRST, armed: false }),
        })
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    /// Has a publisher flushed again after a pause.
    pub(crate) fn later(&self, publisher: u32) -> Result<(), TransportError> {
        let mut state = self.state.lock();
        state.waiting.insert(publisher);
        if state.armed {
            return Ok(());
        }
        self.timer.once(state.pause)?;
        state.armed = true;
        Ok(())
    }
}

/// The timer as a lane's reactor sees it.
pub(crate) struct Pause(pub(crate) Weak<Lane>);

impl Source for Pause {
    fn ready(&self, _token: u64, _readiness: Readiness) {
        let Some(lane) = self.0.upgrade() else { return };
        let retries = lane.retries();
        // How often it went off says nothing.
        retries.timer.quiet();
        let waiting = {
            let mut state = retries.state.lock();
            state.armed = false;
            state.pause = (state.pause * 2).min(LAST);
            std::mem::take(&mut state.waiting)
        };
        for publisher in waiting.into_iter().filter_map(|id| lane.publisher(id)) {
            publisher.flush();
        }
        let mut state = retries.state.lock();
        if state.waiting.is_empty() {
            state.pause = FIRST;
        }
    }
}
