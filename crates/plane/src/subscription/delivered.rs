//! How much an application lets wait.

use std::collections::VecDeque;

use arrowlane_dissociated::ProtocolError;

use crate::publisher::MAX_QUEUED_BATCHES;

/// So many batches, and so many bytes of this process's for them, may wait for the application, whatever the publisher's
/// queue is.
const MAX_DELIVERED: usize = MAX_QUEUED_BATCHES;
const MAX_DELIVERED_COST: u64 = 1 << 30;

/// Batches, and bytes of their bodies, that may wait of a server that knows no credits.
const MUCH: (usize, u64) = (64, 64 << 20);

/// Batches that were delivered and not yet taken by the application. An honest publisher stops at its queue's bound; this
/// is what stops another one.
#[derive(Default)]
pub(super) struct Delivered {
    /// Bytes of each as the publisher counts them, and what each takes in this process (lent memory is the publisher's):
    /// its description, and its body.
    batches: VecDeque<(u64, (u64, u64))>,
    cost: u64,
    bodies: u64,
}

impl Delivered {
    /// `queue` has the bytes that this subscriber was granted.
    pub(super) fn add(&mut self, bytes: u64, cost: (u64, u64), queue: u64) -> Result<(), ProtocolError> {
        self.batches.push_back((bytes, cost));
        self.cost += cost.0;
        self.bodies += cost.1;
        let limit =
            |what, value, limit| if value > limit { Err(ProtocolError::Limit { what, value, limit }) } else { Ok(()) };
        limit("number of batches sent and not taken", self.batches.len() as u64, MAX_DELIVERED as u64)?;
        limit("bytes of batches sent and not taken", self.cost, MAX_DELIVERED_COST)?;
        // One of any size is what every queue takes.
        let bodies = if self.bodies == cost.1 { 0 } else { self.bodies };
        limit("bytes of bodies sent and not taken", bodies, MAX_DELIVERED_COST.max(queue))
    }

    /// More waits than a server may send that hears of no credits: nothing is read until less does.
    pub(super) fn is_much(&self) -> bool {
        self.batches.len() >= MUCH.0 || self.batches.len() > 1 && self.bodies >= MUCH.1
    }

    /// Little enough to read on.
    pub(super) fn is_little(&self) -> bool {
        self.batches.len() <= MUCH.0 / 2 && (self.batches.len() <= 1 || self.bodies <= MUCH.1 / 2)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.batches.len()
    }

    pub(super) fn take(&mut self) -> Option<u64> {
        let (bytes, cost) = self.batches.pop_front()?;
        self.cost -= cost.0;
        self.bodies -= cost.1;
        Some(bytes)
    }
}
