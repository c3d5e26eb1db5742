//! Record batches as messages, without a copy of what they hold.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_buffer::Buffer;
use arrow_data::ArrayData;
use arrow_schema::{Schema, SchemaRef};
use arrowlane_dissociated::{
    Flat, Header, Limits, decode_message, dictionary_ids_in_order, encode_batch, encode_dictionary, encode_schema,
    flatten, header_of,
};
use bytes::Bytes;

use crate::{CatalogError, FlightError, Part, Snapshot};

/// Buffers inside a body start at multiples of this, so that a body which arrives aligned needs no copy.
const ALIGN: usize = 64;
static PADDING: [u8; ALIGN] = [0; ALIGN];

/// Makes the messages of one stream. Dictionaries are sent when they are new or have changed.
pub struct Encoder {
    schema: SchemaRef,
    ids: Vec<i64>,
    /// What was sent last, by depth-first index.
    sent: Vec<Option<ArrayData>>,
}

impl Encoder {
    /// For batches of this schema.
    pub fn new(schema: SchemaRef) -> Self {
        let ids = dictionary_ids_in_order(&schema);
        let sent = ids.iter().map(|_| None).collect();
        Self { schema, ids, sent }
    }

    /// The message that comes first.
    pub fn schema(&self) -> Part {
        schema_part(&self.schema)
    }

    /// The schema of all batches.
    pub fn stream_schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// As [`batch_with`](Self::batch_with), without key/values.
    ///
    /// # Errors
    /// As there.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<Part>, FlightError> {
        self.batch_with(batch, &[])
    }

    /// The messages of a batch with its key/values: dictionaries that it needs, then itself. The bodies are the batch's own memory.
    ///
    /// # Errors
    /// [`FlightError::Encode`] for a batch of another schema, or one that holds what cannot travel.
    pub fn batch_with(&mut self, batch: &RecordBatch, metadata: &[(String, String)]) -> Result<Vec<Part>, FlightError> {
        if batch.schema_ref().fields() != self.schema.fields() {
            return Err(FlightError::Encode(format!(
                "its schema is {}, that of the stream is {}",
                batch.schema_ref(),
                self.schema
            )));
        }
        let columns: Vec<_> = batch.columns().iter().map(|column| column.to_data()).collect();
        let mut flat = flatten(&columns).map_err(refused)?;
        flat.rows = batch.num_rows();
        let mut parts = Vec::new();
        for (index, values) in &flat.dictionaries {
            let (Some(id), Some(sent)) = (self.ids.get(*index), self.sent.get_mut(*index)) else {
                return Err(FlightError::Encode("a dictionary that its schema does not have".into()));
            };
            if sent.as_ref().is_some_and(|sent| sent.ptr_eq(values)) {
                continue;
            }
            let flat = flatten(std::slice::from_ref(values)).map_err(refused)?;
            let header = encode_dictionary(*id, false, &header_of(&flat, ALIGN));
            parts.push(Part { header: header.into(), body: pieces(flat), app_metadata: Bytes::new() });
            *sent = Some(values.clone());
        }
        let header = encode_batch(&header_of(&flat, ALIGN), metadata);
        parts.push(Part { header: header.into(), body: pieces(flat), app_metadata: Bytes::new() });
        Ok(parts)
    }
}

pub(crate) fn schema_part(schema: &Schema) -> Part {
    Part { header: encode_schema(schema).into(), ..Part::default() }
}

/// A schema as Flight embeds it: the IPC format's framing around the message (the older one too), or the message alone.
///
/// # Errors
/// Says what is wrong with the bytes.
pub(crate) fn read_schema(bytes: &[u8]) -> Result<SchemaRef, FlightError> {
    fn behind_length(bytes: &[u8]) -> Option<&[u8]> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)
    }
    match bytes.strip_prefix(&[0xFF; 4]) {
        Some(framed) => read_schema_message(behind_length(framed).unwrap_or_default()),
        // A message starts with an offset, which looks like a length: only one of the two can be read.
        None => read_schema_message(bytes)
            .or_else(|error| behind_length(bytes).and_then(|rest| read_schema_message(rest).ok()).ok_or(error)),
    }
}

