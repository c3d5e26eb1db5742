//! Whether a publisher lends its memory or sends what is in it, and how a body is sent.
//!
//! This is the one place where that is decided: once for each publisher, when it is prepared. Where processes can share
//! memory, subscribers are lent it. Elsewhere the publisher's memory is its own, and bodies travel through the socket, from
//! where they lie into the subscriber's memory.

use std::sync::Arc;

use arrow_buffer::Buffer;
use arrowlane_dissociated::{BatchHeader, ProtocolError, Span};
use arrowlane_memory::{DEFAULT_SEGMENT, Kind, MemoryError, PoolConfig, shared};
use bytes::Bytes;

use super::ledger::Lent;
use crate::{Memory, PlaneError, outgoing::ALIGN};

/// Says which memory publishers of this process use, for finding out what is wrong: `heap`, or `shared`.
const VARIABLE: &str = "ARROWLANE_MEMORY";
/// The smallest segment of a pool that nobody maps: taking it costs time, and few of them are enough for all sizes.
const HEAP_SEGMENT: u64 = 8 << 20;

/// How bodies reach subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lending {
    /// They are lent: subscribers read them in memory that both processes share.
    Lent,
    /// They are sent inside their messages: copied into the socket, and out of it.
    Inline {
        /// Why they are not lent.
        reason: String,
    },
}

impl Lending {
    /// What publishers of this process do from now on. Tries shared memory: not for an event loop.
    ///
    /// # Errors
    /// When shared memory is there and could not be had now, or was asked for and is not there; when the variable has another
    /// value.
    pub fn of_this_process() -> Result<Self, PlaneError> {
        Self::choose(std::env::var(VARIABLE).ok().as_deref(), || shared::probe().map(drop))
    }

    fn choose(asked: Option<&str>, probe: impl FnOnce() -> Result<(), MemoryError>) -> Result<Self, PlaneError> {
        match asked {
            Some("heap") => Ok(Self::Inline { reason: format!("{VARIABLE}=heap says so") }),
            Some("shared") => probe().map(|()| Self::Lent).map_err(PlaneError::from),
            None | Some("") => match probe() {
                Ok(()) => Ok(Self::Lent),
                Err(error) if is_missing(&error) => Ok(Self::Inline { reason: error.to_string() }),
                // It is there: being short of it for a moment must not change what subscribers get.
                Err(error) => Err(error.into()),
            },
            Some(other) => Err(PlaneError::Setting(format!("{VARIABLE} must be heap or shared, not {other:?}"))),
        }
    }

    /// Whether bodies are copied on their way.
    pub fn copies(&self) -> bool {
        matches!(self, Self::Inline { .. })
    }

    /// Why a publisher or subscription that must not copy cannot be had.
    pub(super) fn refusal(&self) -> Option<PlaneError> {
        let Self::Inline { reason } = self else { return None };
        Some(PlaneError::CopyRequired(format!(
            "batches would be copied through a socket here ({reason}): publish without strictZeroCopy, or where memory can be shared"
        )))
    }

    pub(super) fn pool(&self, limit: u64) -> PoolConfig {
        let (kind, segment) = match self {
            Self::Lent => (Kind::Shared, DEFAULT_SEGMENT),
            Self::Inline { .. } => (Kind::Heap, HEAP_SEGMENT),
        };
        PoolConfig { kind, limit, segment, ..PoolConfig::default() }
    }
}

/// Whether this system has no shared memory, as opposed to being short of it.
fn is_missing(error: &MemoryError) -> bool {
    use std::io::ErrorKind;
    match error {
        MemoryError::Unsupported { .. } => true,
        // A system that is too old says that it does not know the call or its flags; a sandbox, that it must not be made.
        MemoryError::Io { source, .. } => {
            matches!(source.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput | ErrorKind::PermissionDenied)
        }
        _ => false,
    }
}

/// Zeros between the buffers of a body.
pub(super) static PADDING: [u8; ALIGN] = [0; ALIGN];

