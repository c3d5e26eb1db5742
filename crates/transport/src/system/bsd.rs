//! macOS and the BSDs: kqueue. Compiled, and not run by us yet.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    ptr,
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        kqueue::{Event, EventFilter, EventFlags, UserDefinedFlags, UserFlags, VnodeEvents, kevent_timespec, kqueue},
    },
    fs::Stat,
    io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept, socket_with, socketpair, sockopt},
    time::{ClockId, clock_gettime},
};

use crate::{Interest, Readiness, TransportError};

/// Longest path in a socket's address, in bytes.
pub(crate) const LONGEST_ADDRESS: usize = 103;
/// Longest name that is spelled out in a file name; longer ones are hashed. The folder's path counts against the address.
pub(crate) const MAX_SPELLED: usize = 64;
/// Where the folder of sockets is where nothing says so: the usual folder for temporary files has too long a path.
pub(crate) const DEFAULT_FOLDER: Option<&str> = Some("/tmp");
/// A peer that is gone is an error: the socket says that no signal is wanted.
pub(crate) const QUIETLY: SendFlags = SendFlags::DONTWAIT;
/// Descriptors that come are marked afterwards ([`keep_from_children`]).
pub(crate) const RECEIVING: RecvFlags = RecvFlags::DONTWAIT;

/// One kqueue.
struct Queue(OwnedFd);

impl Queue {
    fn new() -> Result<Self, TransportError> {
        let made = kqueue().and_then(|queue| fcntl_setfd(&queue, FdFlags::CLOEXEC).map(|()| queue));
        made.map(Self).map_err(|e| TransportError::io("kqueue", e))
    }

    /// Changes what is waited for.
    fn change(&self, filter: EventFilter, flags: EventFlags, key: u64) -> Result<(), Errno> {
        let event = Event::new(filter, flags, ptr::without_provenance_mut(key as usize));
        let mut none: Vec<Event> = Vec::new();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: descriptors in filters are those of callers, which borrow or own them for the call; one that is closed
        // later leaves the queue by itself. The pointer is a number that nobody follows.
        unsafe { kevent_timespec(&self.0, &[event], &mut none, Some(&now)) }.map(drop)
    }

    fn events(&self, wait: Option<Duration>) -> Result<Vec<Event>, Errno> {
        let mut events: Vec<Event> = Vec::with_capacity(64);
        let wait = wait.map(|w| Timespec { tv_sec: w.as_secs() as _, tv_nsec: w.subsec_nanos() as _ });
        // SAFETY: nothing is changed, so no descriptor is named.
        match unsafe { kevent_timespec(&self.0, &[], spare_capacity(&mut events), wait.as_ref()) } {
            Ok(_) | Err(Errno::INTR) => Ok(events),
            Err(error) => Err(error),
        }
    }

    /// Takes what happened: the queue polls readable when something happens again.
    fn quiet(&self) {
        let _ = self.events(Some(Duration::ZERO));
    }
}

/// Many descriptors under one.
pub(crate) struct Poller(Queue);

impl Poller {
    pub(crate) fn new() -> Result<Self, TransportError> {
        Queue::new().map(Self)
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }

    pub(crate) fn add(&self, descriptor: BorrowedFd<'_>, key: u64, interest: Interest) -> Result<(), TransportError> {
        let raw = descriptor.as_raw_fd();
        let added = self.0.change(EventFilter::Read(raw), EventFlags::ADD, key);
        added.and_then(|()| self.writing(raw, key, interest)).map_err(|e| TransportError::io("kevent", e))
    }

    pub(crate) fn change(
        &self,
        descriptor: BorrowedFd<'_>,
        key: u64,
        interest: Interest,
    ) -> Result<(), TransportError> {
        self.writing(descriptor.as_raw_fd(), key, interest).map_err(|e| TransportError::io("kevent", e))
    }

    fn writing(&self, raw: RawFd, key: u64, interest: Interest) -> Result<(), Errno> {
        match interest {
            Interest::ReadWrite => self.0.change(EventFilter::Write(raw), EventFlags::ADD, key),
            Interest::Read | Interest::End => match self.0.change(EventFilter::Write(raw), EventFlags::DELETE, key) {
                Err(Errno::NOENT) => Ok(()),
                other => other,
            },
        }
    }

    /// The descriptor may have been taken out by the system already; nothing depends on the answer.
    pub(crate) fn delete(&self, descriptor: BorrowedFd<'_>) {
        for filter in [EventFilter::Read(descriptor.as_raw_fd()), EventFilter::Write(descriptor.as_raw_fd())] {
            let _ = self.0.change(filter, EventFlags::DELETE, 0);
        }
    }

    /// Tells of every descriptor that is ready, by its key. Waits for the first for `wait`; `None`: for ever.
    pub(crate) fn wait(
        &self,
        wait: Option<Duration>,
        mut ready: impl FnMut(u64, Readiness),
    ) -> Result<(), TransportError> {
        for event in self.0.events(wait).map_err(|e| TransportError::io("kevent", e))? {
            let ended = event.flags().contains(EventFlags::EOF);
            let writable = matches!(event.filter(), EventFilter::Write(_));
            ready(event.udata().addr() as u64, Readiness { readable: !writable || ended, writable });
        }
        Ok(())
    }
}

/// A descriptor that any thread can make readable.
pub struct Alarm(Queue);

impl Alarm {
    /// One that is not rung.
    pub fn new() -> Result<Self, TransportError> {
        let alarm = Self(Queue::new()?);
        alarm
            .change(EventFlags::ADD | EventFlags::CLEAR, UserFlags::empty())
            .map_err(|e| TransportError::io("kevent", e))?;
        Ok(alarm)
    }

