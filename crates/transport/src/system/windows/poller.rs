//! Sets of descriptors, alarms and timers, and those who wait for them.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use rustix::{
    fd::{AsRawFd, AsSocket, BorrowedFd},
    io::Errno,
};

use super::node::{Bell, Node};
use crate::{Interest, Readiness, TransportError};

/// How often it is looked whether a socket appeared in a folder.
const LOOK: Duration = Duration::from_millis(50);

/// A descriptor that any thread can make readable.
pub struct Alarm(Bell);

impl Alarm {
    /// One that is not rung.
    pub fn new() -> Result<Self, TransportError> {
        Bell::new().map(Self)
    }

    /// Makes it readable.
    pub fn ring(&self) {
        self.0.ring();
    }

    /// Makes it unreadable, however often it rang.
    pub fn quiet(&self) {
        self.0.quiet();
    }
}

impl AsSocket for Alarm {
    fn as_socket(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }
}

/// Many descriptors under one.
pub(crate) struct Poller(Arc<Node>);

impl Poller {
    pub(crate) fn new() -> Result<Self, TransportError> {
        Node::new().map(Self)
    }

    /// Stands for the set wherever descriptors are watched or waited for here; it is nothing to the system itself.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }

    pub(crate) fn add(&self, descriptor: BorrowedFd<'_>, key: u64, interest: Interest) -> Result<(), TransportError> {
        self.0.change(|state| state.watch(key, descriptor.as_raw_fd(), interest));
        Ok(())
    }

    pub(crate) fn change(
        &self,
        descriptor: BorrowedFd<'_>,
        key: u64,
        interest: Interest,
    ) -> Result<(), TransportError> {
        self.add(descriptor, key, interest)
    }

    /// To be called before the descriptor is closed.
    pub(crate) fn delete(&self, descriptor: BorrowedFd<'_>) {
        let socket = descriptor.as_raw_fd();
        self.0.change(|state| state.forget(|_, found| found == socket));
    }

    /// Tells of every descriptor that is ready, by its key. Waits for the first for `wait`; `None`: for ever.
    pub(crate) fn wait(&self, wait: Option<Duration>, ready: impl FnMut(u64, Readiness)) -> Result<(), TransportError> {
        self.0.wait(wait, ready)
    }
}

/// A descriptor that becomes readable after a time, by a clock that nobody sets; for who waits in this process.
pub struct Timer(Arc<Node>);

impl Timer {
    /// One that does not run.
    pub fn new() -> Result<Self, TransportError> {
        Node::new().map(Self)
    }

    /// Goes off once, after `pause`.
    pub fn once(&self, pause: Duration) -> Result<(), TransportError> {
        self.set(Some(pause), None)
    }

    /// Goes off every `period`; zero stops it.
    pub fn every(&self, period: Duration) -> Result<(), TransportError> {
        let period = Some(period).filter(|period| !period.is_zero());
        self.set(period, period)
    }

    fn set(&self, first: Option<Duration>, period: Option<Duration>) -> Result<(), TransportError> {
        let due = first.and_then(|first| Instant::now().checked_add(first));
        self.0.change(|state| (state.due, state.period) = (due, period));
        Ok(())
    }

    /// Makes it unreadable, however often it went off.
    pub fn quiet(&self) {
        let now = Instant::now();
        self.0.change(|state| {
            if state.due.is_some_and(|due| due <= now) {
                state.due = state.period.and_then(|period| now.checked_add(period));
            }
        });
    }
}

impl AsSocket for Timer {
    fn as_socket(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }
}

/// Polls readable every so often: something may have changed in a folder.
pub(crate) struct FolderMonitor(Timer);

impl FolderMonitor {
    pub(crate) fn new() -> Result<Self, TransportError> {
        let timer = Timer::new()?;
        timer.every(LOOK)?;
        Ok(Self(timer))
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_socket()
    }

    /// Takes notice of what happened so far.
    pub(crate) fn quiet(&self) {
        self.0.quiet();
    }
}

/// Waits until a descriptor polls readable; `None`: for ever. Whether it does.
pub fn wait_readable(descriptor: BorrowedFd<'_>, wait: Option<Duration>) -> bool {
    let mut readable = false;
    let waited = Poller::new().and_then(|poller| {
        poller.add(descriptor, 0, Interest::Read)?;
        poller.wait(wait, |_, _| readable = true)
    });
    waited.is_ok() && readable
}

/// For a thread that waits for what another one handles.
pub struct Waiter(Weak<Node>);

impl Waiter {
    /// Waits for what the descriptor of a [`Reactor`](crate::Reactor) tells of.
    pub(crate) fn new(descriptor: BorrowedFd<'_>) -> Result<Self, TransportError> {
        let node = Node::of(descriptor.as_raw_fd());
        node.map(Self).ok_or_else(|| TransportError::io("waiting", Errno::NOTSOCK))
    }

    /// Waits for so long. Whether there is something to do.
    pub fn wait(&self, wait: Duration) -> bool {
        let mut found = false;
        let Some(node) = self.0.upgrade() else {
            std::thread::sleep(wait); // it is gone, and its owner is about to say so
            return false;
        };
        node.wait(Some(wait), |_, _| found = true).is_ok() && found
    }
}

#[cfg(test)]
mod tests;
