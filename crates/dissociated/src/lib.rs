//! Arrow's Dissociated IPC as a sans-IO state machine: bytes in, events and bytes out.
//!
//! # Design
//! Metadata (a small header per message) and bodies (the buffers) travel on separate streams and are tied together by a
//! sequence number. A body is either inline bytes ([`BodyType::Packed`]) or a list of addresses that the receiver can
//! reach ([`BodyType::Pairs`]) and gives back when it is done (`free_data`).
//!
//! ```text
//! Sender ── metadata: type, serial, flatbuffer ──▶ Receiver
//!        ── tagged: body, packed or pairs ───────▶
//!        ◀── tagged: free_data, credit, cancel ───
//! ```
//!
//! Nothing here opens a socket, reads a clock, starts a thread, or allocates what a peer asks for without a limit
//! ([`Limits`]). A transport feeds [`Receiver::metadata`] and [`Receiver::tagged`] with what arrived, takes
//! [`Receiver::next`] events, and implements [`Outbox`] to send what comes out.
//!
//! Metadata and bodies may arrive in any order relative to each other, and metadata out of order among itself where the
//! connection says so ([`ReceiverConfig::unordered`]); what is lost is named. [`Decompression`] makes compressed bodies plain.
//!
//! [`layout`] goes between arrow-rs arrays and flat lists of nodes and buffers; [`header`] between those and the
//! flatbuffers of the IPC format; [`uri`] reads and writes data URIs.
//!
//! # Trust
//! Every byte that comes in is hostile until it was checked. What is checked is structure: counts, lengths, offsets at
//! both ends. What is *not* checked, because it would read every value, is content: each offset in between, UTF-8,
//! dictionary keys. `ArrayData::validate_full` does that for whoever reads values with arrow-rs from a peer it does not
//! trust.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod compressed;
mod error;
mod fields;
pub mod free;
pub mod header;
pub mod layout;
mod limits;
mod metadata;
mod outbox;
pub mod pairs;
mod receiver;
mod sender;
mod serial;
mod tag;
pub mod uri;

#[cfg(test)]
mod conversation;

pub use compressed::Decompression;
pub use error::ProtocolError;
pub use fields::Fields;
pub use header::{
    BatchHeader, Compression, DecodedSchema, DictionaryField, FieldNode, Header, HeaderEncoder, KeyValues, Span,
    decode_message, dictionary_ids_in_order, encode_batch, encode_dictionary, encode_schema,
};
pub use layout::{Flat, Shape, assemble, assemble_values, flatten, header_of, packed_parts, packed_size, shape_of};
pub use limits::Limits;
pub use metadata::Metadata;
pub use outbox::Outbox;
pub use pairs::Pair;
pub use receiver::{Event, ReceivedBody, Receiver, ReceiverConfig};
pub use sender::{Body, Sender, SenderConfig, SenderEvent};
pub use serial::Serial;
pub use tag::{BodyType, DataTag};
pub use uri::DataUri;

/// The result of everything here that can be given wrong bytes.
pub type Result<T, E = ProtocolError> = std::result::Result<T, E>;