    fn change(&self, flags: EventFlags, user_flags: UserFlags) -> Result<(), Errno> {
        let filter = EventFilter::User { ident: 1, flags: user_flags, user_flags: UserDefinedFlags::new(0) };
        self.0.change(filter, flags, 0)
    }

    /// Makes it readable.
    pub fn ring(&self) {
        // Nothing is added, so nothing can be missing.
        let _ = self.change(EventFlags::empty(), UserFlags::TRIGGER);
    }

    /// Makes it unreadable, however often it rang.
    pub fn quiet(&self) {
        self.0.quiet();
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

/// A descriptor that becomes readable after a time, by a clock that nobody sets.
pub struct Timer(Queue);

impl Timer {
    /// One that does not run.
    pub fn new() -> Result<Self, TransportError> {
        Queue::new().map(Self)
    }

    /// Goes off once, after `pause`.
    pub fn once(&self, pause: Duration) -> Result<(), TransportError> {
        self.set(EventFlags::ADD | EventFlags::ONESHOT, pause)
    }

    /// Goes off every `period`; zero stops it.
    pub fn every(&self, period: Duration) -> Result<(), TransportError> {
        self.set(if period.is_zero() { EventFlags::DELETE } else { EventFlags::ADD }, period)
    }

    fn set(&self, flags: EventFlags, period: Duration) -> Result<(), TransportError> {
        let filter = EventFilter::Timer { ident: 1, timer: Some(period) };
        match self.0.change(filter, flags, 0) {
            Err(Errno::NOENT) | Ok(()) => Ok(()),
            Err(error) => Err(TransportError::io("kevent", error)),
        }
    }

    /// Makes it unreadable, however often it went off.
    pub fn quiet(&self) {
        self.0.quiet();
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

/// A descriptor that polls readable when something changed in the folder.
pub(crate) fn watch_folder(folder: BorrowedFd<'_>) -> Result<OwnedFd, TransportError> {
    let queue = Queue::new()?;
    let filter = EventFilter::Vnode { vnode: folder.as_raw_fd(), flags: VnodeEvents::WRITE };
    let added = queue.change(filter, EventFlags::ADD | EventFlags::CLEAR, 0);
    added.map_err(|e| TransportError::io("kevent", e))?;
    Ok(queue.0)
}

/// The path of a socket in a folder.
pub(crate) fn socket_path(_folder: BorrowedFd<'_>, path: &Path, file: &str) -> PathBuf {
    path.join(file)
}

/// A unix stream socket that does not block.
pub fn stream_socket() -> Result<OwnedFd, Errno> {
    made(socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?)
}

/// A stream socket of the internet that does not block.
pub(crate) fn internet_socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    made(socket_with(family, SocketType::STREAM, SocketFlags::empty(), None)?)
}

/// Two unix stream sockets, connected.
pub(crate) fn stream_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
    Ok((made(one)?, made(other)?))
}

/// What is lent over connections is kept by this; nothing is lent here.
pub(crate) fn liveness() -> Result<(OwnedFd, OwnedFd), Errno> {
    Err(Errno::NOTSUP)
}

/// Whether a descriptor that came from a peer is the end of a pipe: none of those that are expected is.
pub(crate) fn is_pipe(_descriptor: impl AsFd) -> bool {
    false
}

/// The next connection, as a socket that does not block.
pub fn accept_stream(listener: impl AsFd) -> Result<OwnedFd, Errno> {
    made(accept(listener)?)
}

/// A child that is started between the two calls inherits the socket: there is no way to do both at once here.
fn made(socket: OwnedFd) -> Result<OwnedFd, Errno> {
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    ioctl_fionbio(&socket, true)?;
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    sockopt::set_socket_nosigpipe(&socket, true)?;
    Ok(socket)
}

/// Marks a received descriptor.
pub(crate) fn keep_from_children(descriptor: &OwnedFd) {
    let _ = fcntl_setfd(descriptor, FdFlags::CLOEXEC); // no memory is shared here: it is about to be refused
}

/// User and process at the other end; no process where the system does not say.
pub(crate) fn peer_of(socket: impl AsFd) -> Result<(u32, Option<u32>), TransportError> {
    let raw = socket.as_fd().as_raw_fd();
    let (mut user, mut group) = (0, 0);
    // SAFETY: an open descriptor and two places to write to, all of which outlive the call.
    if unsafe { libc::getpeereid(raw, &mut user, &mut group) } != 0 {
        return Err(TransportError::io("getpeereid", std::io::Error::last_os_error()));
    }
    Ok((user, process_of(raw)))
}

#[cfg(target_vendor = "apple")]
fn process_of(socket: RawFd) -> Option<u32> {
    let (mut pid, mut length): (libc::pid_t, _) = (0, size_of::<libc::pid_t>() as libc::socklen_t);
    // SAFETY: an open descriptor, and a place of the length that is said, which outlives the call.
    let got =
        unsafe { libc::getsockopt(socket, libc::SOL_LOCAL, libc::LOCAL_PEERPID, (&raw mut pid).cast(), &mut length) };
    u32::try_from(pid).ok().filter(|pid| got == 0 && *pid > 0)
}

#[cfg(not(target_vendor = "apple"))]
fn process_of(_socket: RawFd) -> Option<u32> {
    None
}

/// Device and inode.
#[allow(clippy::unnecessary_cast, reason = "their types differ between these systems")]
pub fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// A clock that only runs forward.
pub fn coarse_clock() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}
