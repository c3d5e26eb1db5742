//! What differs between operating systems: waiting for descriptors, alarms, timers, folders, sockets and who is behind them.
//!
//! All modules have the same names. `linux` is what is tested; `bsd` (macOS and the BSDs, on kqueue) and `windows` (on
//! `WSAPoll`) are what takes its place where Linux's calls are missing, and `unix` is what the first two have in common. A
//! descriptor of any of these can be watched by a [`Reactor`](crate::Reactor); on Windows descriptors are sockets.

#[cfg(all(unix, not(target_os = "linux")))]
mod bsd;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(all(unix, not(target_os = "linux")))]
use bsd as here;
#[cfg(target_os = "linux")]
use linux as here;
#[cfg(windows)]
use windows as here;

#[cfg(unix)]
pub use here::identity;
pub use here::{Alarm, Timer, accept_stream, coarse_clock, stream_socket};
#[cfg(unix)]
pub(crate) use here::{DEFAULT_FOLDER, RECEIVING, keep_from_children, socket_path, watch_folder};
pub(crate) use here::{
    LONGEST_ADDRESS, MAX_SPELLED, Poller, QUIETLY, internet_socket, is_pipe, liveness, peer_of, stream_pair,
};
#[cfg(unix)]
pub(crate) use unix::{HASHED, NO_WAIT, is_gone, is_under_way, own_user, reserve_address, send_parts};
#[cfg(unix)]
pub use unix::{UnixAddress, Waiter, connect_stream, wait_readable};
#[cfg(windows)]
pub(crate) use windows::{
    FolderMonitor, HASHED, NO_WAIT, file_identity, is_gone, is_under_way, make_private, others_may_enter, own_user,
    reserve_address, send_parts,
};
#[cfg(windows)]
pub use windows::{UnixAddress, Waiter, connect_stream, wait_readable};
