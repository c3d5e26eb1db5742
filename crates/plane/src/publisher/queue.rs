//! Batches that wait in the publisher for a subscriber that may lose some.
//!
//! What was handed to a subscriber's socket cannot be taken back. So `drop-oldest` hands over half of the queue at most
//! and keeps the other half here, where the oldest can still be dropped. Dropping happens before a batch gets its number
//! and before the dictionaries that it needs are looked at ([`Connection::send`](super::connection::Connection)), so
//! numbers have no gaps and no later batch misses a dictionary.

use std::{cell::OnceCell, collections::VecDeque, sync::Arc};

use arrowlane_dissociated::Pair;

use super::{Queue, connection::Message};
use crate::Outgoing;

/// A batch that is kept: encoded, and with its memory.
pub(super) struct Parked {
    out: Outgoing,
    pairs: Vec<Pair>,
    flatbuffer: Vec<u8>,
}

impl Parked {
    /// A batch that outlives the call that sends it.
    pub(super) fn new(message: &Message<'_>) -> Self {
        let Message { out, pairs, flatbuffer, .. } = message;
        let out = Outgoing {
            schema: Arc::clone(&out.schema),
            header: out.header.clone(),
            memory: out.memory.clone(),
            metadata: out.metadata.clone(),
            dictionaries: out.dictionaries.clone(),
        };
        Self { out, pairs: pairs.to_vec(), flatbuffer: flatbuffer.to_vec() }
    }

    /// As it was when it was sent.
    pub(super) fn message<'a>(&'a self, schema: &'a [u8], parked: &'a OnceCell<Arc<Self>>) -> Message<'a> {
        Message { out: &self.out, pairs: &self.pairs, flatbuffer: &self.flatbuffer, schema, parked }
    }

    /// Bytes of its body.
    pub(super) fn bytes(&self) -> u64 {
        self.out.header.body_length
    }
}

/// The part of one subscriber's queue that can still be dropped, oldest first.
#[derive(Default)]
pub(super) struct Backlog {
    batches: VecDeque<Arc<Parked>>,
    bytes: u64,
}

impl Backlog {
    /// Appends a batch and drops the oldest until all are within `bound`; the newest always stays. Returns how many were dropped.
    pub(super) fn push(&mut self, batch: Arc<Parked>, bound: &Queue) -> u64 {
        self.bytes += batch.bytes();
        self.batches.push_back(batch);
        let mut dropped = 0;
        while self.batches.len() > 1 && (self.batches.len() > bound.batches || self.bytes > bound.bytes) {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    pub(super) fn pop(&mut self) -> Option<Arc<Parked>> {
        let oldest = self.batches.pop_front()?;
        self.bytes -= oldest.bytes();
        Some(oldest)
    }

    /// Bytes of the oldest.
    pub(super) fn next(&self) -> Option<u64> {
        self.batches.front().map(|batch| batch.bytes())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    pub(super) fn clear(&mut self) {
        self.batches.clear();
        self.bytes = 0;
    }
}

/// How a `drop-oldest` queue is split: what may be under way, and what may wait here. Each takes one batch of any size.
pub(super) fn halves(queue: &Queue) -> (Queue, Queue) {
    let batches = (queue.batches / 2).max(1);
    let bytes = queue.bytes / 2;
    let rest = queue.batches.saturating_sub(batches).max(1);
    (Queue { batches, bytes }, Queue { batches: rest, bytes: queue.bytes - bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_together_are_the_queue() {
        for batches in 2..100 {
            let (flight, rest) = halves(&Queue { batches, bytes: 1001 });
            assert_eq!((flight.batches + rest.batches, flight.bytes + rest.bytes), (batches, 1001));
            assert!(flight.batches > 0 && rest.batches >= flight.batches);
        }
    }
}
