//! Clients that have their metadata from elsewhere, and are sent bodies alone (`docs/wire.md`, "Two connections").

use std::sync::Arc;

use arrowlane_dissociated::Outbox;
use arrowlane_memory::{
    Block, Pool,
    shared::{Mapping, ReturnReader},
};
use arrowlane_transport::{Endpoint, Inbox, Progress, TransportError};
use bytes::Bytes;
use rustix::fd::{BorrowedFd, OwnedFd};

/// A connection over which bodies go and nothing else: what would be said of them its client knows from elsewhere.
pub(super) struct Bodies(pub(super) Box<dyn Endpoint>);

impl Outbox for Bodies {
    fn metadata(&mut self, _parts: &[&[u8]]) {}

    fn tagged(&mut self, tag: u64, parts: &[&[u8]]) {
        self.0.tagged(tag, parts);
    }
}

impl Endpoint for Bodies {
    fn scheme(&self) -> &'static str {
        self.0.scheme()
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }

    fn receive(&mut self, budget: usize, inbox: &mut dyn Inbox) -> Result<Progress, TransportError> {
        self.0.receive(budget, inbox)
    }

    fn flush(&mut self) -> Result<bool, TransportError> {
        self.0.flush()
    }

    fn queued(&self) -> usize {
        self.0.queued()
    }

    fn copied(&self) -> usize {
        self.0.copied()
    }

    fn wants_write(&self) -> bool {
        self.0.wants_write()
    }

    fn wants_pause(&self) -> bool {
        self.0.wants_pause()
    }

    fn peer(&self) -> Option<u32> {
        self.0.peer()
    }

    fn stop_sending(&mut self) {
        self.0.stop_sending();
    }

    fn lends(&self) -> bool {
        self.0.lends()
    }

    fn body(&mut self, tag: u64, parts: Vec<Bytes>) {
        self.0.body(tag, parts);
    }

    fn lend(&mut self, pool: &Pool, block: &Block) -> Result<(), TransportError> {
        self.0.lend(pool, block)
    }

    fn lend_on(&mut self, number: u16, segment: &Arc<Mapping>) -> Result<(), TransportError> {
        self.0.lend_on(number, segment)
    }

    fn keep(&mut self) {
        self.0.keep();
    }

    fn lends_on(&mut self) -> bool {
        self.0.lends_on()
    }

    fn outlive(&mut self) -> Option<Box<dyn Endpoint>> {
        self.0.outlive()
    }

    fn retire(&mut self, segment: u16) -> bool {
        self.0.retire(segment)
    }

    fn offer_returns(&mut self, page: OwnedFd) -> bool {
        self.0.offer_returns(page)
    }

    fn take_returns(&mut self) -> Option<ReturnReader> {
        self.0.take_returns()
    }
}
