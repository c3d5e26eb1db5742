//! Where IPC messages come from: a file with a footer, or a stream without one.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_ipc::Block;
use arrow_schema::SchemaRef;

use crate::error::{Error, Result};
use crate::ipc_decode::{Decoder, parse};

/// The first and last bytes of an IPC file.
pub(crate) const MAGIC: &[u8; 6] = b"ARROW1";
/// What stands before the length of every message since Arrow 0.15.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// How much is allocated on a length's word alone, where the rest of the input is not known.
const FIRST_STEP: usize = 4 << 20;

/// Reads exactly `length` bytes, and never allocates much more than really arrives.
fn read_buffer(path: &Path, input: &mut impl Read, length: u64, available: Option<u64>) -> Result<MutableBuffer> {
    let too_long = || Error::damaged(path, format!("it ends within a message that says {length} more bytes follow"));
    let Ok(length) = usize::try_from(length) else { return Err(too_long()) };
    let mut step = match available {
        Some(available) if length as u64 > available => return Err(too_long()),
        Some(_) => length,
        None => length.min(FIRST_STEP),
    };
    let mut buffer = MutableBuffer::with_capacity(step);
    while buffer.len() < length {
        let start = buffer.len();
        buffer.resize(start + step, 0);
        input.read_exact(&mut buffer.as_slice_mut()[start..]).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => too_long(),
            _ => Error::io("read", path, e),
        })?;
        // What has arrived is the measure of what may be asked for next.
        step = buffer.len().min(length - buffer.len());
    }
    Ok(buffer)
}

/// The length a message says its body has.
fn body_length(path: &Path, message: &[u8]) -> Result<u64> {
    let length = parse(path, message)?.bodyLength();
    u64::try_from(length).map_err(|_| Error::damaged(path, format!("a body is said to be {length} bytes long")))
}

/// An IPC stream: messages one after the other from a file or a pipe.
pub(crate) struct StreamSource {
    path: PathBuf,
    input: Box<dyn Read + Send>,
    /// Length of the input where it is known; no message is longer.
    available: Option<u64>,
    decoder: Decoder,
    finished: bool,
}

impl StreamSource {
    /// Reads the schema message.
    pub(crate) fn open(path: &Path, mut input: Box<dyn Read + Send>, available: Option<u64>) -> Result<Self> {
        let Some(message) = next_message(path, &mut input, available)? else {
            return Err(Error::damaged(path, "it ends before its schema"));
        };
        let decoder = Decoder::from_message(path, &message)?;
        // A schema message has no body; one that says so is read over.
        let length = body_length(path, &message)?;
        read_buffer(path, &mut input, length, available)?;
        Ok(Self { path: path.to_owned(), input, available, decoder, finished: false })
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.decoder.schema()
    }

