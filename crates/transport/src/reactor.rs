//! Many descriptors under one.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use rustix::fd::BorrowedFd;

use crate::{
    TransportError,
    system::{Poller, Waiter},
};

/// What a source waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read.
    Read,
    /// Something to read, or room to write.
    ReadWrite,
    /// That nobody has the other end any more, and nothing else.
    End,
}

/// What a descriptor is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// Reading gives bytes, an end or an error.
    pub readable: bool,
    /// Writing makes progress.
    pub writable: bool,
}

/// Something that waits for descriptors.
pub trait Source: Send + Sync {
    /// Called from [`Reactor::turn`], with the token given at registration. Must not block.
    fn ready(&self, token: u64, readiness: Readiness);
}

type Watched = (Arc<dyn Source>, u64);

/// Many descriptors (an epoll set, or a kqueue) whose own descriptor can be watched by any event loop; on Windows by other
/// reactors, and by a [`Waiter`].
///
/// All methods may be called from any thread; [`turn`](Reactor::turn) is called by the thread that owns the loop.
pub struct Reactor {
    poller: Poller,
    /// By key: whom to call, and with which token.
    sources: Mutex<HashMap<u64, Watched>>,
    next: AtomicU64,
}

impl Reactor {
    /// A reactor with nothing in it.
    pub fn new() -> Result<Self, TransportError> {
        Ok(Self { poller: Poller::new()?, sources: Mutex::default(), next: AtomicU64::new(1) })
    }

    /// Polls readable when [`turn`](Self::turn) has something to do.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.poller.descriptor()
    }

    /// For a thread that waits until [`turn`](Self::turn), on another one, has something to do.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn waiter(&self) -> Result<Waiter, TransportError> {
        Waiter::new(self.descriptor())
    }

    /// Watches a descriptor and returns the key to [`forget`](Self::forget) it by. The reactor keeps `source` alive
    /// until then.
    pub fn watch(
        &self,
        descriptor: BorrowedFd<'_>,
        interest: Interest,
        source: Arc<dyn Source>,
        token: u64,
    ) -> Result<u64, TransportError> {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        self.sources.lock().insert(key, (source, token));
        if let Err(error) = self.poller.add(descriptor, key, interest) {
            self.sources.lock().remove(&key);
            return Err(error);
        }
        Ok(key)
    }

    /// Changes what a watched descriptor waits for.
    pub fn change(&self, key: u64, descriptor: BorrowedFd<'_>, interest: Interest) -> Result<(), TransportError> {
        self.poller.change(descriptor, key, interest)
    }

    /// Watches another descriptor under the same key, for the same source and token, instead of `old`.
    ///
    /// # Errors
    /// When the system refuses; then neither is watched, and the key is still to be [forgotten](Self::forget).
    pub fn replace(
        &self,
        key: u64,
        old: BorrowedFd<'_>,
        new: BorrowedFd<'_>,
        interest: Interest,
    ) -> Result<(), TransportError> {
        self.poller.delete(old);
        self.poller.add(new, key, interest)
    }

    /// Stops watching. No call of the source starts after this returns on the thread that turns the reactor.
    pub fn forget(&self, key: u64, descriptor: BorrowedFd<'_>) {
        let removed = self.sources.lock().remove(&key);
        self.poller.delete(descriptor);
        drop(removed);
    }

    /// How many descriptors are watched.
    pub fn len(&self) -> usize {
        self.sources.lock().len()
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls every source that is ready, once. Waits for the first one for `wait` (zero: not at all; `None`: for ever)
    /// and returns how many were called.
    pub fn turn(&self, wait: Option<std::time::Duration>) -> Result<usize, TransportError> {
        let mut called = 0;
        self.poller.wait(wait, |key, readiness| {
            // A source that an earlier call of this turn removed is not called any more.
            let found = self.sources.lock().get(&key).map(|(s, t)| (Arc::clone(s), *t));
            if let Some((source, token)) = found {
                source.ready(token, readiness);
                called += 1;
            }
        })?;
        Ok(called)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, time::Duration};

    use rustix::fd::AsFd;

    use super::*;
    use crate::system::Alarm;

    struct Counter(AtomicUsize);
    impl Source for Counter {
        fn ready(&self, token: u64, readiness: Readiness) {
            assert_eq!((token, readiness.readable), (7, true));
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_source_is_called_while_its_descriptor_is_ready_and_not_after_it_was_forgotten() {
        let reactor = Reactor::new().expect("epoll");
        let event = Alarm::new().expect("alarm");
        let counter = Arc::new(Counter(AtomicUsize::new(0)));
        let key = reactor.watch(event.as_fd(), Interest::Read, counter.clone(), 7).expect("watch");
        assert_eq!(reactor.turn(Some(Duration::ZERO)).expect("turn"), 0);
        event.ring();
        assert_eq!(reactor.turn(None).expect("turn"), 1);
        reactor.forget(key, event.as_fd());
        assert_eq!(reactor.turn(Some(Duration::ZERO)).expect("turn"), 0);
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
        assert_eq!(Arc::strong_count(&counter), 1, "the reactor keeps nothing");
    }
}
