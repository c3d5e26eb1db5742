//! Clients that fetch metadata over one connection and bodies over another (`docs/wire.md`, "Two connections").

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
};

use arrowlane_dissociated::{DataUri, Outbox};
use arrowlane_memory::{
    Block, Pool,
    shared::{Mapping, ReturnReader},
};
use arrowlane_transport::{Endpoint, Inbox, Progress, Split, TransportError};
use bytes::Bytes;

use crate::topic::{BODIES_ALONE, DATA_HALF, METADATA_HALF, TAGS};

/// What a first message asks for, by its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) side: Side,
    pub(super) extended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Both,
    Metadata,
    Data,
    /// Bodies, whose metadata comes by other means.
    Bodies,
}

impl Wanted {
    pub(super) fn of(tag: u64) -> Option<Self> {
        let sides = [
            (Side::Both, [TAGS.want_data, TAGS.want_data_ext]),
            (Side::Metadata, METADATA_HALF),
            (Side::Data, DATA_HALF),
            (Side::Bodies, [BODIES_ALONE; 2]),
        ];
        let (side, [plain, _]) = sides.into_iter().find(|(_, tags)| tags.contains(&tag))?;
        Some(Self { side, extended: tag != plain })
    }

    /// Whether a client of that half says no more than that it lives.
    pub(super) fn is_beat(self, (tag, body): &(u64, Vec<u8>)) -> bool {
        self.side == Side::Metadata && *tag == METADATA_HALF[1] && body.len() == size_of::<u64>()
    }

    /// What came behind the ticket, as a client of both halves would have said it.
    pub(super) fn rest(self, rest: Vec<(u64, Vec<u8>)>) -> Vec<(u64, Vec<u8>)> {
        let tag = |tag| if self.side == Side::Metadata && tag == METADATA_HALF[1] { TAGS.want_data_ext } else { tag };
        rest.into_iter().map(|(said, body)| (tag(said), body)).collect()
    }
}

/// Two connections, whose tickets belong together, as one. From here on its tags are those of a combined one.
pub(super) fn joined(
    metadata: Box<dyn Endpoint>,
    data: Box<dyn Endpoint>,
) -> Result<Box<dyn Endpoint>, TransportError> {
    let uri = |scheme: &str, want_data, want_data_ext| DataUri {
        scheme: scheme.into(),
        want_data,
        want_data_ext: Some(want_data_ext),
        ..DataUri::default()
    };
    let of_metadata = uri(metadata.scheme(), METADATA_HALF[0], METADATA_HALF[1]);
    let of_data = uri(data.scheme(), TAGS.want_data, TAGS.want_data_ext);
    Ok(Box::new(Split::server((metadata, &of_metadata), (data, &of_data))?))
}

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
