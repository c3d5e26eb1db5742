//! What a receiver hands out.

use super::ReceivedBody;
use crate::{BatchHeader, DecodedSchema, Fields, KeyValues, Serial};

/// What arrived, in the order it was sent.
#[derive(Debug)]
pub enum Event {
    /// The schema: first, and once.
    Schema(DecodedSchema, KeyValues),
    /// Rows.
    Batch {
        /// The message's number.
        serial: Serial,
        /// Nodes and buffers.
        header: BatchHeader,
        /// Key/values that travel with the batch.
        metadata: KeyValues,
        /// Where the buffers are.
        body: ReceivedBody,
    },
    /// Values that later batches refer to.
    Dictionary {
        /// The id that fields name.
        id: i64,
        /// Whether the values are appended rather than replaced.
        delta: bool,
        /// Nodes and buffers.
        header: BatchHeader,
        /// Where the buffers are.
        body: ReceivedBody,
    },
    /// The stream ended well; nothing follows.
    End,
    /// The stream failed at the sender; nothing follows.
    Error {
        /// A stable code; empty when the peer gave none.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// What the sender says about the stream itself, between the messages where it said so.
    Notice(Fields),
    /// The sender is alive. Several that came together are one.
    Heartbeat,
}
