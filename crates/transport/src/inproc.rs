//! Both peers in one process: messages change hands through memory, bodies are the same region on both sides.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arrowlane_dissociated::Outbox;
use arrowlane_memory::{Block, Pool, Region};
use parking_lot::Mutex;
use rustix::fd::{AsFd, BorrowedFd};

use crate::{Endpoint, Inbox, Loan, Progress, TransportError, system::Alarm};

/// One end of a connection within the process.
pub struct InprocEndpoint {
    incoming: Arc<Queue>,
    outgoing: Arc<Queue>,
    pending: VecDeque<Message>,
    queued: usize,
    /// Segments that this end lent, and those that the other end did.
    lent: Arc<Mutex<HashMap<u16, Region>>>,
    borrowed: Arc<Mutex<HashMap<u16, Region>>>,
    retired: Vec<u16>,
}

enum Message {
    Greeting(String),
    Metadata(Vec<u8>),
    Tagged(u64, Vec<u8>),
}

struct Queue {
    messages: Mutex<VecDeque<Message>>,
    event: Alarm,
    closed: AtomicBool,
}

impl Queue {
    fn new() -> Result<Arc<Self>, TransportError> {
        let event = Alarm::new()?;
        Ok(Arc::new(Self { messages: Mutex::default(), event, closed: AtomicBool::new(false) }))
    }

    fn wake(&self) {
        self.event.ring();
    }
}

impl InprocEndpoint {
    /// Two connected ends.
    pub fn pair() -> Result<(Self, Self), TransportError> {
        let (a, b) = (Queue::new()?, Queue::new()?);
        let (x, y) = (Arc::default(), Arc::default());
        let end = |incoming: &Arc<Queue>, outgoing: &Arc<Queue>, lent: &Arc<_>, borrowed: &Arc<_>| Self {
            incoming: Arc::clone(incoming),
            outgoing: Arc::clone(outgoing),
            pending: VecDeque::new(),
            queued: 0,
            lent: Arc::clone(lent),
            borrowed: Arc::clone(borrowed),
            retired: Vec::new(),
        };
        Ok((end(&a, &b, &x, &y), end(&b, &a, &y, &x)))
    }

    fn queue(&mut self, message: Message, bytes: usize) {
        self.pending.push_back(message);
        self.queued += bytes;
    }
}

impl Outbox for InprocEndpoint {
    fn metadata(&mut self, parts: &[&[u8]]) {
        let bytes = parts.concat();
        let length = bytes.len();
        self.queue(Message::Metadata(bytes), length);
    }

    fn tagged(&mut self, tag: u64, parts: &[&[u8]]) {
        let bytes = parts.concat();
        let length = bytes.len();
        self.queue(Message::Tagged(tag, bytes), length);
    }
}

impl Endpoint for InprocEndpoint {
    fn scheme(&self) -> &'static str {
        "inproc"
    }

    fn greet(&mut self, uri: &str) {
        self.queue(Message::Greeting(uri.into()), uri.len());
    }

    fn lends(&self) -> bool {
        true
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.incoming.event.as_fd()
    }

    fn receive(&mut self, budget: usize, inbox: &mut dyn Inbox) -> Result<Progress, TransportError> {
        for segment in self.retired.drain(..) {
            inbox.retired(segment);
        }
        self.incoming.event.quiet();
        let mut taken = 0;
        loop {
            let message = self.incoming.messages.lock().pop_front();
            match message {
                None if self.incoming.closed.load(Ordering::Acquire) => {
                    if self.incoming.messages.lock().is_empty() {
                        return Err(TransportError::Closed);
                    }
                }
                None => return Ok(Progress::Drained),
                Some(Message::Greeting(uri)) => inbox.greeting(&uri)?,
                Some(Message::Metadata(bytes)) => {
                    taken += bytes.len();
                    inbox.metadata(&bytes)?;
                }
                Some(Message::Tagged(tag, bytes)) => {
                    taken += bytes.len();
                    inbox.tagged(tag, &bytes)?;
                }
            }
            if taken >= budget {
                self.incoming.wake();
                return Ok(Progress::More);
            }
        }
    }

    fn flush(&mut self) -> Result<bool, TransportError> {
        if self.pending.is_empty() {
            return Ok(true);
        }
        if self.outgoing.closed.load(Ordering::Acquire) {
            return Err(TransportError::Closed);
        }
        self.outgoing.messages.lock().append(&mut self.pending);
        self.queued = 0;
        self.outgoing.wake();
        Ok(true)
    }

    fn queued(&self) -> usize {
        self.queued
    }

    fn wants_write(&self) -> bool {
        false
    }

    fn lend(&mut self, _pool: &Pool, block: &Block) -> Result<(), TransportError> {
        self.lent.lock().entry(block.segment()).or_insert_with(|| block.region().clone());
        Ok(())
    }

    fn retire(&mut self, segment: u16) -> bool {
        let known = self.lent.lock().remove(&segment).is_some();
        if known {
            self.retired.push(segment);
            self.incoming.wake();
        }
        known
    }

    fn resolve(&self, address: u64, length: u64) -> Result<Loan, TransportError> {
        let bad = || TransportError::BadAddress { address, length };
        let region = self.borrowed.lock().get(&((address >> 48) as u16)).cloned().ok_or_else(bad)?;
        let offset = usize::try_from(address & ((1 << 48) - 1)).map_err(|_| bad())?;
        let length_here = usize::try_from(length).map_err(|_| bad())?;
        let base = region.host_ptr().ok_or_else(bad)?;
        if offset.checked_add(length_here).is_none_or(|end| end > region.len()) {
            return Err(bad());
        }
        // SAFETY: the span lies inside the region, which was just checked; the loan keeps the region alive.
        let pointer = unsafe { base.add(offset) };
        Ok(Loan { pointer, length: length_here, mapping: None, owner: Some(Arc::new(region)) })
    }
}

impl Drop for InprocEndpoint {
    fn drop(&mut self) {
        for queue in [&self.incoming, &self.outgoing] {
            queue.closed.store(true, Ordering::Release);
            queue.wake();
        }
    }
}
