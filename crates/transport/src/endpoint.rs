//! The trait that every transport implements.

use std::{any::Any, ptr::NonNull, sync::Arc};

use arrowlane_dissociated::Outbox;
use arrowlane_memory::{
    Block, Pool,
    shared::{Mapping, ReturnReader},
};
use bytes::Bytes;
use rustix::fd::{BorrowedFd, OwnedFd};

use crate::TransportError;

/// One end of a connection.
///
/// Messages are put into it through [`Outbox`]; they are kept, in order, until [`flush`](Endpoint::flush) hands them to
/// the system. An endpoint is driven by one thread at a time and may move between threads.
pub trait Endpoint: Outbox + Send {
    /// The URI scheme, without a colon: `"shm"`, `"inproc"`.
    fn scheme(&self) -> &'static str;

    /// Polls readable when [`receive`](Endpoint::receive) has something to do. Valid as long as the endpoint.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Reads what has arrived and hands every whole message to `inbox`: untagged ones in the order in which they were sent, and
    /// tagged ones likewise; where each kind has a way of its own, the two may overtake each other. Never blocks. Reads at most about
    /// `budget` bytes from the system, so that one busy peer cannot starve the others.
    ///
    /// # Errors
    /// [`TransportError::Closed`] when the peer is gone, after everything that it sent was handed over; any other error
    /// means that the connection is of no further use. An error of `inbox` is returned as it is.
    fn receive(&mut self, budget: usize, inbox: &mut dyn Inbox) -> Result<Progress, TransportError>;

    /// Hands queued messages to the system without blocking. `true` when none is left.
    fn flush(&mut self) -> Result<bool, TransportError>;

    /// Bytes that are queued and not yet with the system.
    fn queued(&self) -> usize;

    /// As [`queued`](Self::queued), without the bodies that are sent from where they lie.
    fn copied(&self) -> usize {
        self.queued()
    }

    /// Whether [`flush`](Endpoint::flush) waits for the descriptor to become writable (and not for the peer). Never true
    /// for an endpoint that watches for room itself: its descriptor polls readable when there is some, and
    /// [`receive`](Endpoint::receive) goes on with what is queued.
    fn wants_write(&self) -> bool;

    /// Whether [`flush`](Endpoint::flush) stopped for a reason that no descriptor tells the end of: it is to be called again
    /// after a pause.
    fn wants_pause(&self) -> bool {
        false
    }

    /// Queues the server's first message: its URI. Nothing where clients of this transport know it already: there a
    /// client's endpoint hands the URI that it connected to on as the [greeting](Inbox::greeting).
    fn greet(&mut self, _uri: &str) {}

    /// The process at the other end, where the system says.
    fn peer(&self) -> Option<u32> {
        None
    }

    /// The peer reads an end after what is queued, where the transport can do that; what it sends is still received.
    fn stop_sending(&mut self) {}

    /// Whether blocks can be lent. Where they cannot, bodies are sent, and none of the methods that concern lent memory
    /// is called.
    fn lends(&self) -> bool {
        false
    }

    /// Whether its descriptor may become readable though the peer says nothing: then only messages show that it lives. `Some(true)` while one is on its way.
    fn stirs_by_itself(&self) -> Option<bool> {
        None
    }

    /// Whether what is read may come from afar: then it is better read by a thread of its own, and has to be where the
    /// descriptor is a set of sets already (a system nests five at most, and an event loop and its reactor are two).
    fn is_remote(&self) -> bool {
        !self.lends()
    }

    /// Queues a tagged message whose parts need not be copied: each is kept until it is with the system.
    fn body(&mut self, tag: u64, parts: Vec<Bytes>) {
        self.tagged(tag, &parts.iter().map(|part| &part[..]).collect::<Vec<_>>());
    }

    /// Makes sure that the peer can resolve addresses in this block of `pool` before the next tagged message reaches it. An
    /// endpoint lends from one pool in its life.
    ///
    /// # Errors
    /// When it cannot be lent; [`TransportError::Unsupported`] where nothing can.
    fn lend(&mut self, _pool: &Pool, _block: &Block) -> Result<(), TransportError> {
        Err(TransportError::Unsupported { scheme: self.scheme(), what: "lending memory" })
    }

