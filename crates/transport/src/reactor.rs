//! Many descriptors under one.

use std::{
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use crate::TransportError;

/// What a source waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read.
    Read,
    /// Something to read, or room to write.
    ReadWrite,
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

/// An epoll set whose own descriptor can be watched by any event loop.
///
/// All methods may be called from any thread; [`turn`](Reactor::turn) is called by the thread that owns the loop.
pub struct Reactor {
    epoll: OwnedFd,
    /// By key: whom to call, and with which token.
    sources: Mutex<HashMap<u64, Watched>>,
    next: AtomicU64,
}

impl Reactor {
    /// A reactor with nothing in it.
    pub fn new() -> Result<Self, TransportError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| TransportError::io("epoll_create", e))?;
        Ok(Self { epoll, sources: Mutex::default(), next: AtomicU64::new(1) })
    }

    /// Polls readable when [`turn`](Self::turn) has something to do.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
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
        let added = epoll::add(&self.epoll, descriptor, epoll::EventData::new_u64(key), flags(interest));
        if let Err(error) = added {
            self.sources.lock().remove(&key);
            return Err(TransportError::io("epoll_ctl", error));
        }
        Ok(key)
    }

    /// Changes what a watched descriptor waits for.
    pub fn change(&self, key: u64, descriptor: BorrowedFd<'_>, interest: Interest) -> Result<(), TransportError> {
        epoll::modify(&self.epoll, descriptor, epoll::EventData::new_u64(key), flags(interest))
            .map_err(|e| TransportError::io("epoll_ctl", e))
    }

    /// Stops watching. No call of the source starts after this returns on the thread that turns the reactor.
    pub fn forget(&self, key: u64, descriptor: BorrowedFd<'_>) {
        let removed = self.sources.lock().remove(&key);
        // The descriptor may have been taken out by the system already; nothing depends on the answer.
        let _ = epoll::delete(&self.epoll, descriptor);
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
        let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
        let wait = wait.map(|w| Timespec { tv_sec: w.as_secs() as _, tv_nsec: w.subsec_nanos() as _ });
        match epoll::wait(&self.epoll, spare_capacity(&mut events), wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(TransportError::io("epoll_wait", error)),
        }
        let mut called = 0;
        for event in &events {
            // A source that an earlier call of this turn removed is not called any more.
            let found = self.sources.lock().get(&event.data.u64()).map(|(s, t)| (Arc::clone(s), *t));
            let Some((source, token)) = found else { continue };
            let flags = event.flags;
            let ended = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR | epoll::EventFlags::RDHUP);
            source.ready(
                token,
                Readiness {
                    readable: ended || flags.contains(epoll::EventFlags::IN),
                    writable: flags.contains(epoll::EventFlags::OUT),
                },
            );
            called += 1;
        }
        Ok(called)
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    match interest {
        Interest::Read => epoll::EventFlags::IN,
        Interest::ReadWrite => epoll::EventFlags::IN | epoll::EventFlags::OUT,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, time::Duration};

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

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
        let event = eventfd(0, EventfdFlags::NONBLOCK).expect("eventfd");
        let counter = Arc::new(Counter(AtomicUsize::new(0)));
        let key = reactor.watch(event.as_fd(), Interest::Read, counter.clone(), 7).expect("watch");
        assert_eq!(reactor.turn(Some(Duration::ZERO)).expect("turn"), 0);
        rustix::io::write(&event, &1u64.to_ne_bytes()).expect("write");
        assert_eq!(reactor.turn(None).expect("turn"), 1);
        reactor.forget(key, event.as_fd());
        assert_eq!(reactor.turn(Some(Duration::ZERO)).expect("turn"), 0);
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
        assert_eq!(Arc::strong_count(&counter), 1, "the reactor keeps nothing");
    }
}
