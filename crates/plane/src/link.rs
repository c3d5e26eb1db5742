//! A subscriber's connection, shared by its subscription and by every lease of a batch that came over it.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use arrowlane_dissociated::Receiver;
use arrowlane_memory::shared::{Noted, ReturnWriter};
use arrowlane_transport::Endpoint;
use parking_lot::Mutex;

use crate::Lane;

/// So many addresses go back at once, without waiting for the loop to come to rest.
const FREE_AT_ONCE: usize = 256;

/// The connection lives until its subscription is closed *and* its last lease has ended.
pub(crate) struct Link {
    /// The connection itself. Held while messages are read; nothing that owns a lease is dropped meanwhile.
    pub(crate) wire: Mutex<Wire>,
    /// Addresses whose leases ended. A lock of its own: a lease may end on any thread, also while `wire` is held.
    returned: Mutex<Vec<u64>>,
    leases: AtomicUsize,
    bytes: AtomicU64,
    closed: AtomicBool,
    dirty: AtomicBool,
    lane: Weak<Lane>,
}

pub(crate) struct Wire {
    pub endpoint: Option<Box<dyn Endpoint>>,
    pub receiver: Option<Receiver>,
    /// Where returns are noted, instead of being sent; set where the publisher looks there.
    pub returns: Option<ReturnWriter>,
    /// Key in the lane's reactor while the descriptor is watched.
    pub key: Option<u64>,
    pub writing: bool,
}

impl Link {
    pub(crate) fn new(endpoint: Box<dyn Endpoint>, lane: &Arc<Lane>) -> Arc<Self> {
        Arc::new(Self {
            wire: Mutex::new(Wire {
                endpoint: Some(endpoint),
                receiver: None,
                returns: None,
                key: None,
                writing: false,
            }),
            returned: Mutex::default(),
            leases: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            lane: Arc::downgrade(lane),
        })
    }

    /// A lease of so many bytes begins.
    pub(crate) fn lend(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.leases.fetch_add(1, Ordering::AcqRel);
    }

    /// Leases that have not ended.
    pub(crate) fn leases(&self) -> usize {
        self.leases.load(Ordering::Acquire)
    }

    /// Bytes of the leases that have not ended.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// A lease of so many bytes ended: its addresses go back. They are noted for the publisher at once where it looks there;
    /// else they are sent, with others of the same turn where that is possible.
    pub(crate) fn give_back(self: &Arc<Self>, mut addresses: Vec<u64>, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        let was = self.leases.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(was > 0, "a lease ended twice");
        if self.note(&mut addresses) {
            return;
        }
        let waiting = {
            let mut returned = self.returned.lock();
            returned.extend_from_slice(&addresses);
            returned.len()
        };
        match self.lane.upgrade() {
            Some(lane) if lane.is_here() => {
                if waiting >= FREE_AT_ONCE && self.try_flush() {
                    return;
                }
                self.flush_later(&lane);
            }
            // Another thread, or no event loop any more: nobody would come past later.
            _ => self.flush(),
        }
    }

    /// Notes addresses in the page that the publisher looks into, and wakes it where it waits for them. `false` when that
    /// cannot be done now: they have to be sent.
    fn note(&self, addresses: &mut Vec<u64>) -> bool {
        // Not while messages are read, perhaps by this very thread.
        let Some(mut wire) = self.wire.try_lock() else { return false };
        let Wire { endpoint: Some(endpoint), receiver: Some(receiver), returns: Some(returns), .. } = &mut *wire else {
            return false;
        };
        if self.closed.load(Ordering::Acquire) {
            return false;
        }
        receiver.let_go(addresses);
        match returns.note(addresses) {
            Noted::Quietly => true,
            Noted::Full => {
                receiver.announce(addresses);
                self.flush_wire(&mut wire);
                true
            }
            Noted::Wake => {
                receiver.heartbeat(&mut **endpoint);
                self.flush_wire(&mut wire);
                true
            }
        }
    }

    /// Something is to be sent when the loop comes to rest; whether it does not know that yet.
    pub(crate) fn flush_later(self: &Arc<Self>, lane: &Lane) -> bool {
        let first = !self.dirty.swap(true, Ordering::AcqRel);
        if first {
            lane.flush_later(self);
        }
        first
    }

    /// Sends what is gathered. Blocks for a moment only when another thread does the same.
    pub(crate) fn flush(&self) {
        self.flush_wire(&mut self.wire.lock());
    }

    fn try_flush(&self) -> bool {
        match self.wire.try_lock() {
            Some(mut wire) => {
                self.flush_wire(&mut wire);
                true
            }
            None => false,
        }
    }

    fn flush_wire(&self, wire: &mut Wire) {
        self.dirty.store(false, Ordering::Release);
        let returned = std::mem::take(&mut *self.returned.lock());
        let Wire { endpoint: Some(endpoint), receiver: Some(receiver), .. } = wire else { return };
        receiver.free(&returned);
        receiver.flush(&mut **endpoint);
        // A peer that is gone needs no freeing. What it sent before is still to be read, unless nobody reads any more; the
        // read side reports its end.
        let gone = endpoint.flush().is_err();
        self.watch_for_room(wire);
        if self.closed.load(Ordering::Acquire) && (gone || self.leases() == 0) {
            self.hang_up(wire);
        }
    }

    /// Whether the server said who it is.
    pub(crate) fn is_greeted(&self) -> bool {
        self.wire.lock().receiver.is_some()
    }

    /// Whether the server hears of credits, and frees.
    pub(crate) fn is_extended(&self) -> bool {
        self.wire.lock().receiver.as_ref().is_some_and(Receiver::is_extended)
    }

    /// Watches for room to write while something could not be written, and only then.
    pub(crate) fn watch_for_room(&self, wire: &mut Wire) {
        let (Some(endpoint), Some(key)) = (&wire.endpoint, wire.key) else { return };
        let writing = endpoint.wants_write();
        if writing != wire.writing
            && let Some(lane) = self.lane.upgrade()
        {
            let interest =
                if writing { arrowlane_transport::Interest::ReadWrite } else { arrowlane_transport::Interest::Read };
            if lane.reactor().change(key, endpoint.descriptor(), interest).is_ok() {
                wire.writing = writing;
            }
        }
    }

    /// No batches any more; held ones stay valid. The connection ends now, or with its last lease: while a lease is
    /// held, the publisher must not believe that this consumer is gone. What is under way is still to be read, and given
    /// back, until [`stop_reading`](Self::stop_reading).
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let mut wire = self.wire.lock();
        if let Wire { endpoint: Some(endpoint), receiver: Some(receiver), .. } = &mut *wire {
            receiver.cancel(&mut **endpoint);
        }
        self.flush_wire(&mut wire);
        // Where nothing is lent, nothing that is under way has to be given back.
        if wire.receiver.is_none() || wire.endpoint.as_ref().is_some_and(|endpoint| !endpoint.lends()) {
            self.hang_up(&mut wire);
        }
    }

    /// Nothing follows: the connection is kept for the leases that are held, and for nothing else.
    pub(crate) fn stop_reading(&self) {
        self.stop_watching(&mut self.wire.lock());
    }

    fn stop_watching(&self, wire: &mut Wire) {
        if let (Some(endpoint), Some(key), Some(lane)) = (&wire.endpoint, wire.key.take(), self.lane.upgrade()) {
            lane.reactor().forget(key, endpoint.descriptor());
        }
    }

    /// Takes the connection down. Leases that are still held stay valid: their memory is theirs.
    pub(crate) fn hang_up(&self, wire: &mut Wire) {
        self.stop_watching(wire);
        wire.endpoint = None;
    }
}
