//! Nodes: what can be waited for and is no socket by itself.
//!
//! The system knows sockets, and no sets of them that could be in other sets. So a *node* (a set, or a timer) is known by a
//! socket of its own, its *bell*, and by a list of all nodes: whoever waits for a set and finds a node in it looks at what that
//! one has instead. A bell rings when what somebody waits for is no longer what is to be waited for.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, UdpSocket},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsRawFd, AsSocket, BorrowedFd, RawFd},
    io::Errno,
};

use crate::{Interest, Readiness, TransportError};

/// Longest wait that the system is asked for at once.
const LONG: Duration = Duration::from_secs(3600);

/// All nodes, by their bells.
static NODES: Mutex<BTreeMap<RawFd, Weak<Node>>> = Mutex::new(BTreeMap::new());

/// A socket that is connected with itself: what is sent to it makes it readable. Nobody else can send to it.
pub(super) struct Bell(UdpSocket);

impl Bell {
    pub(super) fn new() -> Result<Self, TransportError> {
        let made = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(socket.local_addr()?)?;
            socket.set_nonblocking(true)?;
            Ok(Self(socket))
        };
        made().map_err(|e: io::Error| TransportError::io("making an alarm", e))
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_socket()
    }

    pub(super) fn ring(&self) {
        // Where there is no room, it is readable already.
        let _ = self.0.send(&[1]);
    }

    pub(super) fn quiet(&self) {
        while self.0.recv(&mut [0; 8]).is_ok() {}
    }
}

/// A set, or a timer.
pub(super) struct Node {
    bell: Bell,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    watched: Vec<Watched>,
    /// How many were ever watched.
    count: u64,
    /// A timer's: when it goes off, and how often from then on.
    pub(super) due: Option<Instant>,
    pub(super) period: Option<Duration>,
    /// Somebody sleeps for what is here, and has to be woken when it changes.
    waited_for: bool,
}

struct Watched {
    key: u64,
    socket: RawFd,
    interest: Interest,
    /// The node that the socket is the bell of, if it is one's.
    node: Option<Weak<Node>>,
    /// A number that no other has: those of sockets are used again.
    serial: u64,
}

impl State {
    /// Watches a socket. Its key is no other's: whatever had it before is gone.
    pub(super) fn watch(&mut self, key: u64, socket: RawFd, interest: Interest) {
        self.forget(|watched, found| watched == key || found == socket);
        let node = Node::of(socket);
        self.count += 1;
        self.watched.push(Watched { key, socket, interest, node, serial: self.count });
    }

    /// Takes out what is found by key and socket.
    pub(super) fn forget(&mut self, found: impl Fn(u64, RawFd) -> bool) {
        self.watched.retain(|watched| !found(watched.key, watched.socket));
    }
}

impl Node {
    pub(super) fn new() -> Result<Arc<Self>, TransportError> {
        let node = Arc::new(Self { bell: Bell::new()?, state: Mutex::default() });
        NODES.lock().insert(node.bell.descriptor().as_raw_fd(), Arc::downgrade(&node));
        Ok(node)
    }

    /// The node that a socket is the bell of, if it is one's.
    pub(super) fn of(socket: RawFd) -> Option<Weak<Self>> {
        NODES.lock().get(&socket).cloned()
    }