/// A bare `Message` flatbuffer that is a schema.
///
/// # Errors
/// Says what is wrong with the bytes.
pub(crate) fn read_schema_message(flatbuffer: &[u8]) -> Result<SchemaRef, FlightError> {
    let wrong = |text: &str| FlightError::Protocol(format!("a schema that cannot be read: {text}"));
    match decode_message(flatbuffer, &Limits::default()) {
        Ok((Header::Schema(decoded), _)) => Ok(decoded.schema),
        Ok(_) => Err(wrong("the message is another one")),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

/// A schema with the IPC format's framing, as Flight embeds it.
pub(crate) fn write_schema(schema: &Schema) -> Bytes {
    let mut message = encode_schema(schema);
    message.resize(message.len().next_multiple_of(8), 0);
    let mut bytes = Vec::with_capacity(message.len() + 8);
    bytes.extend_from_slice(&[0xFF; 4]);
    bytes.extend_from_slice(&(message.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&message);
    bytes.into()
}

/// The body as pieces: the buffers themselves, and static zeros between them.
fn pieces(flat: Flat) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(flat.buffers.len() * 2);
    for buffer in flat.buffers.into_iter().filter(|buffer| !buffer.is_empty()) {
        let padding = buffer.len().next_multiple_of(ALIGN) - buffer.len();
        pieces.push(Bytes::from_owner(Owned(buffer)));
        if padding > 0 {
            pieces.push(Bytes::from_static(&PADDING[..padding]));
        }
    }
    pieces
}

struct Owned(Buffer);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn refused(error: impl std::fmt::Display) -> FlightError {
    FlightError::Encode(error.to_string())
}

/// A [`Snapshot`] over batches from anywhere.
pub struct Batches<I> {
    encoder: Encoder,
    batches: I,
    ready: std::collections::VecDeque<Part>,
    blocks: bool,
}

impl<I> Batches<I>
where
    I: Iterator<Item = Result<RecordBatch, CatalogError>> + Send + 'static,
{
    /// Reads `batches` as they are sent. `blocks` says whether taking one may take long.
    pub fn new(schema: SchemaRef, batches: I, blocks: bool) -> Self {
        Self { encoder: Encoder::new(schema), batches, ready: Default::default(), blocks }
    }
}

impl<I> Snapshot for Batches<I>
where
    I: Iterator<Item = Result<RecordBatch, CatalogError>> + Send + 'static,
{
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.encoder.schema)
    }

    fn next(&mut self) -> Result<Option<Part>, CatalogError> {
        if let Some(part) = self.ready.pop_front() {
            return Ok(Some(part));
        }
        let Some(batch) = self.batches.next() else { return Ok(None) };
        let parts = self.encoder.batch(&batch?).map_err(|error| CatalogError::Failed(error.to_string()))?;
        self.ready.extend(parts);
        Ok(self.ready.pop_front())
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::{DataType, Field};

    #[test]
    fn a_schema_is_read_in_every_framing_that_is_in_use() {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, false)]);
        let framed = write_schema(&schema);
        for bytes in [&framed[..], &framed[4..], &framed[8..], &encode_schema(&schema)] {
            assert_eq!(*read_schema(bytes).unwrap(), schema);
        }
        for bytes in [&b""[..], b"\0", &[0xFF; 8], &framed[..20], &framed[12..]] {
            assert!(read_schema(bytes).is_err());
        }
    }

    #[test]
    fn the_body_is_the_batch_s_own_memory() {
        let values = arrow_array::Int64Array::from_iter_values(0..1000);
        let start = values.values().as_ptr().cast::<u8>();
        let batch = RecordBatch::try_from_iter([("a", Arc::new(values) as _)]).unwrap();
        let parts = Encoder::new(batch.schema()).batch(&batch).unwrap();
        assert_eq!(parts.len(), 1);
        assert!(parts[0].body.iter().any(|piece| piece.as_ptr() == start));
        assert_eq!(parts[0].body_length(), 8000);
    }
}
