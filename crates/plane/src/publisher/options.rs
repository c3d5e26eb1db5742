//! How a publisher behaves, and what it says of itself.

/// How much one subscriber may lag behind.
#[derive(Debug, Clone, Copy)]
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
    /// Bound per subscriber.
    pub queue: Queue,
    /// [`Publisher::try_send`](crate::Publisher::try_send) waits while there are fewer subscribers.
    pub min_subscribers: usize,
    /// Every subscriber gets a stream of its own ([`Publisher::try_send_to`](crate::Publisher::try_send_to)) instead of all the same.
    pub per_subscriber: bool,
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
