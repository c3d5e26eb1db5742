//! Record batches out of messages, every value checked.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{MetadataVersion, root_as_message};
use arrow_schema::{Schema, SchemaRef};
use arrowlane_dissociated::{BatchHeader, Header, Limits, Shape, decode_message, shape_of};

use crate::{FlightError, Message};

/// Puts the batches of one stream together: the schema first, then dictionaries and batches in order.
///
/// Nothing is copied but compressed and misaligned buffers. Every value is checked (offsets, UTF-8, dictionary keys), so that what comes
/// from a peer can be used like any other array.
pub struct BatchDecoder {
    limits: Limits,
    /// Bytes that one compressed body may become.
    inflated: u64,
    stream: Option<Stream>,
}

struct Stream {
    /// What batches have.
    schema: SchemaRef,
    /// The same with the dictionary ids of the peer, as the library looks for them.
    numbered: SchemaRef,
    shape: Shape,
    values: HashMap<i64, Shape>,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl BatchDecoder {
    /// For a stream whose messages are at most `largest` bytes, compressed or not.
    pub fn new(largest: u64) -> Self {
        Self { limits: Limits { max_body: largest, ..Limits::default() }, inflated: largest, stream: None }
    }

    /// The schema, once it came.
    pub fn schema(&self) -> Option<SchemaRef> {
        self.stream.as_ref().map(|stream| Arc::clone(&stream.schema))
    }

    /// Takes a message; the batch, when it was one.
    ///
    /// # Errors
    /// [`FlightError::Protocol`] for anything that is out of order, inconsistent, or beyond the limits. Then the stream is of no further use.
    pub fn message(&mut self, message: &Message) -> Result<Option<RecordBatch>, FlightError> {
        if message.header.is_empty() {
            return Ok(None);
        }
        let (header, _) = decode_message(&message.header, &self.limits).map_err(|error| wrong(&error))?;
        match (header, &mut self.stream) {
            (Header::Schema(_), Some(_)) => Err(wrong("a second schema")),
            (Header::Schema(decoded), None) => {
                let numbered = numbered(&message.header)?;
                let values = decoded.dictionaries.iter().map(|field| (field.id, shape_of_values(&field.value_type)));
                self.stream = Some(Stream {
                    shape: shape_of(&decoded.schema),
                    values: values.collect(),
                    numbered,
                    schema: decoded.schema,
                    dictionaries: HashMap::new(),
                });
                Ok(None)
            }
            (_, None) => Err(wrong("data before its schema")),
            (Header::Batch(batch), Some(stream)) => {
                stream.shape.check(&batch).map_err(|error| wrong(&error))?;
                check(&batch, &message.body, self.inflated)?;
                stream.batch(message).map(Some)
            }
            (Header::Dictionary { id, batch, .. }, Some(stream)) => {
                let shape =
                    stream.values.get(&id).ok_or_else(|| wrong(format!("dictionary {id}, which no field has")))?;
                shape.check(&batch).map_err(|error| wrong(&error))?;
                check(&batch, &message.body, self.inflated)?;
                stream.dictionary(message)?;
                Ok(None)
            }
        }
    }
}

impl Stream {
    fn batch(&self, message: &Message) -> Result<RecordBatch, FlightError> {
        let batch = fenced(|| {
            let read = root_as_message(&message.header).map_err(|error| error.to_string())?;
            let header = read.header_as_record_batch().ok_or("no batch")?;
            let numbered = Arc::clone(&self.numbered);
            read_record_batch(&message.body, header, numbered, &self.dictionaries, None, &MetadataVersion::V5)
                .map_err(|error| error.to_string())
        })?;
        batch.with_schema(Arc::clone(&self.schema)).map_err(|error| wrong(&error))
    }

    fn dictionary(&mut self, message: &Message) -> Result<(), FlightError> {
        let (numbered, dictionaries) = (&self.numbered, &mut self.dictionaries);
        fenced(|| {
            let read = root_as_message(&message.header).map_err(|error| error.to_string())?;
            let header = read.header_as_dictionary_batch().ok_or("no dictionary")?;
            read_dictionary(&message.body, header, numbered, dictionaries, &MetadataVersion::V5)
                .map_err(|error| error.to_string())
        })
    }
}

fn shape_of_values(value_type: &arrow_schema::DataType) -> Shape {
    shape_of(&Schema::new(vec![arrow_schema::Field::new("values", value_type.clone(), true)]))
}

/// The schema as the library's own reader makes it, which finds dictionaries by the ids in it.
fn numbered(header: &Buffer) -> Result<SchemaRef, FlightError> {
    fenced(|| {
        let read = root_as_message(header).map_err(|error| error.to_string())?;
        let schema = read.header_as_schema().ok_or("no schema")?;
        Ok(Arc::new(arrow_ipc::convert::fb_to_schema(schema)))
    })
}

/// That every buffer lies in the body, and that a compressed one does not claim to become more than is allowed.
fn check(header: &BatchHeader, body: &Buffer, inflated: u64) -> Result<(), FlightError> {
    let mut total = 0u64;
    for span in &header.buffers {
        let end = span.offset.checked_add(span.length).filter(|end| *end <= body.len() as u64);
        let Some(end) = end else {
            return Err(wrong(format!(
                "a buffer of {} bytes at {} in a body of {}",
                span.length,
                span.offset,
                body.len()
            )));
        };
        if header.compression.is_none() || span.length == 0 {
            continue;
        }
        let bytes = &body[span.offset as usize..end as usize];
        let claimed = bytes.first_chunk::<8>().map(|bytes| i64::from_le_bytes(*bytes));
        let claimed = match claimed {
            Some(-1) => span.length,
            Some(length) if length >= 0 => length as u64,
            _ => return Err(wrong("a compressed buffer without its length")),
        };
        total = total.saturating_add(claimed);
    }
    if total > inflated {
        return Err(wrong(format!("a body that becomes {total} bytes, the limit is {inflated}")));
    }
    Ok(())
}

/// Runs the library's decoder, which checks most of what it reads and panics on the rest.
fn fenced<T>(decoder: impl FnOnce() -> Result<T, String>) -> Result<T, FlightError> {
    match catch_unwind(AssertUnwindSafe(decoder)) {
        Ok(result) => result.map_err(wrong),
        Err(_) => Err(wrong("data that its decoder does not expect")),
    }
}

fn wrong(what: impl ToString) -> FlightError {
    FlightError::Protocol(what.to_string())
}

#[cfg(test)]
mod tests;
