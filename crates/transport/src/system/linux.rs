//! Linux: epoll, eventfd, timerfd, inotify.

use std::{
    ffi::OsString,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{EventfdFlags, Timespec, epoll, eventfd},
    fs::{Stat, inotify},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, socket_with, socketpair, sockopt,
    },
    pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with},
    time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, clock_gettime, timerfd_create,
        timerfd_settime,
    },
};

use crate::{Interest, Readiness, TransportError};

/// Longest path in a socket's address, in bytes.
pub(crate) const LONGEST_ADDRESS: usize = 107;
/// Longest name that is spelled out in a file name; longer ones are hashed.
pub(crate) const MAX_SPELLED: usize = 180;
/// Where the folder of sockets is where nothing says so; `None`: in the folder for temporary files.
pub(crate) const DEFAULT_FOLDER: Option<&str> = None;
/// A peer that is gone is an error, not a signal.
pub(crate) const QUIETLY: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);
/// Descriptors that come stay in this process.
pub(crate) const RECEIVING: RecvFlags = RecvFlags::DONTWAIT.union(RecvFlags::CMSG_CLOEXEC);

/// Many descriptors under one.
pub(crate) struct Poller(OwnedFd);

impl Poller {
    pub(crate) fn new() -> Result<Self, TransportError> {
        epoll::create(epoll::CreateFlags::CLOEXEC).map(Self).map_err(|e| TransportError::io("epoll_create", e))
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(crate) fn add(&self, descriptor: BorrowedFd<'_>, key: u64, interest: Interest) -> Result<(), TransportError> {
        epoll::add(&self.0, descriptor, epoll::EventData::new_u64(key), flags(interest))
            .map_err(|e| TransportError::io("epoll_ctl", e))
    }

    pub(crate) fn change(
        &self,
        descriptor: BorrowedFd<'_>,
        key: u64,
        interest: Interest,
    ) -> Result<(), TransportError> {
        epoll::modify(&self.0, descriptor, epoll::EventData::new_u64(key), flags(interest))
            .map_err(|e| TransportError::io("epoll_ctl", e))
    }

    /// The descriptor may have been taken out by the system already; nothing depends on the answer.
    pub(crate) fn delete(&self, descriptor: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.0, descriptor);
    }

    /// Tells of every descriptor that is ready, by its key. Waits for the first for `wait`; `None`: for ever.
    pub(crate) fn wait(
        &self,
        wait: Option<Duration>,
        mut ready: impl FnMut(u64, Readiness),
    ) -> Result<(), TransportError> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
        let wait = wait.map(|w| Timespec { tv_sec: w.as_secs() as _, tv_nsec: w.subsec_nanos() as _ });
        match epoll::wait(&self.0, spare_capacity(&mut events), wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(TransportError::io("epoll_wait", error)),
        }
        for event in &events {
            let flags = event.flags;
            let ended = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR | epoll::EventFlags::RDHUP);
            let readable = ended || flags.contains(epoll::EventFlags::IN);
            ready(event.data.u64(), Readiness { readable, writable: flags.contains(epoll::EventFlags::OUT) });
        }
        Ok(())
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    match interest {
        Interest::Read => epoll::EventFlags::IN,
        Interest::ReadWrite => epoll::EventFlags::IN | epoll::EventFlags::OUT,
        // Errors are always told of.
        Interest::End => epoll::EventFlags::empty(),
    }
}

/// A descriptor that any thread can make readable.
pub struct Alarm(OwnedFd);

impl Alarm {
    /// One that is not rung.
    pub fn new() -> Result<Self, TransportError> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        event.map(Self).map_err(|e| TransportError::io("eventfd", e))
    }

    /// Makes it readable.
    pub fn ring(&self) {
        // Only an overflow of the counter could fail, and then it is readable already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Makes it unreadable, however often it rang.
    pub fn quiet(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that becomes readable after a time, by a clock that nobody sets.
pub struct Timer(OwnedFd);

impl Timer {
    /// One that does not run.
    pub fn new() -> Result<Self, TransportError> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags);
        timer.map(Self).map_err(|e| TransportError::io("timerfd_create", e))
    }

    /// Goes off once, after `pause`.
    pub fn once(&self, pause: Duration) -> Result<(), TransportError> {
        self.set(Duration::ZERO, pause)
    }

    /// Goes off every `period`; zero stops it.
    pub fn every(&self, period: Duration) -> Result<(), TransportError> {
        self.set(period, period)
    }

    fn set(&self, interval: Duration, first: Duration) -> Result<(), TransportError> {
        let spec = |d: Duration| Timespec { tv_sec: d.as_secs() as _, tv_nsec: d.subsec_nanos() as _ };
        let time = Itimerspec { it_interval: spec(interval), it_value: spec(first) };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &time)
            .map(drop)
            .map_err(|e| TransportError::io("timerfd_settime", e))
    }

    /// Makes it unreadable, however often it went off.
    pub fn quiet(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that polls readable when a file was renamed into the folder, and can be read empty.
pub(crate) fn watch_folder(folder: BorrowedFd<'_>) -> Result<OwnedFd, TransportError> {
    let descriptor = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .map_err(|e| TransportError::io("inotify_init", e))?;
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    inotify::add_watch(&descriptor, path, inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::ONLYDIR)
        .map_err(|e| TransportError::io("inotify_add_watch", e))?;
    Ok(descriptor)
}

/// The path of a socket in a folder, whose own path does not count.
pub(crate) fn socket_path(folder: BorrowedFd<'_>, _path: &Path, file: &str) -> PathBuf {
    PathBuf::from(OsString::from(format!("/proc/self/fd/{}/{file}", folder.as_raw_fd())))
}

/// A unix stream socket that does not block.
pub fn stream_socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// A stream socket of the internet that does not block.
pub(crate) fn internet_socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Two unix stream sockets, connected.
pub(crate) fn stream_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// A pipe whose writing end is ready, with an error, when no copy of the reading end is open in any process. The smallest:
/// all of a user's pipes together have a limit in pages.
pub(crate) fn liveness() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (reading, writing) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let _ = fcntl_setpipe_size(&writing, 1); // rounded up to a page; a larger one is as good
    Ok((writing, reading))
}

/// Whether a descriptor that came from a peer is the end of a pipe. Asks no file system, which might not answer.
pub(crate) fn is_pipe(descriptor: impl AsFd) -> bool {
    fcntl_getpipe_size(descriptor).is_ok()
}

/// The next connection, as a socket that does not block.
pub fn accept_stream(listener: impl AsFd) -> Result<OwnedFd, Errno> {
    accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

/// Received descriptors were marked as they came.
pub(crate) fn keep_from_children(_descriptor: &OwnedFd) {}

/// User and process at the other end; no process where it has no number here.
pub(crate) fn peer_of(socket: impl AsFd) -> Result<(u32, Option<u32>), TransportError> {
    let peer = sockopt::socket_peercred(socket).map_err(|e| TransportError::io("SO_PEERCRED", e))?;
    // A process of another namespace has no number here, and then the system says 0.
    Ok((peer.uid.as_raw(), u32::try_from(peer.pid.as_raw_nonzero().get()).ok()))
}

/// Device and inode.
pub fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// A clock that only runs forward, exact to some milliseconds: reading it takes no system call.
pub fn coarse_clock() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}
