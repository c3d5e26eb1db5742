//! What Linux, macOS and the BSDs have in common.

use std::{
    io::IoSlice,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, connect, sendmsg, sockopt},
    process::geteuid,
};

pub use rustix::net::SocketAddrUnix as UnixAddress;

use super::QUIETLY;
use crate::TransportError;

/// Nothing that is received is waited for.
pub(crate) const NO_WAIT: RecvFlags = RecvFlags::DONTWAIT;
/// Bytes of a hash that stands for a name in a file's name.
pub(crate) const HASHED: usize = 32;

/// The user that this process runs as.
pub(crate) fn own_user() -> Result<u32, TransportError> {
    Ok(geteuid().as_raw())
}

/// As many bytes of the parts as there is room for.
pub(crate) fn send_parts(socket: impl AsFd, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
    sendmsg(socket, parts, &mut SendAncillaryBuffer::default(), QUIETLY)
}

/// Connects a unix stream socket, which is done at once or fails at once.
pub fn connect_stream(socket: impl AsFd, address: &UnixAddress) -> Result<(), Errno> {
    connect(socket, address)
}

/// Whether a connection over the internet is on its way, and nothing is wrong.
pub(crate) fn is_under_way(error: Errno) -> bool {
    matches!(error, Errno::INPROGRESS | Errno::INTR)
}

/// Whether an error says that the peer has closed what is written to.
pub(crate) fn is_gone(error: Errno) -> bool {
    error == Errno::PIPE
}

/// To be called before a socket is bound: connections of a server that has ended do not keep its port from the next one.
pub(crate) fn reserve_address(socket: impl AsFd) -> Result<(), Errno> {
    sockopt::set_socket_reuseaddr(socket, true)
}

/// Waits until a descriptor polls readable; `None`: for ever. Whether it does.
pub fn wait_readable(descriptor: BorrowedFd<'_>, wait: Option<Duration>) -> bool {
    let wait = wait.map(|w| Timespec { tv_sec: w.as_secs() as _, tv_nsec: w.subsec_nanos() as _ });
    matches!(poll(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], wait.as_ref()), Ok(1..))
}

/// For a thread that waits for what another one handles.
pub struct Waiter(OwnedFd);

impl Waiter {
    /// Waits for what the descriptor of a [`Reactor`](crate::Reactor) tells of.
    pub(crate) fn new(descriptor: BorrowedFd<'_>) -> Result<Self, TransportError> {
        descriptor.try_clone_to_owned().map(Self).map_err(|e| TransportError::io("dup", e))
    }

    /// Waits for so long. Whether there is something to do.
    pub fn wait(&self, wait: Duration) -> bool {
        wait_readable(self.0.as_fd(), Some(wait))
    }
}
