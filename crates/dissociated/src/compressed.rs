//! Bodies whose buffers are compressed, made plain.

use std::io::{BufReader, Read};

use lz4_flex::frame::FrameDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;
use zstd::zstd_safe::{DCtx, ResetDirective};

use crate::{BatchHeader, Compression, Limits, ProtocolError, Result, Span};

/// Before each buffer: how long it is when plain, or -1 where it is plain already.
const PREFIX: u64 = 8;
/// Bytes that are decoded at a time.
const CHUNK: usize = 64 << 10;
/// Plain buffers begin at a multiple of this, which every type of column can do with.
const ALIGN: u64 = 64;

/// A compressed body that was looked at and can be decoded.
///
/// Nothing here takes memory for what a peer says a buffer will hold: the plain bytes come in pieces of at most 64 KiB, and
/// whoever takes them decides how to keep them. What is announced is checked first against what so few bytes can hold and
/// against [`Limits::max_decompressed`], and then against what comes.
///
/// ```
/// use arrowlane_dissociated::{BatchHeader, Compression, Decompression, Limits, ProtocolError, Span};
/// // One buffer, stored as it is: its length is -1.
/// let body = [&(-1i64).to_le_bytes()[..], b"plain"].concat();
/// let header = BatchHeader {
///     buffers: vec![Span { offset: 0, length: 13 }],
///     compression: Some(Compression::Zstd),
///     body_length: 16,
///     ..BatchHeader::default()
/// };
/// let plan = Decompression::plan(&header, &Limits::default(), |_| body[..8].try_into().unwrap())?.unwrap();
/// assert_eq!(plan.header().buffers, [Span { offset: 0, length: 5 }]);
/// let mut plain = vec![];
/// plan.run(|_| &body[..], |bytes| {
///     plain.extend_from_slice(bytes);
///     Ok::<_, ProtocolError>(())
/// })?;
/// assert_eq!(&plain[..5], b"plain");
/// # Ok::<_, ProtocolError>(())
/// ```
#[derive(Debug)]
pub struct Decompression {
    compression: Compression,
    plain: BatchHeader,
    /// Of each buffer: bytes behind its prefix, and whether they are plain.
    parts: Vec<(u64, bool)>,
}

impl Decompression {
    /// Looks at a header and at the first 8 bytes of each buffer that has any, which `prefix` is asked for by the buffer's
    /// index. `None` when the body is not compressed.
    ///
    /// # Errors
    /// A buffer too short for its prefix, a length below -1 or beyond what the bytes can hold, more than the limit in all.
    pub fn plan(
        header: &BatchHeader,
        limits: &Limits,
        mut prefix: impl FnMut(usize) -> [u8; 8],
    ) -> Result<Option<Self>> {
        let Some(compression) = header.compression else { return Ok(None) };
        let mut plain = BatchHeader { compression: None, body_length: 0, ..header.clone() };
        let mut parts = Vec::with_capacity(header.buffers.len());
        for (index, span) in plain.buffers.iter_mut().enumerate() {
            let (length, part) = match span.length {
                0 => (0, (0, true)),
                length => {
                    let rest = length
                        .checked_sub(PREFIX)
                        .ok_or_else(|| wrong(index, format!("{length} bytes, 8 say how long it is")))?;
                    match i64::from_le_bytes(prefix(index)) {
                        -1 => (rest, (rest, true)),
                        announced => (announced_length(index, announced, rest, compression)?, (rest, false)),
                    }
                }
            };
            Limits::check("length of a decompressed buffer", length, limits.max_decompressed)?;
            *span = Span { offset: plain.body_length, length };
            plain.body_length = plain.body_length.saturating_add(length.next_multiple_of(ALIGN));
            Limits::check("length of a decompressed body", plain.body_length, limits.max_decompressed)?;
            parts.push(part);
        }
        Ok(Some(Self { compression, plain, parts }))
    }

