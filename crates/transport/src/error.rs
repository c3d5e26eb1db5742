//! What can go wrong while messages travel.

use std::io;

/// An error of one connection or of one attempt to make one. It never concerns other connections.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The operating system refused an operation.
    #[error("{what} failed: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The peer sent something that the transport's framing does not allow. The connection is of no further use.
    #[error("the peer broke the transport's framing: {0}")]
    Framing(String),
    /// The peer closed the connection, or died.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer runs as another user.
    #[error("the peer runs as user {peer}, this process as user {own}; shared memory is for one user only")]
    OtherUser {
        /// The peer's effective user id; on Windows a security identifier.
        peer: String,
        /// Ours.
        own: String,
    },
    /// A live publisher already listens under this name.
    #[error("\"{0}\" is already taken by a live publisher; close it, or choose another name")]
    Taken(String),
    /// Nobody listens under this name.
    #[error("nobody listens at \"{0}\"")]
    NotFound(String),
    /// The listener's queue of connections is full for the moment: try again shortly.
    #[error("\"{0}\" accepts no connection at the moment (its queue is full); try again")]
    Busy(String),
    /// A name that cannot be one.
    #[error("\"{name}\" is not a usable name: {reason}")]
    BadName {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The folder of sockets is not ours alone.
    #[error("the folder {path} cannot hold sockets safely: {reason}; remove it, or set ARROWLANE_RUNTIME_DIR")]
    UnsafeFolder {
        /// Its path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The transport cannot do what was asked of it.
    #[error("{scheme}: does not support {what}")]
    Unsupported {
        /// Whose scheme.
        scheme: &'static str,
        /// What was asked.
        what: &'static str,
    },
    /// Something that the transport needs is not on this machine.
    #[error("{scheme}: is not available here: {reason}")]
    Unavailable {
        /// Whose scheme.
        scheme: &'static str,
        /// What is missing, and what to do.
        reason: String,
    },
    /// An address that the transport cannot use.
    #[error("\"{address}\" is not an address for this transport: {reason}")]
    BadUri {
        /// As given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What the transport stands on reported an error, with a code of its own.
    #[error("{message}")]
    Failed {
        /// The stable code.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// The peer did not answer in time.
    #[error("no answer from {peer} within {after:?}")]
    TimedOut {
        /// Who did not answer.
        peer: String,
        /// How long it was waited for.
        after: std::time::Duration,
    },
    /// No private connection came about, or it broke.
    #[error("TLS with {peer} failed: {reason}")]
    Tls {
        /// Who is at the other end.
        peer: String,
        /// What went wrong.
        reason: String,
    },
    /// What was configured to prove who one is, or to trust others by, cannot be used.
    #[error("the certificates or key for TLS cannot be used: {reason}")]
    Credentials {
        /// Which, and what is wrong with it.
        reason: String,
    },
    /// An address in a message lies outside everything that the peer lent.
    #[error("address {address:#x} with length {length} lies outside the memory that the peer lent")]
    BadAddress {
        /// The address as received.
        address: u64,
        /// The length as received.
        length: u64,
    },
    /// Memory that the peer lent could not be mapped safely.
    #[error("memory lent by the peer was refused: {0}")]
    Memory(#[from] arrowlane_memory::MemoryError),
}

impl TransportError {
    /// An [`io::Error`] with what was attempted.
    pub fn io(what: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Io { what, source: source.into() }
    }
}
