//! What a publisher knows of one subscriber: what it was given, lost and holds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arrowlane_dissociated::Span;
use arrowlane_transport::system::coarse_clock as clock;

use super::{ConnectionId, plain::Counted, policy::Policy};
use crate::Memory;

/// One subscriber's figures, as its publisher knows them.
#[derive(Debug, Clone)]
pub struct SubscriberStatistics {
    /// Which connection.
    pub id: ConnectionId,
    /// Its process, where the system says.
    pub pid: Option<u32>,
    /// How it is served.
    pub policy: Policy,
    /// What it is about.
    pub standing: Standing,
    /// Batches and bytes that it was sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Batches that it did not get, because its queue was full.
    pub dropped: u64,
    /// How often a sender had to wait for it.
    pub waited: u64,
    /// How long, all times together, the last one included if it is not over.
    pub waited_for: Duration,
    /// Batches sent and not yet taken.
    pub in_flight: usize,
    /// Batches that wait in the publisher for it.
    pub queued: usize,
    /// Batches (and dictionaries) that it holds or has not taken yet.
    pub leases: usize,
    /// Bytes of their blocks.
    pub bytes: u64,
    /// How long it has had the oldest batch among them.
    pub oldest: Option<Duration>,
}

/// One batch that a subscriber holds or has not taken yet, as its publisher knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseStatistics {
    /// Which connection holds it.
    pub subscriber: ConnectionId,
    /// Its process, where the system says.
    pub pid: Option<u32>,
    /// The batch's number on that connection; the subscriber knows it by the same.
    pub sequence: u32,
    /// Bytes of its block.
    pub bytes: u64,
    /// How long ago it was sent.
    pub age: Duration,
}

/// What a connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It takes part.
    Active,
    /// It gets no more, and holds leases still.
    Ended,
    /// As `Ended`, because it freed nothing for too long.
    Evicted,
    /// It is gone, and somebody reads still to whom it had handed on what it held.
    Orphaned,
}

impl Standing {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Ended => "ended",
            Self::Evicted => "evicted",
            Self::Orphaned => "orphaned",
        }
    }
}

/// Counts of one connection.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) sent: u64,
    pub(super) dropped: u64,
    pub(super) waited: u64,
    waited_for: Duration,
    blocked: Option<Instant>,
}

impl Ledger {
    /// Somebody waits for this subscriber from now on.
    pub(super) fn block(&mut self) {
        if self.blocked.is_none() {
            self.waited += 1;
            self.blocked = Some(Instant::now());
        }
    }

    /// Nobody does any more.
    pub(super) fn unblock(&mut self) {
        if let Some(since) = self.blocked.take() {
            self.waited_for += since.elapsed();
        }
    }

    pub(super) fn waited_for(&self) -> Duration {
        self.waited_for + self.blocked.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// What one subscriber holds at this moment.
#[derive(Default)]
pub(super) struct Holding {
    leases: AtomicUsize,
    batches: AtomicUsize,
    relayed: AtomicUsize,
    bytes: AtomicU64,
}

impl Holding {
    /// Batches and dictionaries.
    pub(super) fn leases(&self) -> usize {
        self.leases.load(Ordering::Acquire)
    }

    /// Batches alone: dictionaries are held as long as a subscriber reads.
    pub(super) fn batches(&self) -> usize {
        self.batches.load(Ordering::Acquire)
    }

    /// Those that lie in somebody else's memory.
    pub(super) fn relayed(&self) -> usize {
        self.relayed.load(Ordering::Acquire)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }
}

/// Keeps memory until the last of its addresses came back from one subscriber.
#[derive(Clone)]
pub(super) struct Lent(Arc<Held>);

struct Held {
    memory: Memory,
    holding: Arc<Holding>,
    /// The batch's number; `None` for a dictionary.
    sequence: Option<u32>,
    since: Duration,
    /// What counts a batch for a client without credits.
    _plain: Option<Counted>,
}

impl Lent {
    /// `sequence` is the batch's number; a dictionary has none.
    pub(super) fn new(memory: &Memory, holding: &Arc<Holding>, sequence: Option<u32>, plain: Option<Counted>) -> Self {
        holding.leases.fetch_add(1, Ordering::AcqRel);
        holding.batches.fetch_add(usize::from(sequence.is_some()), Ordering::AcqRel);
        holding.relayed.fetch_add(usize::from(memory.is_relayed()), Ordering::AcqRel);
        holding.bytes.fetch_add(memory.len(), Ordering::AcqRel);
        let held =
            Held { memory: memory.clone(), holding: Arc::clone(holding), sequence, since: clock(), _plain: plain };
        Self(Arc::new(held))
    }

    /// How long it has been lent; `None` for a dictionary.
    pub(super) fn age(&self) -> Option<Duration> {
        self.0.sequence.map(|_| clock().saturating_sub(self.0.since))
    }

    /// The batch's number; `None` for a dictionary.
    pub(super) fn sequence(&self) -> Option<u32> {
        self.0.sequence
    }

    /// What it keeps.
    pub(super) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// Bytes of the block.
    pub(super) fn bytes(&self) -> u64 {
        self.0.memory.len()
    }
}

/// The bytes of one buffer of what is lent, for a subscriber that is sent them.
pub(super) struct Buffer {
    lent: Lent,
    offset: usize,
    length: usize,
}

impl Lent {
    /// The bytes of a buffer in a block. `None` when they do not all lie in one.
    pub(super) fn buffer(&self, span: &Span) -> Option<Buffer> {
        let (offset, length) = (usize::try_from(span.offset).ok()?, usize::try_from(span.length).ok()?);
        self.0.memory.bytes(offset, length)?;
        Some(Buffer { lent: self.clone(), offset, length })
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.lent.0.memory.bytes(self.offset, self.length).unwrap_or_default()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.holding.leases.fetch_sub(1, Ordering::AcqRel);
        self.holding.batches.fetch_sub(usize::from(self.sequence.is_some()), Ordering::AcqRel);
        self.holding.relayed.fetch_sub(usize::from(self.memory.is_relayed()), Ordering::AcqRel);
        self.holding.bytes.fetch_sub(self.memory.len(), Ordering::AcqRel);
    }
}
