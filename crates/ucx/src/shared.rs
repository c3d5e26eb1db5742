//! What a worker's callbacks see: messages that arrive, operations that complete, the peer's death.

use std::{
    collections::VecDeque,
    ffi::c_void,
    ptr::NonNull,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrowlane_memory::Growing;
use arrowlane_ucx_sys::{
    Library, Outcome,
    bindings::{UCS_OK, ucp_dt_iov, ucp_recv_desc, ucp_worker, ucp_worker_h, ucs_status_t},
    outcome,
};
use bytes::Bytes;
use parking_lot::Mutex;
use slab::Slab;

/// A pointer of UCX's that belongs to a worker.
pub(crate) struct Handle<T>(pub(crate) NonNull<T>);

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Handle<T> {}

// SAFETY: it is only handed back to UCX, by whoever drives the worker: one thread at a time.
unsafe impl<T> Send for Handle<T> {}

/// One worker's state, at an address that does not change. Callbacks run inside of calls of UCX only, on the thread that drives the worker; no lock in
/// here is held across such a call.
pub(crate) struct Shared {
    pub(crate) library: &'static Library,
    worker: OnceLock<Handle<ucp_worker>>,
    operations: Mutex<Slab<Box<Operation>>>,
    /// What operations kept that were completed in a call of UCX's. It is somebody else's, and is let go of behind that call.
    done: Mutex<Vec<Work>>,
    pub(crate) arrivals: Mutex<Arrivals>,
    /// The first bad thing that happened to the connection.
    failure: Mutex<Option<ucs_status_t>>,
    /// What the peer did that the protocol does not allow.
    pub(crate) offence: Mutex<Option<String>>,
    sending: AtomicUsize,
    bodies: AtomicUsize,
    /// Sends that are not done, but for the end.
    outgoing: AtomicUsize,
    pub(crate) stands: Mutex<bool>,
    end_taken: Mutex<bool>,
}

/// Messages in the order in which they arrived, whole or not.
#[derive(Default)]
pub(crate) struct Arrivals {
    pub(crate) queue: VecDeque<Arrival>,
    /// The number of the first in the queue.
    pub(crate) first: u64,
    /// Bytes that were received, or are being received, and not taken.
    pub(crate) bytes: usize,
    /// How many of the queue, from its front, are begun.
    pub(crate) begun: usize,
    /// What the queue costs: bytes, and [`EACH`] for every message.
    pub(crate) cost: usize,
}

/// What a message costs of a budget beside its bytes.
pub(crate) const EACH: usize = 64;

/// So many bytes are received ahead of what was taken; one message of any size, always.
const AHEAD: usize = 64 << 20;

impl Arrivals {
    /// The place of the first that is not begun, if it may be.
    pub(crate) fn next(&self) -> Option<usize> {
        let next = self.queue.get(self.begun)?;
        (self.bytes == 0 || self.bytes.saturating_add(next.length) <= AHEAD).then_some(self.begun)
    }
}

/// A message.
pub(crate) struct Arrival {
    /// `None` for an untagged one.
    pub(crate) tag: Option<u64>,
    pub(crate) length: usize,
    pub(crate) stage: Stage,
}

/// How far a message has come.
pub(crate) enum Stage {
    /// A tagged message that UCX has, at least in part.
    Tagged(Handle<ucp_recv_desc>),
    /// An untagged message that the sender still has.
    Announced(Handle<c_void>),
    /// Being written to memory of ours.
    Begun,
    /// All there.
    Whole(Buffer),
    /// It will never be whole.
    Lost,
}

/// Where a message is received to.
#[derive(Debug)]
pub(crate) enum Buffer {
    /// Copied around as it is small.
    Small(Vec<u8>),
    /// Aligned for use where it lies.
    Aligned(Growing),
}

/// What UCX has a pointer into until it says that it is done.
pub(crate) struct Operation {
    shared: *const Shared,
    key: usize,
    request: Mutex<Option<Handle<c_void>>>,
    pub(crate) work: Work,
}

// SAFETY: the pointer is to the state that owns the operation, which lives longer.
unsafe impl Send for Operation {}

pub(crate) enum Work {
    /// A message that was copied, with its bytes.
    Copied(Vec<u8>),
    /// A body, from where it lies.
    Body { parts: Vec<Bytes>, spans: Box<[Span]>, length: usize },
    /// Tells when the connection stands.
    Connecting,
    /// The end of what is sent.
    End,
    /// The message of that number.
    Receiving(u64, Buffer),
    /// What nobody wants any more.
    Discarding,
    /// The endpoint is being closed.
    Closing,
}

/// An entry of a gather list; it points into the operation's own parts.
#[repr(transparent)]
pub(crate) struct Span(pub(crate) ucp_dt_iov);

// SAFETY: it points to bytes that nobody writes and that the operation keeps.
unsafe impl Send for Span {}

impl Work {
    fn is_outgoing(&self) -> bool {
        matches!(self, Self::Copied(_) | Self::Body { .. })
    }

    /// Bytes that are on their way to the peer, and how many of them were not copied.
    fn bytes(&self) -> (usize, usize) {
        match self {
            Self::Copied(bytes) => (bytes.len(), 0),
            Self::Body { length, .. } => (*length, *length),
            _ => (0, 0),
        }
    }
}

impl Shared {
    pub(crate) fn new(library: &'static Library) -> Self {
        Self {
            library,
            worker: OnceLock::new(),
            operations: Mutex::default(),
            done: Mutex::default(),
            arrivals: Mutex::default(),
            failure: Mutex::default(),
            offence: Mutex::default(),
            sending: AtomicUsize::new(0),
            bodies: AtomicUsize::new(0),
            outgoing: AtomicUsize::new(0),
            stands: Mutex::new(false),
            end_taken: Mutex::new(false),
        }
    }

    /// Names the worker whose state this is.
    pub(crate) fn serve(&self, worker: ucp_worker_h) {
        if let Some(worker) = NonNull::new(worker) {
            let _ = self.worker.set(Handle(worker)); // done once, right after it is made
        }
    }

    pub(crate) fn worker(&self) -> Option<ucp_worker_h> {
        self.worker.get().map(|handle| handle.0.as_ptr())
    }

    /// Keeps an operation until it is done. `call` hands it to UCX, with the pointer that its callback gets.
    pub(crate) fn run(&self, work: Work, call: impl FnOnce(&Work, *mut c_void) -> *mut c_void) {
        let (bytes, bodies) = work.bytes();
        self.sending.fetch_add(bytes, Ordering::Relaxed);
        self.bodies.fetch_add(bodies, Ordering::Relaxed);
        self.outgoing.fetch_add(usize::from(work.is_outgoing()), Ordering::Relaxed);
        let operation: *const Operation = {
            let mut operations = self.operations.lock();
            let entry = operations.vacant_entry();
            let operation = Operation { shared: self, key: entry.key(), request: Mutex::default(), work };
            &raw const **entry.insert(Box::new(operation))
        };
        // SAFETY: the operation is in its box until it is completed: below, or in a callback, which UCX calls from later calls only.
        let operation = unsafe { &*operation };
        match outcome(call(&operation.work, std::ptr::from_ref(operation).cast_mut().cast())) {
            Outcome::Done(status) => drop(self.complete(operation.key, status)),
            Outcome::Pending(request) => *operation.request.lock() = Some(Handle(request)),
        }
    }

    /// Called by UCX when an operation is done.
    ///
    /// # Safety
    /// `user_data` is what [`run`](Self::run) gave out, and `request` the operation's, not freed.
    pub(crate) unsafe fn completed(request: *mut c_void, status: ucs_status_t, user_data: *mut c_void) {
        // SAFETY: the caller vouches for the pointer; operations stay where they are until they are completed, once.
        let (shared, key) = unsafe {
            let operation = &*user_data.cast::<Operation>();
            (&*operation.shared, operation.key)
        };
        let done = shared.complete(key, status);
        shared.done.lock().extend(done);
        // SAFETY: UCX is done with the request, and whoever started it frees it.
        unsafe { (shared.library.ucp.ucp_request_free)(request) };
    }

    /// Lets go of what completed operations kept. Not to be called inside of a call of UCX's.
    pub(crate) fn let_go(&self) {
        let done = std::mem::take(&mut *self.done.lock());
        drop(done);
    }

    /// What the operation kept that is somebody else's.
    fn complete(&self, key: usize, status: ucs_status_t) -> Option<Work> {
        let operation = self.operations.lock().remove(key);
        let (bytes, bodies) = operation.work.bytes();
        self.sending.fetch_sub(bytes, Ordering::Relaxed);
        self.bodies.fetch_sub(bodies, Ordering::Relaxed);
        self.outgoing.fetch_sub(usize::from(operation.work.is_outgoing()), Ordering::Relaxed);
        let mut kept = None;
        match operation.work {
            Work::Receiving(number, buffer) => {
                let mut arrivals = self.arrivals.lock();
                // Those that were given up are not in the queue any more.
                let place = number.checked_sub(arrivals.first).and_then(|place| usize::try_from(place).ok());
                if let Some(arrival) = place.and_then(|place| arrivals.queue.get_mut(place)) {
                    arrival.stage = if status == UCS_OK { Stage::Whole(buffer) } else { Stage::Lost };
                }
                if status == UCS_OK {
                    return None;
                }
            }
            Work::Connecting if status == UCS_OK => *self.stands.lock() = true,
            Work::End if status == UCS_OK => *self.end_taken.lock() = true,
            Work::Discarding | Work::Closing => return None,
            work @ (Work::Copied(_) | Work::Body { .. }) => kept = Some(work),
            Work::Connecting | Work::End => {}
        }
        if status != UCS_OK {
            self.fail(status);
        }
        kept
    }

    /// The connection is of no further use. The first reason is kept.
    pub(crate) fn fail(&self, status: ucs_status_t) {
        self.failure.lock().get_or_insert(status);
    }

    pub(crate) fn failure(&self) -> Option<ucs_status_t> {
        *self.failure.lock()
    }

    /// Bytes of sends that are not done, and how many of them are bodies'.
    pub(crate) fn sending(&self) -> (usize, usize) {
        (self.sending.load(Ordering::Relaxed), self.bodies.load(Ordering::Relaxed))
    }

    /// Whether something that was sent is not done.
    pub(crate) fn is_sending(&self) -> bool {
        self.outgoing.load(Ordering::Relaxed) > 0
    }

    /// Whether the peer took the end of what was sent to it.
    pub(crate) fn end_taken(&self) -> bool {
        *self.end_taken.lock()
    }

    /// What messages cost that arrived, or are announced, and were not taken.
    pub(crate) fn waiting(&self) -> usize {
        self.arrivals.lock().cost
    }

    /// Whether anything at all is not done.
    pub(crate) fn is_busy(&self) -> bool {
        !self.operations.lock().is_empty()
    }

    /// The requests of all receives that are not done.
    pub(crate) fn receiving(&self) -> Vec<NonNull<c_void>> {
        let operations = self.operations.lock();
        let receives = operations.iter().filter(|(_, o)| matches!(o.work, Work::Receiving(..)));
        receives.filter_map(|(_, o)| o.request.lock().map(|handle| handle.0)).collect()
    }
}
