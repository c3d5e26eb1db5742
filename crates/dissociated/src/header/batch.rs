//! Batch headers.

use arrow_ipc::{BodyCompressionMethod, CompressionType, RecordBatch};

use super::{BatchHeader, Compression, FieldNode, Span, unsigned};
use crate::{Limits, ProtocolError, Result};

/// Copies a verified table, refusing negative numbers, counts above the limits and buffers outside the body.
pub(super) fn batch(table: RecordBatch<'_>, body_length: u64, limits: &Limits) -> Result<BatchHeader> {
    Limits::check("bodyLength", body_length, limits.max_body)?;
    let nodes = table.nodes();
    let buffers = table.buffers();
    let variadic = table.variadicBufferCounts();
    let count = |n: usize, what, limit: usize| Limits::check(what, n as u64, limit as u64);
    count(nodes.map_or(0, |v| v.len()), "number of field nodes", limits.max_fields)?;
    count(buffers.map_or(0, |v| v.len()), "number of buffers", limits.max_pairs)?;
    count(variadic.map_or(0, |v| v.len()), "number of variadic counts", limits.max_fields)?;

    let nodes = gather(nodes.map_or(0, |v| v.len()), nodes.into_iter().flatten(), |node| {
        let length = unsigned("length of a field node", node.length())?;
        let null_count = unsigned("null count of a field node", node.null_count())?;
        if null_count > length {
            return Err(ProtocolError::malformed("field node", format!("{null_count} nulls among {length} values")));
        }
        Ok(FieldNode { length, null_count })
    })?;
    let buffers = gather(buffers.map_or(0, |v| v.len()), buffers.into_iter().flatten(), |buffer| {
        let offset = unsigned("offset of a buffer", buffer.offset())?;
        let length = unsigned("length of a buffer", buffer.length())?;
        if offset.checked_add(length).is_none_or(|end| end > body_length) {
            return Err(ProtocolError::malformed(
                "buffer",
                format!("{length} bytes at {offset} lie outside a body of {body_length}"),
            ));
        }
        Ok(Span { offset, length })
    })?;
    let variadic = gather(variadic.map_or(0, |v| v.len()), variadic.into_iter().flatten(), |count| {
        unsigned("variadic buffer count", count)
    })?;
    let compression = match table.compression() {
        None => None,
        Some(c) if c.method() != BodyCompressionMethod::BUFFER => {
            return Err(ProtocolError::Unsupported(format!("body compression method {:?}", c.method())));
        }
        Some(c) => Some(match c.codec() {
            CompressionType::LZ4_FRAME => Compression::Lz4Frame,
            CompressionType::ZSTD => Compression::Zstd,
            other => {
                return Err(ProtocolError::Unsupported(format!("compression codec {other:?}")));
            }
        }),
    };
    Ok(BatchHeader {
        rows: unsigned("number of rows", table.length())?,
        nodes,
        buffers,
        variadic,
        compression,
        body_length,
    })
}

/// Collects with one allocation; collecting results forgets how many there are. The counts were checked.
fn gather<I, O>(count: usize, items: impl Iterator<Item = I>, convert: impl Fn(I) -> Result<O>) -> Result<Vec<O>> {
    let mut all = Vec::with_capacity(count);
    for item in items {
        all.push(convert(item)?);
    }
    Ok(all)
}
