//! What Flight reports.

use tonic::{Code, Status};

/// The result of a call.
pub type Result<T, E = FlightError> = std::result::Result<T, E>;

/// An error with a stable code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlightError {
    /// The other side answered with an error.
    #[error("{call} failed: {message} ({})", .code.description())]
    Status {
        /// The call, as Flight names it: "GetFlightInfo".
        call: &'static str,
        /// The status code of gRPC.
        code: Code,
        /// What the other side said.
        message: String,
    },
    /// No connection came about.
    #[error("cannot connect to {uri}: {reason}")]
    Connect {
        /// The address that was asked for.
        uri: String,
        /// Why not, with all causes.
        reason: String,
    },
    /// A server could not be started.
    #[error("cannot serve at {uri}: {reason}")]
    Bind {
        /// The address that was asked for.
        uri: String,
        /// Why not.
        reason: String,
    },
    /// An address that is not one of a Flight service.
    #[error(
        "{uri:?} is not the address of a Flight service: {reason}. Expected grpc+tcp://host:port or grpc+tls://host:port"
    )]
    BadUri {
        /// The address.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option that cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The call took longer than its deadline.
    #[error("{call} was not done within {milliseconds} ms")]
    Deadline {
        /// The call.
        call: &'static str,
        /// What it was given.
        milliseconds: u64,
    },
    /// The other side sent nothing for too long.
    #[error("{call}: nothing arrived for {milliseconds} ms")]
    Silent {
        /// The call.
        call: &'static str,
        /// How long it was waited for.
        milliseconds: u64,
    },
    /// The call was cancelled here.
    #[error("{call} was cancelled")]
    Cancelled {
        /// The call.
        call: &'static str,
    },
    /// The other side sent something that Flight does not allow.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// A batch that cannot travel.
    #[error("the batch cannot be sent: {0}")]
    Encode(String),
    /// The system gave no threads.
    #[error("no runtime for Flight: {0}")]
    Runtime(#[from] std::io::Error),
}

impl FlightError {
    /// The stable code, as it appears in TypeScript.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Status { code, .. } => match code {
                Code::Unauthenticated => "ERR_UNAUTHENTICATED",
                Code::PermissionDenied => "ERR_NOT_PERMITTED",
                Code::NotFound => "ERR_NOT_FOUND",
                Code::DeadlineExceeded => "ERR_TIMEOUT",
                Code::Cancelled => "ERR_CANCELLED",
                Code::Unimplemented => "ERR_UNSUPPORTED",
                Code::InvalidArgument => "ERR_INVALID_ARGUMENT",
                Code::Unavailable => "ERR_CONNECTION",
                Code::ResourceExhausted => "ERR_OUT_OF_MEMORY",
                _ => "ERR_REMOTE",
            },
            Self::Connect { .. } => "ERR_CONNECTION",
            Self::Bind { .. } => "ERR_BIND",
            Self::BadUri { .. } | Self::Setting(_) => "ERR_INVALID_ARGUMENT",
            Self::Deadline { .. } | Self::Silent { .. } => "ERR_TIMEOUT",
            Self::Cancelled { .. } => "ERR_CANCELLED",
            Self::Protocol(_) => "ERR_PROTOCOL",
            Self::Encode(_) => "ERR_UNSUPPORTED_TYPE",
            Self::Runtime(_) => "ERR_SYSTEM",
        }
    }

    pub(crate) fn status(call: &'static str, status: &Status) -> Self {
        Self::Status { call, code: status.code(), message: with_causes(status.message(), status) }
    }
}

/// An error's text and those of its causes that say something new.
pub(crate) fn with_causes(text: &str, error: &dyn std::error::Error) -> String {
    let mut whole = text.to_owned();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !whole.contains(&cause_text) {
            whole.push_str(": ");
            whole.push_str(&cause_text);
        }
        next = cause.source();
    }
    whole
}