    /// The header of the plain body: each buffer at a multiple of 64, `body_length` bytes in all.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.plain
    }

    /// Decodes. `source` gives the bytes of a buffer, prefix included, from its start; it is asked once for each that has
    /// any, in order. `sink` takes the plain body, in order and padding included.
    ///
    /// The source is read once and in order, so that it may lie in memory that a peer still writes.
    ///
    /// # Errors
    /// Bytes that are not what the codec writes, or become fewer or more than was announced; whatever `sink` fails with.
    pub fn run<R: Read, E: From<ProtocolError>>(
        self,
        mut source: impl FnMut(usize) -> R,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<BatchHeader, E> {
        let mut chunk = vec![0; CHUNK];
        // Used for all buffers: it is large.
        let mut context = None;
        for (index, (span, (compressed, stored))) in self.plain.buffers.iter().zip(&self.parts).enumerate() {
            if *compressed == 0 && span.length == 0 {
                continue;
            }
            let mut from = source(index).take(PREFIX.saturating_add(*compressed));
            from.read_exact(&mut [0; PREFIX as usize]).map_err(|e| wrong(index, e.to_string()))?;
            let buffered = || BufReader::with_capacity(CHUNK.min(*compressed as usize), from);
            let mut out = Exactly { index, length: span.length, chunk: &mut chunk };
            match (stored, self.compression) {
                (true, _) => out.pass(&mut buffered(), &mut sink)?,
                (false, Compression::Lz4Frame) => out.pass(&mut FrameDecoder::new(buffered()), &mut sink)?,
                (false, Compression::Zstd) => {
                    let context = context.get_or_insert_with(DCtx::create);
                    context
                        .reset(ResetDirective::SessionOnly)
                        .map_err(|_| wrong(index, "the decoder cannot begin anew".into()))?;
                    out.pass(&mut ZstdDecoder::with_context(buffered(), context), &mut sink)?;
                }
            }
            let padding = (span.length.next_multiple_of(ALIGN) - span.length) as usize;
            sink(&[0; ALIGN as usize][..padding])?;
        }
        Ok(self.plain)
    }
}

/// Passes on what a decoder gives, which has to be so many bytes.
struct Exactly<'c> {
    index: usize,
    length: u64,
    chunk: &'c mut [u8],
}

impl Exactly<'_> {
    fn pass<E: From<ProtocolError>>(
        &mut self,
        decoder: &mut dyn Read,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut missing = self.length;
        loop {
            // One byte more than is wanted shows what goes on beyond it, and lets the decoder see its end and checksum.
            let room = missing.saturating_add(1).min(self.chunk.len() as u64) as usize;
            let read = decoder.read(&mut self.chunk[..room]).map_err(|e| wrong(self.index, e.to_string()))?;
            match (read, missing.checked_sub(read as u64)) {
                (0, Some(0)) => return Ok(()),
                (0, _) => {
                    let detail =
                        format!("{} bytes came out of it, {} were announced", self.length - missing, self.length);
                    return Err(wrong(self.index, detail).into());
                }
                (_, None) => {
                    return Err(
                        wrong(self.index, format!("more came out of it than the {} announced", self.length)).into()
                    );
                }
                (_, Some(rest)) => {
                    sink(&self.chunk[..read])?;
                    missing = rest;
                }
            }
        }
    }
}

/// What a buffer will hold, unless so few bytes cannot.
fn announced_length(index: usize, announced: i64, compressed: u64, compression: Compression) -> Result<u64> {
    // The densest either codec knows: LZ4 extends a match by 255 a byte, and a run of up to 128 KiB takes Zstandard 4 bytes.
    let densest: u64 = match compression {
        Compression::Lz4Frame => 256,
        Compression::Zstd => 1 << 15,
    };
    let most = compressed.saturating_add(64).saturating_mul(densest);
    u64::try_from(announced)
        .ok()
        .filter(|length| *length <= most)
        .ok_or_else(|| wrong(index, format!("it is said to hold {announced} bytes in {compressed} compressed ones")))
}

fn wrong(index: usize, detail: String) -> ProtocolError {
    ProtocolError::malformed("compressed body", format!("buffer {index}: {detail}"))
}

#[cfg(test)]
mod tests;