    /// The next batch; None at the end-of-stream marker or where the input ends between two messages.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>> {
        while !self.finished {
            let Some(message) = next_message(&self.path, &mut self.input, self.available)? else {
                self.finished = true;
                break;
            };
            let length = body_length(&self.path, &message)?;
            let body = read_buffer(&self.path, &mut self.input, length, self.available)?;
            if let Some(batch) = self.decoder.message(&message, &body.into())? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

/// The flatbuffer of the next message, or None at the end.
fn next_message(path: &Path, input: &mut impl Read, available: Option<u64>) -> Result<Option<Buffer>> {
    let mut prefix = [0; 4];
    let mut have = 0;
    while have < prefix.len() {
        match input.read(&mut prefix[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(Error::damaged(path, "it ends within the length of a message")),
            Ok(n) => have += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("read", path, e)),
        }
    }
    if prefix == CONTINUATION {
        let length = read_buffer(path, input, 4, None)?;
        prefix.copy_from_slice(&length);
    }
    match i32::from_le_bytes(prefix) {
        0 => Ok(None),
        length if length > 0 => {
            read_buffer(path, input, u64::from(length.unsigned_abs()), available).map(|b| Some(b.into()))
        }
        length => Err(Error::damaged(path, format!("a message is said to be {length} bytes long"))),
    }
}

/// Whether bytes are the beginning of an IPC stream (16 bytes are enough to be sure of a modern one).
pub(crate) fn looks_like_stream(start: &[u8]) -> bool {
    let Some((prefix, rest)) = start.split_first_chunk::<4>() else { return false };
    if *prefix == CONTINUATION {
        return true;
    }
    // Before Arrow 0.15 there was only the length: believe it where the flatbuffer's own first offset fits too.
    let length = i32::from_le_bytes(*prefix);
    let root = rest.first_chunk::<4>().map(|root| u32::from_le_bytes(*root));
    (16..1 << 24).contains(&length) && length % 8 == 0 && root.is_some_and(|root| (4..64).contains(&root))
}

/// An IPC file: batches found through the footer.
pub(crate) struct FileSource {
    path: PathBuf,
    file: File,
    length: u64,
    decoder: Decoder,
    blocks: Vec<Block>,
    next: usize,
}

impl FileSource {
    /// Reads the footer and all dictionaries.
    pub(crate) fn open(path: &Path, mut file: File, length: u64) -> Result<Self> {
        // Magic and padding in front; the footer's length and the magic at the end.
        let end = length.checked_sub(10).filter(|end| *end >= 8);
        let Some(end) = end else { return Err(Error::damaged(path, "it is too short for an IPC file")) };
        let tail = read_at(path, &mut file, end, 10)?;
        let (footer_length, magic) = tail.split_at(4);
        if magic != MAGIC {
            return Err(Error::damaged(path, "the footer is missing: the file was not finished or was cut short"));
        }
        // The four bytes were split off just above.
        let footer_length = footer_length.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let Some(start) = end.checked_sub(footer_length).filter(|start| *start >= 8) else {
            return Err(Error::damaged(path, format!("its footer is said to be {footer_length} bytes long")));
        };
        let footer = read_at(path, &mut file, start, footer_length)?;
        let footer = arrow_ipc::root_as_footer(&footer)
            .map_err(|e| Error::damaged(path, format!("its footer is malformed: {e}")))?;
        let Some(schema) = footer.schema() else { return Err(Error::damaged(path, "its footer has no schema")) };
        let mut source = Self {
            path: path.to_owned(),
            file,
            length,
            decoder: Decoder::from_schema(path, schema)?,
            blocks: footer.recordBatches().into_iter().flatten().copied().collect(),
            next: 0,
        };
        for block in footer.dictionaries().into_iter().flatten() {
            source.block(block)?;
        }
        Ok(source)
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.decoder.schema()
    }

    /// The next batch, in the order of the footer.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(block) = self.blocks.get(self.next).copied() {
            self.next += 1;
            if let Some(batch) = self.block(&block)? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Rows of all batches, from their headers alone; None where one cannot be read.
    pub(crate) fn rows(&self) -> Option<u64> {
        let mut file = &self.file;
        let mut rows = 0u64;
        for block in &self.blocks {
            let message = self.header(&mut file, block).ok()?;
            let batch = parse(&self.path, &message).ok()?.header_as_record_batch()?;
            rows = rows.checked_add(u64::try_from(batch.length()).ok()?)?;
        }
        Some(rows)
    }

    fn block(&mut self, block: &Block) -> Result<Option<RecordBatch>> {
        let message = self.header(&mut &self.file, block)?;
        let length = u64::try_from(block.bodyLength()).unwrap_or(u64::MAX);
        // header() has checked that this sum lies within the file.
        let start = block.offset().unsigned_abs() + u64::from(block.metaDataLength().unsigned_abs());
        if length > self.length - start {
            return Err(Error::damaged(
                &self.path,
                format!("a body of {length} bytes at {start} reaches past its end"),
            ));
        }
        let body = read_at(&self.path, &mut self.file, start, length)?;
        self.decoder.message(&message, &body.into())
    }

    /// The flatbuffer of a block's message.
    fn header(&self, file: &mut &File, block: &Block) -> Result<Buffer> {
        let range = u64::try_from(block.offset()).ok().zip(u64::try_from(block.metaDataLength()).ok());
        let Some((start, length)) =
            range.filter(|(start, length)| start.checked_add(*length).is_some_and(|end| end <= self.length))
        else {
            return Err(Error::damaged(
                &self.path,
                format!("a header of {} bytes at {} lies outside it", block.metaDataLength(), block.offset()),
            ));
        };
        let header: Buffer = read_at(&self.path, file, start, length)?.into();
        let prefix = if header.starts_with(&CONTINUATION) { 8 } else { 4 };
        if header.len() < prefix {
            return Err(Error::damaged(&self.path, format!("a header of {} bytes", header.len())));
        }
        Ok(header.slice(prefix))
    }
}

fn read_at(path: &Path, file: &mut (impl Read + Seek), start: u64, length: u64) -> Result<MutableBuffer> {
    file.seek(SeekFrom::Start(start)).map_err(|e| Error::io("read", path, e))?;
    // Every caller has compared the range with the file's length.
    read_buffer(path, file, length, Some(length))
}
