//! An endpoint that misbehaves on command.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use arrowlane_dissociated::Outbox;
use arrowlane_memory::{Block, Pool};
use arrowlane_transport::{Endpoint, Inbox, Loan, Progress, TransportError};
use bytes::Bytes;
use rustix::event::{EventfdFlags, eventfd};

/// What goes wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Hand messages over one at a time, so that each arrives by itself: metadata without its body, for one.
    pub split: bool,
    /// Hold messages back until [`FaultyEndpoint::release`] lets them go.
    pub delay: bool,
    /// Drop the connection instead of sending the message with this number, counted from 0.
    pub drop_at: Option<usize>,
}

enum Message {
    Metadata(Vec<u8>),
    Tagged(u64, Vec<u8>),
    Body(u64, Vec<Bytes>),
}

/// An endpoint with faults in what it sends. What it receives is untouched.
pub struct FaultyEndpoint<E> {
    /// `None` once the connection was dropped.
    inner: Option<E>,
    faults: Faults,
    held: VecDeque<Message>,
    queued: usize,
    allowed: usize,
    sent: usize,
    /// Readable for ever: the end of a dropped connection is something to be read.
    ended: OwnedFd,
}

impl<E: Endpoint> FaultyEndpoint<E> {
    /// Wraps an endpoint.
    pub fn new(inner: E, faults: Faults) -> Self {
        let ended = eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("eventfd");
        Self { inner: Some(inner), faults, held: VecDeque::new(), queued: 0, allowed: 0, sent: 0, ended }
    }

    /// Lets so many of the delayed messages go with the next flushes.
    pub fn release(&mut self, messages: usize) {
        self.allowed += messages;
    }

    /// Messages handed to the endpoint inside.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// The endpoint inside, while the connection stands.
    pub fn inner(&mut self) -> Option<&mut E> {
        self.inner.as_mut()
    }

    fn hold(&mut self, message: Message, bytes: usize) {
        self.held.push_back(message);
        self.queued += bytes;
    }
}

impl<E: Endpoint> Outbox for FaultyEndpoint<E> {
    fn metadata(&mut self, parts: &[&[u8]]) {
        let bytes = parts.concat();
        let length = bytes.len();
        self.hold(Message::Metadata(bytes), length);
    }

    fn tagged(&mut self, tag: u64, parts: &[&[u8]]) {
        let bytes = parts.concat();
        let length = bytes.len();
        self.hold(Message::Tagged(tag, bytes), length);
    }
}

impl<E: Endpoint> Endpoint for FaultyEndpoint<E> {
    fn scheme(&self) -> &'static str {
        self.inner.as_ref().map_or("dropped", E::scheme)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.inner.as_ref().map_or(self.ended.as_fd(), E::descriptor)
    }

    fn receive(&mut self, budget: usize, inbox: &mut dyn Inbox) -> Result<Progress, TransportError> {
        self.inner.as_mut().ok_or(TransportError::Closed)?.receive(budget, inbox)
    }

    fn flush(&mut self) -> Result<bool, TransportError> {
        let inner = self.inner.as_mut().ok_or(TransportError::Closed)?;
        while !self.held.is_empty() && (!self.faults.delay || self.allowed > 0) {
            if self.faults.drop_at == Some(self.sent) {
                // What went before has left, as far as the system took it.
                self.inner = None;
                return Err(TransportError::Closed);
            }
            if self.faults.split && !inner.flush()? {
                return Ok(false);
            }
            match self.held.pop_front() {
                Some(Message::Metadata(bytes)) => {
                    self.queued -= bytes.len();
                    inner.metadata(&[&bytes]);
                }
                Some(Message::Tagged(tag, bytes)) => {
                    self.queued -= bytes.len();
                    inner.tagged(tag, &[&bytes]);
                }
                Some(Message::Body(tag, parts)) => {
                    self.queued -= parts.iter().map(Bytes::len).sum::<usize>();
                    inner.body(tag, parts);
                }
                None => break,
            }
            self.sent += 1;
            self.allowed = self.allowed.saturating_sub(1);
            if self.faults.split {
                // The rest goes with later flushes.
                return Ok(inner.flush()? && self.held.is_empty());
            }
        }
        Ok(inner.flush()? && self.held.is_empty())
    }

    fn queued(&self) -> usize {
        self.queued + self.inner.as_ref().map_or(0, E::queued)
    }

    fn wants_write(&self) -> bool {
        self.inner.as_ref().is_some_and(E::wants_write)
    }

    fn wants_pause(&self) -> bool {
        self.inner.as_ref().is_some_and(E::wants_pause)
    }

    fn greet(&mut self, uri: &str) {
        if let Some(inner) = &mut self.inner {
            inner.greet(uri);
        }
    }

    fn peer(&self) -> Option<u32> {
        self.inner.as_ref().and_then(E::peer)
    }

    fn lends(&self) -> bool {
        self.inner.as_ref().is_some_and(E::lends)
    }

    fn body(&mut self, tag: u64, parts: Vec<Bytes>) {
        let length = parts.iter().map(Bytes::len).sum();
        self.hold(Message::Body(tag, parts), length);
    }

    fn lend(&mut self, pool: &Pool, block: &Block) -> Result<(), TransportError> {
        self.inner.as_mut().ok_or(TransportError::Closed)?.lend(pool, block)
    }

    fn retire(&mut self, segment: u16) -> bool {
        self.inner.as_mut().is_some_and(|inner| inner.retire(segment))
    }

    fn resolve(&self, address: u64, length: u64) -> Result<Loan, TransportError> {
        self.inner.as_ref().ok_or(TransportError::BadAddress { address, length })?.resolve(address, length)
    }
}

#[cfg(test)]
mod tests {
    use arrowlane_transport::inproc::InprocEndpoint;

    use super::*;
    use crate::transport::Seen;

    fn pair(faults: Faults) -> (FaultyEndpoint<InprocEndpoint>, InprocEndpoint) {
        let (a, b) = InprocEndpoint::pair().expect("eventfd");
        let mut faulty = FaultyEndpoint::new(a, faults);
        for tag in 0..4 {
            faulty.tagged(tag, &[b"x"]);
        }
        (faulty, b)
    }

    #[test]
    fn split_messages_arrive_one_at_a_time() {
        let (mut faulty, mut peer) = pair(Faults { split: true, ..Faults::default() });
        for arrived in 1..=4 {
            assert_eq!(faulty.flush().expect("flush"), arrived == 4);
            let mut seen = Seen::default();
            peer.receive(100, &mut seen).expect("receive");
            assert_eq!(seen.messages.len(), 1);
        }
    }

    #[test]
    fn delayed_messages_wait_to_be_released() {
        let (mut faulty, mut peer) = pair(Faults { delay: true, ..Faults::default() });
        let mut seen = Seen::default();
        for (released, total) in [(0, 0), (1, 1), (3, 4)] {
            faulty.release(released);
            assert_eq!(faulty.flush().expect("flush"), total == 4);
            peer.receive(100, &mut seen).expect("receive");
            assert_eq!((seen.messages.len(), faulty.sent()), (total, total));
        }
    }

    #[test]
    fn a_connection_is_dropped_at_its_message() {
        let (mut faulty, mut peer) = pair(Faults { split: true, drop_at: Some(2), ..Faults::default() });
        while faulty.flush().is_ok() {}
        let mut seen = Seen::default();
        assert!(matches!(peer.receive(100, &mut seen), Err(TransportError::Closed)));
        assert_eq!(seen.messages.len(), 2);
        assert!(matches!(faulty.receive(1, &mut seen), Err(TransportError::Closed)));
    }
}
