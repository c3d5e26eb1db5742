//! What differs between operating systems: waiting for descriptors, alarms, timers, folders, sockets and who is behind them.
//!
//! Both modules have the same names. `linux` is what is tested; `bsd` (macOS and the BSDs, on kqueue) is what takes its place
//! where Linux's calls are missing. A descriptor of any of these can be watched by a [`Reactor`](crate::Reactor).

#[cfg(not(target_os = "linux"))]
mod bsd;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
use bsd as here;
#[cfg(target_os = "linux")]
use linux as here;

pub use here::{Alarm, Timer, accept_stream, coarse_clock, identity, stream_socket};
pub(crate) use here::{
    DEFAULT_FOLDER, LONGEST_ADDRESS, MAX_SPELLED, Poller, QUIETLY, RECEIVING, internet_socket, is_pipe,
    keep_from_children, liveness, peer_of, socket_path, stream_pair, watch_folder,
};
