//! How a publisher behaves, and what it says of itself.

use std::time::Duration;

use super::{
    MAX_QUEUED_BATCHES,
    policy::{Overflow, Permits, Policy},
};

/// How much one subscriber may lag behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queue {
    /// Batches sent and not yet taken.
    pub batches: usize,
    /// Their bytes. One batch always fits.
    pub bytes: u64,
}

/// How a publisher behaves.
#[derive(Debug, Clone)]
pub struct PublisherOptions {
    /// Limit of its pool in bytes.
    pub memory: u64,
    /// Bound per subscriber, where it asks for no other.
    pub queue: Queue,
    /// What happens when a subscriber's queue is full, where it asks for nothing else.
    pub overflow: Overflow,
    /// What subscribers may ask for. With [`last`](Permits::last), the latest batch is kept for them.
    pub permits: Permits,
    /// A subscriber that holds something (or has a full queue) and frees nothing for so long is evicted.
    pub evict_after: Option<Duration>,
    /// [`Publisher::try_send`](crate::Publisher::try_send) waits while there are fewer subscribers.
    pub min_subscribers: usize,
    /// Every subscriber gets a stream of its own ([`Publisher::try_send_to`](crate::Publisher::try_send_to)) instead of all the same.
    pub per_subscriber: bool,
    /// Refuse to be where batches would be copied on their way ([`Lending::Inline`](crate::Lending::Inline)).
    pub strict: bool,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        let queue = Queue { batches: 64, bytes: 256 << 20 };
        Self {
            memory: 1 << 30,
            queue,
            overflow: Overflow::Wait,
            permits: Permits { queue, overflow: Overflow::ALL.to_vec(), last: false },
            evict_after: None,
            min_subscribers: 1,
            per_subscriber: false,
            strict: false,
        }
    }
}

impl PublisherOptions {
    /// With no queue longer than subscribers stand for.
    pub(super) fn bounded(self) -> Self {
        let bounded = |queue: Queue| Queue { batches: queue.batches.min(MAX_QUEUED_BATCHES), ..queue };
        let permits = Permits { queue: bounded(self.permits.queue), ..self.permits };
        let permits = Permits { last: permits.last && !self.per_subscriber, ..permits };
        Self { queue: bounded(self.queue), permits, ..self }
    }

    /// How a subscriber is served that asks for nothing.
    pub(super) fn policy(&self) -> Policy {
        Policy { queue: self.queue, overflow: self.overflow, last: false }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// It is on its way to so many subscribers.
    Sent(usize),
    /// Nobody is there to take it; [`Event::Room`](crate::Event::Room) says when to try again.
    NoSubscriber,
    /// A subscriber's queue is full; [`Event::Room`](crate::Event::Room) says when to try again.
    NoRoom,
}

/// A publisher's figures at a moment.
#[derive(Debug, Clone, Default)]
pub struct PublisherStatistics {
    /// Subscribers that take part.
    pub subscribers: usize,
    /// Bytes of blocks in use: being written, queued, or held by subscribers.
    pub bytes_in_use: u64,
    /// Bytes of all segments.
    pub capacity: u64,
    /// Leases that subscribers hold, over all of them.
    pub leases: usize,
}
