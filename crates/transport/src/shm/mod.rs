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
mod passing;
mod transport;

pub use endpoint::ShmEndpoint;
pub use folder::{Folder, FolderWatch};
pub use listener::ShmListener;
pub use transport::ShmTransport;

/// The path of a socket as a URI has it: it begins with a slash.
#[cfg(unix)]
pub fn uri_path(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The path of a socket as a URI has it: it begins with a slash, and has no other separators.
#[cfg(windows)]
pub fn uri_path(path: &std::path::Path) -> String {
    let path = path.to_string_lossy().replace('\\', "/");
    if path.starts_with('/') { path } else { format!("/{path}") }
}

/// The path that a URI has, as the system knows it.
fn path_of_uri(path: &str) -> &std::path::Path {
    let drive = path.strip_prefix('/').filter(|rest| cfg!(windows) && rest.as_bytes().get(1) == Some(&b':'));
    std::path::Path::new(drive.unwrap_or(path))
}
