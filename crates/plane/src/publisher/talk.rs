//! What a subscriber says.

use arrowlane_dissociated::{ProtocolError, Sender, SenderConfig, SenderEvent};
use arrowlane_transport::{Inbox, TransportError};

use super::ledger::Lent;
use crate::{PlaneError, ticket::Ticket, topic::TAGS};

/// What is said to and by the subscriber.
pub(super) struct Talk {
    pub(super) topic: String,
    pub(super) phase: Phase,
    /// What it asked for, until the publisher looks.
    pub(super) asked: Option<Ticket>,
    /// It wants no more.
    pub(super) cancelled: bool,
    /// Segments whose retirement it acknowledged, until the publisher asks.
    pub(super) retired: Vec<u16>,
}

pub(super) enum Phase {
    /// Connected; has not said what it wants.
    Greeted,
    /// Takes part.
    Streaming(Sender<Lent>),
    /// Gets no more, holds leases perhaps.
    Ended(Sender<Lent>),
}

impl Talk {
    pub(super) fn new(topic: &str) -> Self {
        Self { topic: topic.into(), phase: Phase::Greeted, asked: None, cancelled: false, retired: Vec::new() }
    }

    /// With a subscriber who asked somebody else already, and was sent here.
    pub(super) fn admitted(topic: &str, asked: Ticket, extended: bool) -> Self {
        let ext_tag = extended.then_some(TAGS.want_data_ext);
        let sender = Sender::new(SenderConfig { free_tag: TAGS.free_data, ext_tag });
        Self { phase: Phase::Streaming(sender), asked: Some(asked), ..Self::new(topic) }
    }

    pub(super) fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), PlaneError> {
        match &mut self.phase {
            Phase::Greeted => {
                let ext_tag = match tag {
                    t if t == TAGS.want_data_ext => Some(t),
                    t if t == TAGS.want_data => None,
                    t => return Err(ProtocolError::UnknownTag(t).into()),
                };
                let ticket = Ticket::parse(body, &self.topic, ext_tag.is_some())?;
                let sender = Sender::new(SenderConfig { free_tag: TAGS.free_data, ext_tag });
                self.phase = match ticket {
                    Ticket::Batches { .. } => Phase::Streaming(sender),
                    Ticket::Statistics => Phase::Ended(sender),
                };
                self.asked = Some(ticket);
                Ok(())
            }
            Phase::Streaming(sender) | Phase::Ended(sender) => {
                if sender.tagged(tag, body)? == SenderEvent::Cancelled {
                    self.cancelled = true;
                }
                Ok(())
            }
        }
    }
}

/// Hears a subscriber out.
pub(super) struct FromSubscriber<'a> {
    pub(super) talk: &'a mut Talk,
    pub(super) wrong: Option<PlaneError>,
}

impl Inbox for FromSubscriber<'_> {
    fn greeting(&mut self, _uri: &str) -> Result<(), TransportError> {
        Err(TransportError::Framing("a subscriber does not greet".into()))
    }

    fn metadata(&mut self, _bytes: &[u8]) -> Result<(), TransportError> {
        Err(TransportError::Framing("a subscriber sends no metadata".into()))
    }

    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError> {
        self.talk.tagged(tag, body).map_err(|error| {
            self.wrong = Some(error);
            TransportError::Closed
        })
    }

    fn retired(&mut self, segment: u16) {
        self.talk.retired.push(segment);
    }
}