    /// As [`lend`](Self::lend), for a segment that somebody else lent to this process: it goes on as it came, under
    /// `number`, which no segment of the pool that this endpoint lends from may have. Only where it [lends on](Self::lends_on).
    ///
    /// # Errors
    /// As [`lend`](Self::lend).
    fn lend_on(&mut self, _number: u16, _segment: &Arc<Mapping>) -> Result<(), TransportError> {
        Err(TransportError::Unsupported { scheme: self.scheme(), what: "lending memory" })
    }

    /// The peer knows of keepers: from now on it gets one with what it is lent, and hands it on with what it hands on.
    fn keep(&mut self) {}

    /// Whether segments that somebody else lent can be [lent on](Self::lend_on): the peer holds what keeps their memory as it is,
    /// whatever becomes of this process. To others their bytes are to be sent.
    fn lends_on(&mut self) -> bool {
        false
    }

    /// What has to be waited for when the peer is gone, before anything that was lent to it is free: an endpoint that only
    /// ends ([`receive`](Self::receive)), in place of this one. `None` when that need not be.
    fn outlive(&mut self) -> Option<Box<dyn Endpoint>> {
        None
    }

    /// Tells the peer that a segment will not be used any more. `true` when the peer has to acknowledge that
    /// ([`Inbox::retired`]) before the segment's number may be used again; `false` when it never knew the segment.
    fn retire(&mut self, _segment: u16) -> bool {
        false
    }

    /// Hands the peer the descriptor of a [`ReturnPage`](arrowlane_memory::shared::ReturnPage). `false` where the transport has no such thing; then they are
    /// sent.
    fn offer_returns(&mut self, _page: OwnedFd) -> bool {
        false
    }

    /// The peer's page for returns, once, after it came.
    fn take_returns(&mut self) -> Option<ReturnReader> {
        None
    }

    /// The span that the peer lent under an address.
    ///
    /// # Errors
    /// [`TransportError::BadAddress`] unless every byte of it lies in one segment that the peer lent.
    fn resolve(&self, address: u64, length: u64) -> Result<Loan, TransportError> {
        Err(TransportError::BadAddress { address, length })
    }
}

/// Receives the messages of one [`Endpoint::receive`].
pub trait Inbox {
    /// The first message of a server: its URI.
    fn greeting(&mut self, uri: &str) -> Result<(), TransportError>;
    /// An untagged message. The bytes may lie at any alignment and are valid during the call only.
    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError>;
    /// A tagged message.
    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError>;
    /// A tagged message that came in memory of its own, at an address that is a multiple of 64.
    fn body(&mut self, tag: u64, body: Bytes) -> Result<(), TransportError> {
        self.tagged(tag, &body)
    }
    /// The peer acknowledged that it will not use a retired segment any more.
    fn retired(&mut self, segment: u16);
}

/// How far [`Endpoint::receive`] got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Everything that had arrived was handed over.
    Drained,
    /// The budget was used up; more may be waiting.
    More,
}

/// A span that a peer lent. The memory stays mapped as long as the loan lives.
#[derive(Clone)]
pub struct Loan {
    /// Its first byte.
    pub pointer: NonNull<u8>,
    /// Its length in bytes.
    pub length: usize,
    /// Where the span lies, when it lies in memory shared between processes: the mapping and the offset in it.
    pub mapping: Option<(Arc<Mapping>, usize)>,
    /// Keeps the span alive when it lies elsewhere.
    pub owner: Option<Arc<dyn Any + Send + Sync>>,
}

// SAFETY: a loan is an address with the owner of the memory behind it; it gives no access by itself, and the owner may
// be dropped on any thread.
unsafe impl Send for Loan {}
// SAFETY: as above; all fields are read-only after construction.
unsafe impl Sync for Loan {}
