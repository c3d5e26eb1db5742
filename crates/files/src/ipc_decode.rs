//! From the bytes of one IPC message to a schema, a dictionary or a record batch.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{CompressionType, MessageHeader};
use arrow_schema::{ArrowError, SchemaRef};

use crate::error::{Error, Result};
use crate::guard;

/// The state of one IPC stream or file: its schema and the dictionaries seen so far.
///
/// A later dictionary of the same id replaces the earlier one, or extends it when it is a delta; batches that were
/// decoded before keep theirs.
pub(crate) struct Decoder {
    path: PathBuf,
    schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl Decoder {
    /// Starts from the bare flatbuffer of the schema message.
    pub(crate) fn from_message(path: &Path, message: &[u8]) -> Result<Self> {
        let message = parse(path, message)?;
        match message.header_as_schema() {
            Some(schema) => Self::from_schema(path, schema),
            None => Err(Error::damaged(
                path,
                format!("it starts with a {:?} message instead of a schema", message.header_type()),
            )),
        }
    }

    /// Starts from a schema flatbuffer, as the footer of a file has it.
    pub(crate) fn from_schema(path: &Path, schema: arrow_ipc::Schema<'_>) -> Result<Self> {
        if !schema.endianness().equals_to_target_endianness() {
            return Err(Error::damaged(path, "its bytes are in the other order (big-endian) than this machine's"));
        }
        let schema = guard::decode(path, || Ok::<_, ArrowError>(fb_to_schema(schema)))?;
        Ok(Self { path: path.to_owned(), schema: Arc::new(schema), dictionaries: HashMap::new() })
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Takes one message: a record batch comes back, a dictionary is kept.
    pub(crate) fn message(&mut self, message: &[u8], body: &Buffer) -> Result<Option<RecordBatch>> {
        let message = parse(&self.path, message)?;
        match message.header_type() {
            MessageHeader::RecordBatch => {
                let Some(batch) = message.header_as_record_batch() else {
                    return Err(Error::damaged(&self.path, "a record batch message without a record batch"));
                };
                check_buffers(&self.path, batch, body)?;
                guard::decode(&self.path, || {
                    read_record_batch(body, batch, self.schema(), &self.dictionaries, None, &message.version())
                })
                .map(Some)
            }
            MessageHeader::DictionaryBatch => {
                let Some(dictionary) = message.header_as_dictionary_batch() else {
                    return Err(Error::damaged(&self.path, "a dictionary message without a dictionary"));
                };
                let Some(batch) = dictionary.data() else {
                    return Err(Error::damaged(&self.path, "a dictionary without values"));
                };
                check_buffers(&self.path, batch, body)?;
                let (schema, dictionaries) = (&self.schema, &mut self.dictionaries);
                guard::decode(&self.path, || {
                    read_dictionary(body, dictionary, schema, dictionaries, &message.version())
                })?;
                Ok(None)
            }
            other => Err(Error::damaged(&self.path, format!("unexpected message of kind {other:?}"))),
        }
    }
}

/// Verifies the flatbuffer of one message.
pub(crate) fn parse<'a>(path: &Path, message: &'a [u8]) -> Result<arrow_ipc::Message<'a>> {
    arrow_ipc::root_as_message(message).map_err(|e| Error::damaged(path, format!("a message is malformed: {e}")))
}

/// Checks what the decoder takes on trust: that every buffer lies within the body, and that a compressed buffer
/// does not claim a size its bytes cannot hold (the decoder allocates what is claimed).
fn check_buffers(path: &Path, batch: arrow_ipc::RecordBatch<'_>, body: &Buffer) -> Result<()> {
    let codec = batch.compression().map(|c| c.codec());
    // The densest block either codec knows: LZ4 extends a match by 255 per byte, a Zstandard run of up to
    // 128 KiB takes 4 bytes.
    let densest: i64 = match codec {
        Some(CompressionType::LZ4_FRAME) => 256,
        _ => 1 << 15,
    };
    for (i, buffer) in batch.buffers().into_iter().flatten().enumerate() {
        let range = usize::try_from(buffer.offset())
            .ok()
            .zip(usize::try_from(buffer.length()).ok())
            .and_then(|(offset, length)| Some(offset..offset.checked_add(length)?));
        let Some(bytes) = range.and_then(|range| body.get(range)) else {
            return Err(Error::damaged(
                path,
                format!(
                    "buffer {i} is said to be {} bytes at {} of a body of {} bytes",
                    buffer.length(),
                    buffer.offset(),
                    body.len()
                ),
            ));
        };
        if codec.is_some()
            && let Some((claim, data)) = bytes.split_first_chunk::<8>()
        {
            let claim = i64::from_le_bytes(*claim);
            // -1 says that the buffer is not compressed after all.
            if claim < -1 || claim > (data.len() as i64).saturating_add(64).saturating_mul(densest) {
                return Err(Error::damaged(
                    path,
                    format!("buffer {i} is said to hold {claim} bytes in {} compressed ones", data.len()),
                ));
            }
        }
    }
    for (i, node) in batch.nodes().into_iter().flatten().enumerate() {
        if node.length() < 0 || node.null_count() < 0 {
            return Err(Error::damaged(
                path,
                format!("array {i} is said to have {} rows and {} nulls", node.length(), node.null_count()),
            ));
        }
    }
    if batch.length() < 0 {
        return Err(Error::damaged(path, format!("a batch is said to have {} rows", batch.length())));
    }
    Ok(())
}
