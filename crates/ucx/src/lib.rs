//! Dissociated IPC over UCX: the transport `ucx:`.
//!
//! # Design
//! Untagged messages are active messages with id 0 and no header, tagged ones are UCX's tagged messages (`docs/wire.md`, "UCX"). Nothing spins: a worker's
//! descriptor is an [`Endpoint`](arrowlane_transport::Endpoint)'s, and `receive` arms it before it says that there is nothing more. Bodies are sent from where
//! they lie, and received to memory of their own.
//!
//! | module | what it is |
//! |---|---|
//! | `result`, `context`, `worker`, `shared`, `receive` | UCX, safe: errors, configuration, one connection's operations and callbacks |
//! | `connection`, `connecting`, `endpoint`, `listener`, `transport` | the traits of `arrowlane-transport` |
//! | `ending` | connections that were dropped, until the peer has everything |
//! | `descriptors`, `fence` | how many connections a process can have; what keeps their descriptors apart |
//!
//! There is one UCX in a process, and a context for each way of using it that is asked for (`context`): of the loopback interface alone, for addresses on it, or of all; over one
//! device or all; with long messages announced or in pieces. Each
//! connection has a worker of its own, on both sides, as tags are matched by worker.
//!
//! **Trust.** Whoever can open a TCP connection to a port of UCX's can crash the process; nothing on it is authenticated or encrypted. What a peer says *in* the
//! protocol (lengths, tags, ids, when it stops) is checked here; the packets of UCX cannot be.

#![cfg(target_os = "linux")]

mod connecting;
mod connection;
mod context;
mod descriptors;
mod ending;
mod endpoint;
mod fence;
mod listener;
mod receive;
mod result;
mod shared;
mod transport;
mod worker;

pub use arrowlane_ucx_sys::{LoadError, Search, Version};
pub use endpoint::UcxEndpoint;
pub use listener::UcxListener;
pub use result::UcxError;
pub use transport::{Found, Options, UcxTransport};

/// The tag of the message behind which nothing follows, which has no bytes. No body has it: those bits of their tags are zero.
pub const END_TAG: u64 = 0xE2_41_52_4C_5F_45_4E_44;

fn is_end(arrival: &shared::Arrival) -> bool {
    arrival.tag == Some(END_TAG) && arrival.length == 0
}
