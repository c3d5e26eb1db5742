//! Windows, from version 10 2004 on: Winsock, and `WSAPoll` to wait with. Compiled, and not run by us yet.
//!
//! Descriptors are sockets. What is no socket by itself (a set of them, a time) has one to be known by (`node`).

mod access;
mod address;
mod node;
mod poller;
mod user;

use std::{
    io::IoSlice,
    path::PathBuf,
    sync::{LazyLock, Once},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, AsRawFd, OwnedFd},
    io::{Errno, ioctl_fionbio},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketType, accept, bind, connect, listen, socket, sockopt, wsa_startup,
    },
};
use windows_sys::Win32::{
    Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation},
    Networking::WinSock::{SO_EXCLUSIVEADDRUSE, SOL_SOCKET, WSABUF, WSAGetLastError, WSASend, setsockopt},
};

pub(crate) use access::{file_identity, make_private, others_may_enter};
pub use address::UnixAddress;
pub use poller::{Alarm, Timer, Waiter, wait_readable};
pub(crate) use poller::{FolderMonitor, Poller};
pub(crate) use user::{own_user, peer_of};

/// Longest path in a socket's address, in bytes.
pub(crate) const LONGEST_ADDRESS: usize = 107;
/// Longest name that is spelled out in a file name; longer ones are hashed. The folder's path counts against the address.
pub(crate) const MAX_SPELLED: usize = 40;
/// Bytes of a hash that stands for a name in a file's name.
pub(crate) const HASHED: usize = 16;
/// There are no signals, and a socket says itself whether it blocks.
pub(crate) const QUIETLY: SendFlags = SendFlags::empty();
/// A socket says itself whether it blocks.
pub(crate) const NO_WAIT: RecvFlags = RecvFlags::empty();

/// Most that is handed over at once: the system takes all of it, into memory that cannot be paged, as soon as it takes any.
const AT_ONCE: usize = 256 << 10;
/// So long a listener of this machine may take to let somebody in: the system does that for it, unless its queue is full.
const LET_IN: Duration = Duration::from_millis(100);

/// A unix stream socket that does not block.
pub fn stream_socket() -> Result<OwnedFd, Errno> {
    made_of(AddressFamily::UNIX)
}

/// A stream socket of the internet that does not block.
pub(crate) fn internet_socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    made_of(family)
}

fn made_of(family: AddressFamily) -> Result<OwnedFd, Errno> {
    static STARTED: Once = Once::new();
    // Where this fails, making a socket says why.
    STARTED.call_once(|| {
        let _ = wsa_startup();
    });
    made(socket(family, SocketType::STREAM, None)?)
}

/// The next connection, as a socket that does not block.
pub fn accept_stream(listener: impl AsFd) -> Result<OwnedFd, Errno> {
    match accept(listener) {
        Ok(socket) => made(socket),
        // It was there, and went before it was taken.
        Err(Errno::CONNRESET) => Err(Errno::CONNABORTED),
        Err(error) => Err(error),
    }
}

/// A child that is started between the two calls inherits the socket: there is no way to do both at once here.
fn made(socket: OwnedFd) -> Result<OwnedFd, Errno> {
    // SAFETY: a socket is a handle, and this one is open: it is ours. Nothing is read or written.
    unsafe { SetHandleInformation(socket.as_raw_fd() as _, HANDLE_FLAG_INHERIT, 0) };
    ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Connects a unix stream socket that does not block, and waits a moment where that is not done at once.
///
/// # Errors
/// [`Errno::AGAIN`] when the listener lets nobody in.
pub fn connect_stream(socket: impl AsFd, address: &UnixAddress) -> Result<(), Errno> {
    let socket = socket.as_fd();
    match connect(socket, address) {
        Err(Errno::WOULDBLOCK) => {}
        other => return other,
    }
    let wait = Timespec { tv_sec: 0, tv_nsec: LET_IN.subsec_nanos() as _ };
    match poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&wait))? {
        0 => Err(Errno::AGAIN),
        _ => sockopt::socket_error(socket)?,
    }
}

/// Whether a connection over the internet is on its way, and nothing is wrong.
pub(crate) fn is_under_way(error: Errno) -> bool {
    matches!(error, Errno::WOULDBLOCK | Errno::INPROGRESS | Errno::INTR)
}

/// Whether an error says that what is written to is closed.
pub(crate) fn is_gone(error: Errno) -> bool {
    error == Errno::SHUTDOWN
}

/// To be called before a socket is bound: nobody else gets the same address, which is not so by itself here.
pub(crate) fn reserve_address(socket: impl AsFd) -> Result<(), Errno> {
    let (yes, length) = (1i32, size_of::<i32>() as i32);
    let raw = socket.as_fd().as_raw_fd();
    // SAFETY: an open socket, and a place of the length that is said, which outlives the call.
    let set = unsafe { setsockopt(raw as _, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (&raw const yes).cast(), length) };
    if set == 0 { Ok(()) } else { Err(last_error()) }
}

/// As many bytes of the parts as there is room for, and no more than some.
pub(crate) fn send_parts(socket: impl AsFd, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let mut left = AT_ONCE;
    let mut buffers = Vec::with_capacity(parts.len());
    for part in parts {
        let length = part.len().min(left);
        buffers.push(WSABUF { len: length as u32, buf: part.as_ptr().cast_mut() });
        left -= length;
        if left == 0 {
            break;
        }
    }
    let (raw, mut sent) = (socket.as_fd().as_raw_fd(), 0);
    // SAFETY: an open socket, and buffers that lie in `parts`, which outlive the call; nothing is written to them. It is done
    // when the call returns: there is no OVERLAPPED.
    let result =
        unsafe { WSASend(raw as _, buffers.as_ptr(), buffers.len() as u32, &mut sent, 0, std::ptr::null_mut(), None) };
    if result == 0 { Ok(sent as usize) } else { Err(last_error()) }
}

fn last_error() -> Errno {
    // SAFETY: takes nothing and touches nothing but the thread's last error.
    Errno::from_raw_os_error(unsafe { WSAGetLastError() })
}

/// Two unix stream sockets, connected.
pub(crate) fn stream_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let path = unused_path()?;
    let address = UnixAddress::new(&path)?;
    let (listener, one) = (stream_socket()?, stream_socket()?);
    bind(&listener, &address)?;
    let other = listen(&listener, 1).and_then(|()| connect_stream(&one, &address)).and_then(|()| {
        poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&Timespec { tv_sec: 1, tv_nsec: 0 }))?;
        accept_stream(&listener)
    });
    let _ = std::fs::remove_file(path); // one that stays is in the way of nobody
    Ok((one, other?))
}

fn unused_path() -> Result<PathBuf, Errno> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|_| Errno::NOBUFS)?;
    Ok(std::env::temp_dir().join(format!("arrowlane-{:016x}", u64::from_ne_bytes(random))))
}

/// What is lent over connections is kept by this; nothing is lent here.
pub(crate) fn liveness() -> Result<(OwnedFd, OwnedFd), Errno> {
    Err(Errno::OPNOTSUPP)
}

/// Whether a descriptor that came from a peer is the end of a pipe: none comes.
pub(crate) fn is_pipe(_descriptor: impl AsFd) -> bool {
    false
}

/// A clock that only runs forward.
pub fn coarse_clock() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}