    /// What it is known by.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.bell.descriptor()
    }

    /// Changes what is here, and wakes whoever sleeps for it.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let ring = state.waited_for;
        drop(state);
        if ring {
            self.bell.ring();
        }
    }

    /// Tells of every key that is ready, once. Waits for the first for `wait`; `None`: for ever. Only one thread sleeps for a node
    /// at a time; others may look meanwhile.
    pub(super) fn wait(
        self: &Arc<Self>,
        wait: Option<Duration>,
        mut ready: impl FnMut(u64, Readiness),
    ) -> Result<(), TransportError> {
        // Too long to be told: for ever.
        let until = wait.and_then(|wait| Instant::now().checked_add(wait));
        let sleeps = wait != Some(Duration::ZERO);
        loop {
            let mut round = Round::new(sleeps);
            round.gather(self, None);
            let found = round.poll(until).map_err(|e| TransportError::io("WSAPoll", e))?;
            let over = until.is_some_and(|until| Instant::now() >= until);
            if !found.is_empty() || over {
                found.into_iter().for_each(|(key, readiness)| ready(key, readiness));
                return Ok(());
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Before the bell is closed: its number may be another socket's then.
        NODES.lock().remove(&self.bell.descriptor().as_raw_fd());
    }
}

/// One look at a node and all that are in it.
struct Round {
    sleeps: bool,
    now: Instant,
    nodes: Vec<Arc<Node>>,
    asked: Vec<Asked>,
    ready: BTreeMap<u64, Readiness>,
    /// When the next timer goes off.
    next: Option<Instant>,
}

/// A socket, and what it is asked for.
struct Asked {
    socket: RawFd,
    flags: PollFlags,
    /// The node that it is in.
    node: usize,
    /// Key and serial; none for a bell.
    known: Option<(u64, u64)>,
}

impl Round {
    fn new(sleeps: bool) -> Self {
        let (nodes, asked) = (Vec::new(), Vec::new());
        Self { sleeps, now: Instant::now(), nodes, asked, ready: BTreeMap::new(), next: None }
    }

    /// Takes in what a node has, under its own keys, or under the one that it is known by itself.
    fn gather(&mut self, node: &Arc<Node>, known_by: Option<u64>) {
        let at = self.nodes.len();
        self.nodes.push(Arc::clone(node));
        let mut state = node.state.lock();
        if self.sleeps {
            state.waited_for = true;
            let socket = node.bell.descriptor().as_raw_fd();
            self.asked.push(Asked { socket, flags: PollFlags::IN, node: at, known: None });
        }
        if let (Some(due), Some(key)) = (state.due, known_by) {
            match due <= self.now {
                true => self.note(key, Readiness { readable: true, writable: false }),
                false => self.next = Some(self.next.map_or(due, |next| next.min(due))),
            }
        }
        for Watched { key, socket, interest, node, serial } in &state.watched {
            let key = known_by.unwrap_or(*key);
            match node {
                Some(node) => {
                    if let Some(node) = node.upgrade() {
                        self.gather(&node, Some(key));
                    }
                }
                None => {
                    let (flags, known) = (flags(*interest), Some((key, *serial)));
                    self.asked.push(Asked { socket: *socket, flags, node: at, known });
                }
            }
        }
    }

    fn note(&mut self, key: u64, also: Readiness) {
        let known = self.ready.entry(key).or_insert(Readiness { readable: false, writable: false });
        known.readable |= also.readable;
        known.writable |= also.writable;
    }

    /// Waits until something is ready, a timer goes off or it is time.
    fn poll(mut self, until: Option<Instant>) -> Result<BTreeMap<u64, Readiness>, Errno> {
        let until = [until, self.next].into_iter().flatten().min();
        let wait = match until {
            _ if !self.sleeps || !self.ready.is_empty() => Duration::ZERO,
            // Up to the next whole millisecond, so that it is time then.
            Some(until) => (until.saturating_duration_since(self.now) + Duration::from_micros(999)).min(LONG),
            None => LONG,
        };
        let revents = ask(&self.asked, wait);
        for node in self.nodes.iter().filter(|_| self.sleeps) {
            node.state.lock().waited_for = false;
        }
        let asked = std::mem::take(&mut self.asked);
        for (Asked { node, known, .. }, found) in asked.into_iter().zip(revents?) {
            let Some(node) = self.nodes.get(node).filter(|_| !found.is_empty()) else { continue };
            match known {
                None => node.bell.quiet(),
                // It was closed: the system would take it out.
                Some((_, serial)) if found.contains(PollFlags::NVAL) => {
                    node.state.lock().watched.retain(|watched| watched.serial != serial);
                }
                Some((key, _)) => {
                    let ended = found.intersects(PollFlags::HUP | PollFlags::ERR);
                    let (readable, writable) = (found.contains(PollFlags::RDNORM), found.contains(PollFlags::WRNORM));
                    self.note(key, Readiness { readable: readable || ended, writable });
                }
            }
        }
        Ok(self.ready)
    }
}

fn flags(interest: Interest) -> PollFlags {
    match interest {
        Interest::Read => PollFlags::IN,
        Interest::ReadWrite => PollFlags::IN | PollFlags::OUT,
        // Errors are always told of.
        Interest::End => PollFlags::empty(),
    }
}

/// What each of the sockets is ready for.
fn ask(asked: &[Asked], wait: Duration) -> Result<Vec<PollFlags>, Errno> {
    if asked.is_empty() {
        return Ok(Vec::new()); // the system takes no empty list
    }
    let polled = asked.iter().map(|Asked { socket, flags, .. }| {
        // SAFETY: bells are open as long as their nodes, which the round keeps. Whoever watches another socket takes it out
        // before closing it; one of another thread's that is closed nevertheless is told of as no socket, or as one that
        // is ready, after which its owner, who is asked by key, finds nothing.
        let socket = unsafe { BorrowedFd::borrow_raw(*socket) };
        PollFd::from_borrowed_fd(socket, *flags)
    });
    let mut polled: Vec<_> = polled.collect();
    let wait = Timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos() as _ };
    match poll(&mut polled, Some(&wait)) {
        Ok(_) | Err(Errno::INTR) => Ok(polled.iter().map(PollFd::revents).collect()),
        Err(error) => Err(error),
    }
}
