//! What can be wrong with what a peer sent, or with what was asked to be sent.

/// A message that breaks the protocol, exceeds a limit, or cannot be represented.
///
/// It ends the connection it came from and no other. `Display` says what happened, what was expected and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Fewer or more bytes than the message needs.
    #[error("{what}: {got} bytes came, {expected} are needed; the peer wrote a damaged message, close the connection")]
    Length {
        /// Which message or part of one.
        what: &'static str,
        /// Bytes needed.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// Something in a message contradicts the format.
    #[error("{what}: {detail}; the peer wrote a damaged message, close the connection")]
    Malformed {
        /// Which message or part of one.
        what: &'static str,
        /// What was found and what was expected.
        detail: String,
    },
    /// A count or length above the limit set for this connection.
    #[error("{what} is {value}, the limit is {limit}; raise the limit if the peer is trusted")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// What the peer sent.
        value: u64,
        /// The limit in force.
        limit: u64,
    },
    /// A metadata message of a type that this connection does not speak.
    #[error(
        "metadata message of unknown type {0:#04x}; expected 0 (end of stream) or 1 (message), or an extension that was agreed on"
    )]
    UnknownMetadataType(u8),
    /// A tagged message whose tag means nothing on this connection.
    #[error("tagged message with unknown tag {0:#018x}; expected a data tag or one of the tags of the URI")]
    UnknownTag(u64),
    /// Sequence numbers are missing.
    #[error("gap in the stream: {}; data was lost", missing(*.expected, *.got))]
    Gap {
        /// The first number that is missing.
        expected: u32,
        /// The number that came, behind the last one that is missing; an end of stream has the next unused one. The same as
        /// `expected` where all that came of that message is its body.
        got: u32,
    },
    /// A message whose body is missing.
    #[error("gap in the stream: the body of message {serial} never came; data was lost")]
    BodyMissing {
        /// The number.
        serial: u32,
    },
    /// A sequence number that was already used.
    #[error("{what} {serial} came twice, or after it was delivered; expected each number once")]
    Duplicate {
        /// Metadata or body.
        what: &'static str,
        /// The number.
        serial: u32,
    },
    /// A sequence number too far ahead of what was delivered.
    #[error(
        "{what} {serial} is beyond the window: {window} messages from {expected} on may be pending; take events sooner or widen the window"
    )]
    BeyondWindow {
        /// Metadata or body.
        what: &'static str,
        /// The number.
        serial: u32,
        /// The next number to be delivered.
        expected: u32,
        /// How many may be pending.
        window: u32,
    },
    /// A message after the end of the stream.
    #[error("{what} {serial} came after the end of the stream")]
    AfterEnd {
        /// Metadata or body.
        what: &'static str,
        /// The number.
        serial: u32,
    },
    /// A schema where none may be, or none where one must be.
    #[error("message {serial} {detail}; message 0 is the schema and no other is")]
    SchemaPlace {
        /// The number.
        serial: u32,
        /// What it is.
        detail: &'static str,
    },
    /// An address was freed that is not out on this connection.
    #[error("address {0:#x} was freed but is not held on this connection; each pair received is freed once")]
    NotOutstanding(u64),
    /// A credit that runs backwards or beyond what was sent.
    #[error("credit says {got} bytes were consumed; expected between {least} (the last credit) and {most} (sent)")]
    Credit {
        /// What the credit says.
        got: u64,
        /// The last credit.
        least: u64,
        /// Bytes sent.
        most: u64,
    },
    /// Buffers, nodes and schema do not belong together.
    #[error("{what}: {detail}; header and schema do not describe the same data")]
    Layout {
        /// The array or buffer.
        what: &'static str,
        /// What was found and what was expected.
        detail: String,
    },
    /// A dictionary that was never sent.
    #[error("dictionary {0} (depth-first) has not come, but values refer to it; send dictionaries before batches")]
    MissingDictionary(usize),
    /// Legal, but not something this version can read.
    #[error("{0} is not supported by this version")]
    Unsupported(String),
    /// A data URI that cannot be understood.
    #[error("data URI: {0}; expected scheme://host:port/path?want_data=<unsigned decimal>[&…]")]
    Uri(String),
}

/// Which numbers never came, where `got` came behind them.
fn missing(expected: u32, got: u32) -> String {
    match got.wrapping_sub(expected) {
        0 => format!("message {expected} never came, though its body did"),
        1 => format!("message {expected} never came, and {got} did"),
        _ => format!("messages {expected} to {} never came, and {got} did", got.wrapping_sub(1)),
    }
}

impl ProtocolError {
    /// A stable code for programs: `ERR_LIMIT`, `ERR_GAP`, `ERR_UNSUPPORTED`, `ERR_URI`, else `ERR_PROTOCOL`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Limit { .. } | Self::BeyondWindow { .. } => "ERR_LIMIT",
            Self::Gap { .. } | Self::BodyMissing { .. } => "ERR_GAP",
            Self::Unsupported(_) => "ERR_UNSUPPORTED",
            Self::Uri(_) => "ERR_URI",
            _ => "ERR_PROTOCOL",
        }
    }

    pub(crate) fn malformed(what: &'static str, detail: impl Into<String>) -> Self {
        Self::Malformed { what, detail: detail.into() }
    }

    pub(crate) fn layout(what: &'static str, detail: impl Into<String>) -> Self {
        Self::Layout { what, detail: detail.into() }
    }
}
