//! The flatbuffers of the IPC format, to and from plain structs.
//!
//! Reading verifies the flatbuffer, then checks every count, length and type against [`Limits`] before anything is
//! built from it: nothing a peer writes makes it panic or allocate more than its own message is long.

mod batch;
mod encode;
mod field;

use std::collections::HashMap;

use arrow_buffer::MutableBuffer;
use arrow_ipc::{MessageHeader, MetadataVersion};
use arrow_schema::{DataType, SchemaRef};
use flatbuffers::{ForwardsUOffset, Vector, VerifierOptions};

pub(crate) use encode::dictionaries_in;
pub use encode::{HeaderEncoder, dictionary_ids_in_order, encode_batch, encode_dictionary, encode_schema};

use crate::{Limits, ProtocolError, Result};

/// Length and nulls of one array of a batch, in depth-first order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FieldNode {
    /// Values.
    pub length: u64,
    /// Nulls among them; at most `length`.
    pub null_count: u64,
}

/// Where a buffer lies in the packed body, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// From the start of the body.
    pub offset: u64,
    /// Without padding; 0 for a buffer that was left out.
    pub length: u64,
}

/// How the buffers of a body are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// LZ4 frames.
    Lz4Frame,
    /// Zstandard.
    Zstd,
}

/// The header of a batch, of records or of a dictionary's values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchHeader {
    /// Rows.
    pub rows: u64,
    /// One per array, depth-first.
    pub nodes: Vec<FieldNode>,
    /// One per buffer, in IPC order.
    pub buffers: Vec<Span>,
    /// Data buffers of each view array, in order.
    pub variadic: Vec<u64>,
    /// None when the body holds the plain buffers.
    pub compression: Option<Compression>,
    /// Bytes of the packed body.
    pub body_length: u64,
}

/// Key/values that travel with a message.
pub type KeyValues = Vec<(String, String)>;

/// A decoded message.
#[derive(Debug, Clone)]
pub enum Header {
    /// The first message of a stream.
    Schema(DecodedSchema),
    /// Rows.
    Batch(BatchHeader),
    /// Values that dictionary-encoded columns refer to.
    Dictionary {
        /// The id that fields name.
        id: i64,
        /// Whether the values are appended to those already there rather than replacing them.
        delta: bool,
        /// The values, as a batch of one column.
        batch: BatchHeader,
    },
}

impl Header {
    /// Bytes of the packed body; 0 for a schema.
    #[must_use]
    pub fn body_length(&self) -> u64 {
        match self {
            Self::Schema(_) => 0,
            Self::Batch(batch) | Self::Dictionary { batch, .. } => batch.body_length,
        }
    }
}

/// A schema with the dictionary ids of its flatbuffer, which arrow-rs's schema has no place for.
#[derive(Debug, Clone)]
pub struct DecodedSchema {
    /// The schema; its metadata holds the stream's key/values.
    pub schema: SchemaRef,
    /// Every dictionary-encoded field, depth-first, those inside a dictionary's values before it. The position is the
    /// *depth-first index* that [`Flat`](crate::Flat) and [`assemble`](crate::assemble) speak of. Several fields may
    /// share an id.
    pub dictionaries: Vec<DictionaryField>,
}

/// A dictionary-encoded field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DictionaryField {
    /// What dictionary messages call it.
    pub id: i64,
    /// Type of the keys.
    pub key_type: DataType,
    /// Type of the values.
    pub value_type: DataType,
    /// Whether the order of the values means something.
    pub ordered: bool,
}

/// Reads a bare `Message` flatbuffer at any alignment (it is copied where misaligned) and its key/values.
///
/// # Errors
/// A flatbuffer that does not verify, a message that is none of schema, batch and dictionary, a metadata version other
/// than V5, big-endian data, a type arrow-rs has not, a negative number, anything above `limits`.
pub fn decode_message(flatbuffer: &[u8], limits: &Limits) -> Result<(Header, KeyValues)> {
    if (flatbuffer.as_ptr() as usize).is_multiple_of(8) {
        decode_aligned(flatbuffer, limits)
    } else {
        decode_copied(flatbuffer, limits, &mut MutableBuffer::new(0))
    }
}

