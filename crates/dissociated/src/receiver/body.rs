//! A body as it arrived.

use bytes::Bytes;

use crate::{BatchHeader, Pair, ProtocolError, Result};

/// Where the buffers of a message are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceivedBody {
    /// The message has no bytes: every buffer is empty.
    None,
    /// The packed bytes.
    Packed(Bytes),
    /// Addresses to be read and then freed.
    Pairs {
        /// What the sender says the lengths add up to: advice, never a size to allocate.
        total: u64,
        /// As received: one per buffer, one per non-empty buffer, or one for the whole body.
        pairs: Vec<Pair>,
    },
}

impl ReceivedBody {
    /// Bytes that travelled or are read in place; what `consumed` counts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Packed(bytes) => bytes.len() as u64,
            // Decoding made sure that the sum fits.
            Self::Pairs { pairs, .. } => pairs.iter().map(|p| p.length).sum(),
        }
    }

    /// The pairs that must be freed, in the order received; none unless the body is pairs.
    pub fn held_pairs(&self) -> impl Iterator<Item = &Pair> {
        let pairs: &[Pair] = match self {
            Self::Pairs { pairs, .. } => pairs,
            _ => &[],
        };
        pairs.iter().filter(|pair| pair.length > 0)
    }

    /// For each buffer of `header`, the address and length to read, or None for an empty one.
    ///
    /// Pairs are read liberally: one per buffer, one per non-empty buffer, or one that holds the packed body. Each must
    /// be at least as long as its buffer; what is handed out is exactly as long. For a packed body the "address" is the
    /// offset in its bytes.
    ///
    /// # Errors
    /// A number of pairs that fits no reading, a pair shorter than its buffer, an address range that overflows.
    pub fn spans(&self, header: &BatchHeader) -> Result<Vec<Option<(u64, u64)>>> {
        let buffers = &header.buffers;
        let filled = || buffers.iter().filter(|b| b.length > 0);
        match self {
            Self::None => match filled().next() {
                None => Ok(vec![None; buffers.len()]),
                Some(_) => Err(ProtocolError::layout("body", "the header has buffers, but there is no body")),
            },
            Self::Packed(bytes) => buffers.iter().map(|b| part(0, bytes.len() as u64, b.offset, b.length)).collect(),
            Self::Pairs { pairs, .. } if pairs.len() == buffers.len() => {
                buffers.iter().zip(pairs).map(|(b, pair)| part(pair.address, pair.length, 0, b.length)).collect()
            }
            Self::Pairs { pairs, .. } if pairs.len() == filled().count() => {
                let mut pairs = pairs.iter();
                buffers
                    .iter()
                    .map(|b| match b.length {
                        0 => Ok(None),
                        length => pairs.next().map_or(Ok(None), |p| part(p.address, p.length, 0, length)),
                    })
                    .collect()
            }
            Self::Pairs { pairs, .. } if pairs.len() == 1 => {
                let whole = pairs[0];
                if whole.length < header.body_length {
                    return Err(ProtocolError::layout(
                        "body",
                        format!("one pair of {} bytes, the body has {}", whole.length, header.body_length),
                    ));
                }
                buffers.iter().map(|b| part(whole.address, whole.length, b.offset, b.length)).collect()
            }
            Self::Pairs { pairs, .. } => Err(ProtocolError::layout(
                "body",
                format!("{} pairs for {} buffers, {} of them not empty", pairs.len(), buffers.len(), filled().count()),
            )),
        }
    }

    /// An error when a packed body is shorter than its header says.
    pub(super) fn check(&self, body_length: u64) -> Result<()> {
        match self {
            Self::Packed(bytes) if (bytes.len() as u64) < body_length => {
                Err(ProtocolError::Length { what: "packed body", expected: body_length, got: bytes.len() as u64 })
            }
            _ => Ok(()),
        }
    }

    /// Bytes that this side holds.
    pub(super) fn packed_bytes(&self) -> u64 {
        match self {
            Self::Packed(bytes) => bytes.len() as u64,
            _ => 0,
        }
    }
}

/// `length` bytes at `offset` of a range, None when there are none.
fn part(base: u64, available: u64, offset: u64, length: u64) -> Result<Option<(u64, u64)>> {
    if length == 0 {
        return Ok(None);
    }
    let inside = offset.checked_add(length).is_some_and(|end| end <= available);
    match base.checked_add(available) {
        Some(_) if inside => Ok(Some((base + offset, length))),
        _ => Err(ProtocolError::layout(
            "body",
            format!("a buffer of {length} bytes at {offset} does not fit a range of {available} bytes at {base:#x}"),
        )),
    }
}
