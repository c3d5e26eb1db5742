//! One event loop's publishers and subscriptions.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::ThreadId,
    time::Duration,
};

use arrowlane_transport::{Interest, Reactor, Readiness, Source, system};
use parking_lot::Mutex;
use rustix::fd::{AsFd, BorrowedFd};

use crate::{
    Batch, ConnectionId, PlaneError, Publisher, Subscription,
    link::Link,
    retries::{Pause, Retries},
};

/// What happened to a publisher or subscription.
pub enum Event {
    /// A subscription received a batch.
    Batch(Arc<Batch>),
    /// A subscription is connected.
    Connected,
    /// A subscription's publisher went away; it waits for the next one.
    Lost,
    /// A subscription that had lost its publisher is connected to the next one.
    Reconnected,
    /// So many batches, all together, were not sent to this subscription before what follows.
    Dropped(u64),
    /// A subscription's stream ended; nothing follows.
    Ended,
    /// A subscription failed; nothing follows.
    Failed(PlaneError),
    /// A subscription should try to connect again in a moment ([`Subscription::connect`]).
    Retry,
    /// A publisher that had no room (or no subscriber) may have some now.
    Room,
    /// A subscriber of this publisher joined.
    Joined(ConnectionId),
    /// A subscriber of this publisher left.
    Left(ConnectionId),
    /// A subscriber of this publisher was given up; it takes part no more, and may hold leases still.
    Evicted(ConnectionId),
    /// A publisher that was closed has handed everything over.
    Closed,
    /// A [`Pulse`](crate::Pulse) received a number.
    Pulse(f64),
}

/// Gathers the descriptors of one event loop. Made on the thread that runs the loop; [`turn`](Self::turn) and
/// [`idle`](Self::idle) are called on that thread only.
pub struct Lane {
    reactor: Reactor,
    thread: ThreadId,
    alive: AtomicBool,
    /// Set while [`turn`](Self::turn) runs: what is emitted then is seen without a wake-up.
    turning: AtomicBool,
    alarm: Arc<Alarm>,
    retries: Retries,
    events: Mutex<Vec<(u32, Event)>>,
    dirty: Mutex<Dirty>,
    turns: AtomicU64,
    members: Mutex<Members>,
    jobs: Mutex<Vec<Job>>,
}

/// Something to be done on a lane's thread.
type Job = Box<dyn FnOnce() + Send>;

/// Wakes the loop when something happened outside of a turn, perhaps on another thread.
struct Alarm {
    bell: system::Alarm,
    /// It was rung, and the turn that this leads to has not begun to look: once is enough.
    rung: AtomicBool,
}

impl Alarm {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
    }
}

impl Source for Alarm {
    fn ready(&self, _token: u64, _readiness: Readiness) {
        // What it was rung for is among the events; the count says nothing. In this order: who rings between the two has said
        // what for already, and this turn looks for it after both.
        self.bell.quiet();
        self.rung.store(false, Ordering::Release);
    }
}

#[derive(Default)]
struct Dirty {
    links: Vec<Arc<Link>>,
    publishers: Vec<Arc<Publisher>>,
}

#[derive(Default)]
struct Members {
    publishers: HashMap<u32, Arc<Publisher>>,
    subscriptions: HashMap<u32, Arc<Subscription>>,
}

impl Lane {
    /// A lane for the calling thread's event loop.
    pub fn new() -> Result<Arc<Self>, PlaneError> {
        let reactor = Reactor::new()?;
        let alarm = Arc::new(Alarm { bell: system::Alarm::new()?, rung: AtomicBool::new(false) });
        reactor.watch(alarm.bell.as_fd(), Interest::Read, alarm.clone(), 0)?;
        let lane = Arc::new(Self {
            reactor,
            thread: std::thread::current().id(),
            alive: AtomicBool::new(true),
            turning: AtomicBool::new(false),
            alarm,
            retries: Retries::new()?,
            events: Mutex::default(),
            dirty: Mutex::default(),
            turns: AtomicU64::new(1),
            members: Mutex::default(),
            jobs: Mutex::default(),
        });
        let pause = Arc::new(Pause(Arc::downgrade(&lane)));
        lane.reactor.watch(lane.retries.descriptor(), Interest::Read, pause, 0)?;
        Ok(lane)
    }