/// The header as subscribers get it: the buffers one behind the other, each at a multiple of 64. So they are sent; what lies
/// between them in their block is not. Where they are lent, their addresses say where they are.
pub(super) fn packed_header(header: &BatchHeader) -> BatchHeader {
    let mut end = 0;
    let mut place = |span: &Span| {
        let offset = end;
        end += span.length.next_multiple_of(ALIGN as u64);
        Span { offset, length: span.length }
    };
    let buffers = header.buffers.iter().map(&mut place).collect();
    BatchHeader { buffers, body_length: end, ..header.clone() }
}

/// The bytes of a body as [`packed_header`] describes them, none of them copied: they keep what was lent.
///
/// # Errors
/// When a buffer does not lie in the body's memory.
pub(super) fn parts(header: &BatchHeader, lent: &Lent) -> Result<Vec<Bytes>, ProtocolError> {
    let mut parts = Vec::with_capacity(2 * header.buffers.len());
    for span in header.buffers.iter().filter(|span| span.length > 0) {
        let outside = || ProtocolError::Layout { what: "body", detail: "a buffer lies outside its memory".into() };
        let buffer = lent.buffer(span).ok_or_else(outside)?;
        let length = span.length as usize;
        parts.push(Bytes::from_owner(buffer));
        match length.next_multiple_of(ALIGN) - length {
            0 => {}
            missing => parts.push(Bytes::from_static(&PADDING[..missing])),
        }
    }
    Ok(parts)
}

/// A body for whoever is not a subscriber: its header as it is sent, and its bytes as [`parts`] gives them.
pub(crate) fn bytes_of(
    header: &BatchHeader,
    memory: Option<&Memory>,
) -> Result<(BatchHeader, Vec<Bytes>), ProtocolError> {
    let parts = match memory {
        Some(memory) => parts(header, &Lent::new(memory, &Arc::default(), None, None))?,
        None => Vec::new(),
    };
    Ok((packed_header(header), parts))
}

/// The buffers of a body as arrow-rs has them, none of them copied.
pub(crate) fn buffers_of(header: &BatchHeader, memory: Option<&Memory>) -> Result<Vec<Buffer>, ProtocolError> {
    let lent = memory.map(|memory| Lent::new(memory, &Arc::default(), None, None));
    let buffer = |span: &Span| match &lent {
        Some(lent) if span.length > 0 => {
            let outside = || ProtocolError::Layout { what: "body", detail: "a buffer lies outside its memory".into() };
            lent.buffer(span).map(|buffer| Buffer::from(Bytes::from_owner(buffer))).ok_or_else(outside)
        }
        _ => Ok(Buffer::from(Vec::<u8>::new())),
    };
    header.buffers.iter().map(buffer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_lent_where_it_can_be_shared_and_sent_only_where_it_never_can() {
        let missing = || Err(MemoryError::Unsupported { what: "shared memory (memfd)" });
        let short =
            || Err(MemoryError::OutOfMemory { requested: 1, limit: 0, which: arrowlane_memory::Limit::Available });
        assert_eq!(Lending::choose(None, || Ok(())).unwrap(), Lending::Lent);
        assert!(Lending::choose(None, missing).unwrap().copies());
        assert!(Lending::choose(None, short).is_err(), "being short of memory is no reason to copy");
        assert!(Lending::choose(Some("heap"), || Ok(())).unwrap().copies());
        assert!(Lending::choose(Some("shared"), missing).is_err());
        assert!(matches!(Lending::choose(Some("disk"), || Ok(())), Err(PlaneError::Setting(_))));
    }

    #[test]
    fn buffers_are_packed_in_their_order_whatever_lies_between_them() {
        let span = |offset, length| Span { offset, length };
        let buffers = vec![span(4096, 10), span(0, 0), span(0, 128), span(4096, 10)];
        let header = BatchHeader { buffers, body_length: 8192, ..BatchHeader::default() };
        let packed = packed_header(&header);
        assert_eq!(packed.buffers, [span(0, 10), span(64, 0), span(64, 128), span(192, 10)]);
        assert_eq!(packed.body_length, 256);
    }
}
