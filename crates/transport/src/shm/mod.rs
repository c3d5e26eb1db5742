//! Shared memory between the processes of one user.
//!
//! A publisher listens on a unix socket in a folder that only this user can enter; both sides check the other's
//! credentials. Bodies stay where they are: in sealed memfds whose descriptors travel over the socket once, when a
//! segment is first used. A consumer maps them privately, so that it can read what the producer writes while its own
//! writes reach nobody (`docs/wire.md`).

mod endpoint;
mod folder;
mod input;
mod keeper;
mod lent;
mod listener;
mod output;
mod transport;

pub use endpoint::ShmEndpoint;
pub use folder::{Folder, FolderWatch};
pub use listener::ShmListener;
pub use transport::ShmTransport;