    /// Polls readable when [`turn`](Self::turn) has something to do.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.reactor.descriptor()
    }

    /// For a thread that waits until [`turn`](Self::turn), on this lane's, has something to do.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn waiter(&self) -> Result<system::Waiter, PlaneError> {
        Ok(self.reactor.waiter()?)
    }

    /// Handles everything that is ready and appends what happened to `events`, in order, with the id of the publisher
    /// or subscription. Waits up to `wait` for the first; an event loop passes zero.
    pub fn turn(&self, wait: Option<Duration>, events: &mut Vec<(u32, Event)>) -> Result<(), PlaneError> {
        // What is already there must not wait.
        let wait = if self.events.lock().is_empty() { wait } else { Some(Duration::ZERO) };
        self.turning.store(true, Ordering::Release);
        let turned = self.reactor.turn(wait);
        self.turning.store(false, Ordering::Release);
        let jobs = std::mem::take(&mut *self.jobs.lock());
        jobs.into_iter().for_each(|job| job());
        turned?;
        events.append(&mut self.events.lock());
        Ok(())
    }

    /// Sends what was gathered: called before the loop goes to sleep.
    pub fn idle(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        let dirty = std::mem::take(&mut *self.dirty.lock());
        for publisher in dirty.publishers {
            publisher.flush();
        }
        for link in dirty.links {
            link.flush();
        }
    }

    /// Whether events wait that [`turn`](Self::turn) would return at once though no descriptor is readable.
    pub fn has_events(&self) -> bool {
        !self.events.lock().is_empty()
    }

    /// Makes the descriptor readable, so that [`turn`](Self::turn) is called again soon.
    pub fn rouse(&self) {
        self.alarm.ring();
    }

    /// Once a second, on lanes that are read by a thread of their own: everybody shows that they live. Whether there is
    /// anybody to show it to.
    pub(crate) fn beat(self: &Arc<Self>) -> bool {
        let (publishers, subscriptions): (Vec<_>, Vec<_>) = {
            let members = self.members.lock();
            (members.publishers.values().cloned().collect(), members.subscriptions.values().cloned().collect())
        };
        let connected = publishers.iter().filter(|publisher| publisher.has_connections());
        let any = connected.inspect(|publisher| publisher.beat(true)).count() > 0 || !subscriptions.is_empty();
        subscriptions.iter().for_each(|subscription| subscription.beat(self));
        any
    }

    /// Has something done on this lane's thread, in its next turn. From any thread.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.jobs.lock().push(Box::new(job));
        self.rouse();
    }

    /// Closes everything, as when the event loop's environment ends. Leases that are still held (exported arrays) stay
    /// valid and return when they end.
    pub fn shut_down(&self) {
        self.idle();
        self.alive.store(false, Ordering::Release);
        let members = std::mem::take(&mut *self.members.lock());
        for subscription in members.subscriptions.into_values() {
            subscription.close();
        }
        for publisher in members.publishers.into_values() {
            publisher.abandon();
        }
        let events = std::mem::take(&mut *self.events.lock());
        drop(events);
        let dirty = std::mem::take(&mut *self.dirty.lock());
        for link in dirty.links {
            link.flush();
        }
    }

    pub(crate) fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    pub(crate) fn retries(&self) -> &Retries {
        &self.retries
    }

    /// An id that no other publisher or subscription of this process has: what happens on one lane may be told to another.
    pub(crate) fn next_id() -> u32 {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn turn_number(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(crate) fn emit(&self, id: u32, event: Event) {
        self.events.lock().push((id, event));
    }

    /// As [`emit`](Self::emit), from anywhere and at any time: wakes the loop where it would not look by itself.
    pub(crate) fn announce(&self, id: u32, event: Event) {
        self.emit(id, event);
        if !(self.is_here() && self.turning.load(Ordering::Acquire)) {
            self.rouse();
        }
    }

    /// Whether the caller is on this lane's thread and will come past [`idle`](Self::idle).
    pub(crate) fn is_here(&self) -> bool {
        self.alive.load(Ordering::Acquire) && std::thread::current().id() == self.thread
    }

    pub(crate) fn flush_later(&self, link: &Arc<Link>) {
        self.dirty.lock().links.push(Arc::clone(link));
    }

    pub(crate) fn flush_publisher_later(&self, publisher: &Arc<Publisher>) {
        self.dirty.lock().publishers.push(Arc::clone(publisher));
    }

    pub(crate) fn publisher(&self, id: u32) -> Option<Arc<Publisher>> {
        self.members.lock().publishers.get(&id).cloned()
    }

    pub(crate) fn subscription(&self, id: u32) -> Option<Arc<Subscription>> {
        self.members.lock().subscriptions.get(&id).cloned()
    }

    pub(crate) fn add_publisher(&self, id: u32, publisher: &Arc<Publisher>) {
        self.members.lock().publishers.insert(id, Arc::clone(publisher));
    }

    pub(crate) fn add_subscription(&self, id: u32, subscription: &Arc<Subscription>) {
        self.members.lock().subscriptions.insert(id, Arc::clone(subscription));
    }

    pub(crate) fn remove(&self, id: u32) {
        let mut members = self.members.lock();
        let removed = (members.publishers.remove(&id), members.subscriptions.remove(&id));
        drop(members);
        drop(removed);
    }
}
