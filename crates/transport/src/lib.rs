//! Transports: how the messages of a Dissociated IPC connection travel.
//!
//! # Design
//! A transport carries two kinds of message between two peers: *untagged* ones (metadata) and *tagged* ones (bodies,
//! `want_data`, `free_data`, credits), and it resolves the addresses of bodies that were lent instead of sent. It knows
//! nothing of schemas, sequences or leases; those belong to `arrowlane-dissociated`.
//!
//! Nothing here blocks (but [`finish`]), and nothing here owns a thread (but for closed connections whose last bytes are on their
//! way, while there are any). An [`Endpoint`] has a descriptor that polls readable when
//! [`Endpoint::receive`] has something to do; a [`Reactor`] gathers many descriptors under one. Whoever owns the event
//! loop (Node's libuv loop, a test, a server thread) decides when to turn it.
//!
//! | scheme    | module     | bodies |
//! |-----------|------------|--------|
//! | `inproc:` | [`inproc`] | lent: the same region, in one process |
//! | `shm:`    | [`shm`]    | lent: sealed memfds, handed over once per segment |
//! | `tcp:`    | [`tcp`]    | sent, over any network; TLS on request |
//!
//! [`Split`] makes one end of two: metadata over one connection, bodies over the other.

#![cfg(any(unix, windows))]

mod endpoint;
mod error;
pub mod frame;
pub mod inproc;
mod linger;
mod reactor;
pub mod shm;
mod split;
mod stream;
pub mod system;
pub mod tcp;
mod transport;

pub use endpoint::{Endpoint, Inbox, Loan, Progress};
pub use error::TransportError;
pub use linger::finish;
pub use reactor::{Interest, Reactor, Readiness, Source};
/// Descriptors; on Windows they are sockets.
pub use rustix::fd;
pub use split::Split;
pub use transport::{Listener, Transport};