/// As [`decode_message`], copying into memory that is used again.
pub(crate) fn decode_copied(
    flatbuffer: &[u8],
    limits: &Limits,
    scratch: &mut MutableBuffer,
) -> Result<(Header, KeyValues)> {
    limit_length(flatbuffer, limits)?;
    scratch.clear();
    // Arrow allocates at 64 bytes or more, so the start is aligned for every flatbuffer scalar.
    scratch.extend_from_slice(flatbuffer);
    decode_aligned(scratch.as_slice(), limits)
}

fn limit_length(flatbuffer: &[u8], limits: &Limits) -> Result<()> {
    Limits::check("length of a metadata message", flatbuffer.len() as u64, limits.max_metadata as u64)
}

fn decode_aligned(flatbuffer: &[u8], limits: &Limits) -> Result<(Header, KeyValues)> {
    limit_length(flatbuffer, limits)?;
    // Shared sub-tables make a small message large once expanded; allow what an honest message needs.
    let options = VerifierOptions {
        max_depth: limits.max_nesting.saturating_mul(2).saturating_add(16),
        max_tables: limits.max_fields.saturating_mul(4).saturating_add(flatbuffer.len() / 8),
        max_apparent_size: flatbuffer.len().saturating_mul(8).saturating_add(1 << 16),
        ignore_missing_null_terminator: true,
    };
    let message = arrow_ipc::root_as_message_with_opts(&options, flatbuffer)
        .map_err(|e| ProtocolError::malformed("message flatbuffer", e.to_string()))?;
    if message.version() != MetadataVersion::V5 {
        return Err(ProtocolError::Unsupported(format!("IPC metadata version {:?} (only V5 is)", message.version())));
    }
    let missing = |what| ProtocolError::malformed(what, "the header table is missing");
    let body_length = unsigned("bodyLength", message.bodyLength())?;
    let header = match message.header_type() {
        MessageHeader::Schema => {
            Header::Schema(field::schema(message.header_as_schema().ok_or_else(|| missing("schema message"))?, limits)?)
        }
        MessageHeader::RecordBatch => Header::Batch(batch::batch(
            message.header_as_record_batch().ok_or_else(|| missing("batch message"))?,
            body_length,
            limits,
        )?),
        MessageHeader::DictionaryBatch => {
            let dictionary = message.header_as_dictionary_batch().ok_or_else(|| missing("dictionary message"))?;
            Header::Dictionary {
                id: dictionary.id(),
                delta: dictionary.isDelta(),
                batch: batch::batch(
                    dictionary.data().ok_or_else(|| missing("dictionary message"))?,
                    body_length,
                    limits,
                )?,
            }
        }
        other => {
            return Err(ProtocolError::Unsupported(format!("IPC message type {other:?}")));
        }
    };
    Ok((header, key_values(message.custom_metadata())))
}

type KeyValueVector<'a> = Option<Vector<'a, ForwardsUOffset<arrow_ipc::KeyValue<'a>>>>;

fn key_values(list: KeyValueVector<'_>) -> KeyValues {
    pairs_of(list).map(|(k, v)| (k.into(), v.into())).collect()
}

fn key_value_map(list: KeyValueVector<'_>) -> HashMap<String, String> {
    pairs_of(list).map(|(k, v)| (k.into(), v.into())).collect()
}

fn pairs_of<'a>(list: KeyValueVector<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    list.into_iter().flatten().map(|pair| (pair.key().unwrap_or(""), pair.value().unwrap_or("")))
}

fn unsigned(what: &'static str, value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| ProtocolError::malformed(what, format!("{value} is negative")))
}

#[cfg(test)]
mod tests;
