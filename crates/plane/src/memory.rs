//! Where the bytes of an outgoing batch are: in a block of its publisher's, or where they were received.

use std::sync::Arc;

use arrowlane_dissociated::{BatchHeader, Pair};
use arrowlane_memory::{Block, shared::Mapping};

use crate::Body;

/// What keeps the bytes of an outgoing batch or dictionary. Cloning shares it; the last clone lets go of them.
#[derive(Clone)]
pub enum Memory {
    /// They lie in a block of the publisher's pool.
    Block(Arc<Block>),
    /// They lie where they were received, and go on from there.
    Relayed(Arc<Relayed>),
}

/// A received body on its way to somebody else. The lease over it ends when this is dropped, unless somebody in this
/// process holds the body as well.
pub struct Relayed {
    pub(crate) body: Arc<Body>,
    /// Where each buffer of the header lies in this process, and its length.
    pub(crate) buffers: Vec<(usize, usize)>,
    /// One per buffer of the header; 0 for empty ones.
    pub(crate) addresses: Vec<u64>,
    /// The sum of the buffers' lengths.
    pub(crate) bytes: u64,
    /// What the addresses lie in.
    pub(crate) segments: Vec<Arc<RelayedSegment>>,
}

/// Somebody else's segment under the number that one publisher gave it.
pub(crate) struct RelayedSegment {
    pub(crate) number: u16,
    pub(crate) mapping: Arc<Mapping>,
}

impl Memory {
    /// The block, when the bytes lie in one of the publisher's own.
    pub fn block(&self) -> Option<&Arc<Block>> {
        match self {
            Self::Block(block) => Some(block),
            Self::Relayed(_) => None,
        }
    }

    /// How many bytes a subscriber holds of it.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Block(block) => block.len() as u64,
            Self::Relayed(relayed) => relayed.bytes,
        }
    }

    /// Bytes of a block. `None` when not all of them lie in one.
    pub(crate) fn bytes(&self, offset: usize, length: usize) -> Option<&[u8]> {
        let block = self.block()?;
        if offset.checked_add(length).is_none_or(|end| end > block.capacity()) {
            return None;
        }
        // SAFETY: the span was checked to lie in the block, which `self` keeps. Every byte of a pool's segment was written when
        // it was made, and a block is not written any more once it was given away to be sent: the writer's buffers were
        // detached before (`node`), and `pack` had filled it.
        Some(unsafe { std::slice::from_raw_parts(block.as_ptr().as_ptr().add(offset), length) })
    }

    pub(crate) fn is_relayed(&self) -> bool {
        matches!(self, Self::Relayed(_))
    }
}

/// The (address, length) pairs of a body, one per buffer.
pub(crate) fn pairs(header: &BatchHeader, memory: Option<&Memory>) -> Vec<Pair> {
    let address = |index: usize, offset: u64| match memory {
        None => 0,
        Some(Memory::Block(block)) => block.address() + offset,
        Some(Memory::Relayed(relayed)) => relayed.addresses.get(index).copied().unwrap_or(0),
    };
    let pair = |(index, span): (usize, &arrowlane_dissociated::Span)| match span.length {
        0 => Pair { address: 0, length: 0 },
        length => Pair { address: address(index, span.offset), length },
    };
    header.buffers.iter().enumerate().map(pair).collect()
}
