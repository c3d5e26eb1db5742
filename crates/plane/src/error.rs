//! What the plane reports.

use arrowlane_dissociated::ProtocolError;
use arrowlane_memory::MemoryError;
use arrowlane_transport::TransportError;

use crate::{
    publisher::{clock::EVICTED, policy::NOT_PERMITTED},
    ticket::BAD_TICKET,
};

/// An error with a stable code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaneError {
    /// The transport failed or refused.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The peer broke the protocol. Its connection is closed; nothing else is touched.
    #[error("the peer broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// Memory could not be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A batch is larger than the publisher's pool.
    #[error("a batch of {requested} bytes does not fit into a pool of {limit} bytes; raise the publisher's `memory`")]
    TooLarge {
        /// Bytes asked for.
        requested: u64,
        /// The pool's limit.
        limit: u64,
    },
    /// The publisher ended without an end of stream.
    #[error("the publisher of \"{topic}\" went away in the middle of its stream")]
    PublisherLost {
        /// The topic.
        topic: String,
    },
    /// Nothing was heard from the server for long.
    #[error("\"{peer}\" gave no sign of life for {seconds} seconds; it may be stopped, or cannot be reached any more")]
    Silent {
        /// Whom it was waited for.
        peer: String,
        /// How long.
        seconds: u32,
    },
    /// The publisher reported an error and ended its stream.
    #[error("the publisher reported {code}: {message}")]
    Remote {
        /// The publisher's code.
        code: String,
        /// The publisher's message.
        message: String,
    },
    /// The server does not take this ticket.
    #[error("{0}")]
    Ticket(String),
    /// The publisher gave this subscriber up.
    #[error("{0}")]
    Evicted(String),
    /// The publisher does not permit what this subscriber asked for.
    #[error("{0}")]
    NotPermitted(String),
    /// It would be copied, and copies were forbidden.
    #[error("{0}")]
    CopyRequired(String),
    /// A variable of the environment has a value that it cannot have.
    #[error("{0}")]
    Setting(String),
    /// A batch with another schema than the topic's.
    #[error("the batch has another schema than the topic: {0}")]
    SchemaMismatch(String),
    /// An array cannot be used as asked.
    #[error("{0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// The publisher or subscription was closed.
    #[error("it is closed")]
    Closed,
}

impl PlaneError {
    /// The stable code, as it appears in TypeScript.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Transport(error) => match error {
                TransportError::Taken(_) => "ERR_TOPIC_TAKEN",
                TransportError::NotFound(_) => "ERR_TOPIC_NOT_FOUND",
                TransportError::Busy(_) => "ERR_BUSY",
                TransportError::BadName { .. } => "ERR_BAD_NAME",
                TransportError::UnsafeFolder { .. } => "ERR_UNSAFE_FOLDER",
                TransportError::OtherUser { .. } => "ERR_OTHER_USER",
                TransportError::Framing(_) | TransportError::BadAddress { .. } => "ERR_PROTOCOL",
                TransportError::Memory(error) => memory_code(error),
                TransportError::Failed { code, .. } => code,
                TransportError::TimedOut { .. } => "ERR_TIMEOUT",
                TransportError::Unavailable { .. } => "ERR_TRANSPORT_UNAVAILABLE",
                TransportError::BadUri { .. } => "ERR_INVALID_ARGUMENT",
                _ => "ERR_TRANSPORT",
            },
            Self::Protocol(_) => "ERR_PROTOCOL",
            Self::Memory(error) => memory_code(error),
            Self::TooLarge { .. } => "ERR_OUT_OF_MEMORY",
            Self::PublisherLost { .. } => "ERR_PUBLISHER_LOST",
            Self::Silent { .. } => "ERR_TIMEOUT",
            Self::Remote { .. } => "ERR_REMOTE",
            Self::Ticket(_) => BAD_TICKET,
            Self::Evicted(_) => EVICTED,
            Self::NotPermitted(_) => NOT_PERMITTED,
            Self::CopyRequired(_) => "ERR_COPY_REQUIRED",
            Self::Setting(_) => "ERR_INVALID_ARGUMENT",
            Self::SchemaMismatch(_) => "ERR_SCHEMA_MISMATCH",
            Self::Arrow(_) => "ERR_ARROW",
            Self::Closed => "ERR_CLOSED",
        }
    }
}

fn memory_code(error: &MemoryError) -> &'static str {
    match error {
        MemoryError::OutOfMemory { .. } => "ERR_OUT_OF_MEMORY",
        MemoryError::Unsupported { .. } => "ERR_UNSUPPORTED_PLATFORM",
        MemoryError::Invalid { .. } | MemoryError::TooLittle { .. } => "ERR_INVALID_ARGUMENT",
        _ => "ERR_MEMORY",
    }
}
