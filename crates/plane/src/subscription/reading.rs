//! What its connection brings a subscription.

use std::sync::Arc;

use arrowlane_dissociated::{DecodedSchema, ProtocolError, Receiver, shape_of};
use arrowlane_memory::shared::{ReturnPage, ReturnWriter};
use arrowlane_transport::{Endpoint, Progress, Readiness, TransportError};

use super::{
    Origin, State, Subscription,
    arrival::{Arrived, FromPublisher, resolve},
    whole::Whole,
};
use crate::{
    Batch, BatchSchema, Dictionary, Event, Lane, PlaneError,
    link::{Link, Wire},
    publisher::{clock::EVICTED, policy::NOT_PERMITTED},
    ticket::{BAD_TICKET, Ticket},
    topic::{GRPC, INLINE},
};

/// Bytes read before other connections get their turn: on an event loop, and on the thread that reads networks, where a turn costs
/// more beside what it brings.
const BUDGET: usize = 256 << 10;
const NETWORK_BUDGET: usize = 1 << 20;

impl Subscription {
    pub(super) fn link_ready(&self, lane: &Arc<Lane>, readiness: Readiness) {
        let Some(link) = self.state.lock().link.clone() else { return };
        if readiness.writable {
            link.flush();
        }
        if !readiness.readable && link.is_greeted() {
            return;
        }
        let mut arrived = Vec::new();
        let result = self.read(&link, &mut arrived);
        if matches!(arrived.first(), Some(Arrived::Connected(_))) {
            // What it asks for may not have found room as a whole.
            link.flush();
        }
        let stirs = || link.wire.lock().endpoint.as_ref().is_some_and(|endpoint| endpoint.stirs_by_itself().is_some());
        let said = !arrived.is_empty() || !stirs();
        let mut state = self.state.lock();
        if said {
            state.silence = 0;
        }
        if state.draining {
            let over = result.is_err() || arrived.iter().any(|event| matches!(event, Arrived::End));
            for event in arrived {
                // A batch's lease ends here, unseen; a dictionary's with it.
                drop(self.handle(&mut state, &link, event));
                state.dictionaries.clear();
                state.delivered.take();
            }
            if over {
                state.link = None;
                drop(state);
                link.stop_reading();
            }
            return;
        }
        let mut failure = None;
        for event in arrived {
            match self.handle(&mut state, &link, event) {
                Ok(Some(event)) => self.emit(lane, event),
                Ok(None) => {}
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if state.ended {
            return self.end(state, &link, lane, None);
        }
        match (failure, result) {
            (Some(error), _) => self.end(state, &link, lane, Some(error)),
            (None, Ok(())) => {
                // Whoever hears of credits stops by itself.
                if state.delivered.is_much() && !link.is_extended() {
                    state.paused = true;
                    link.stop_reading();
                }
            }
            (None, Err(PlaneError::Transport(TransportError::Closed)))
                if matches!(self.origin, Origin::Topic(_)) && !link.is_greeted() =>
            {
                // Not even a greeting: it has no descriptors left, or died. Nothing was missed: try again.
                state.link = None;
                drop(state);
                link.hang_up(&mut link.wire.lock());
                self.emit(lane, Event::Retry);
            }
            (None, Err(PlaneError::Transport(TransportError::Closed)))
                if matches!(self.origin, Origin::Topic(_)) && self.options.reconnect =>
            {
                self.lost(state, &link, lane);
            }
            (None, Err(PlaneError::Transport(TransportError::Closed))) => {
                let left_out = link.wire.lock().receiver.as_ref().and_then(Receiver::left_out);
                let lost = || PlaneError::PublisherLost { topic: self.topic.clone() };
                self.end(state, &link, lane, Some(left_out.map_or_else(lost, PlaneError::from)));
            }
            (None, Err(error)) => self.end(state, &link, lane, Some(error)),
        }
    }

    /// Reads what has arrived. Nothing that owns a lease is made or dropped while the connection is locked.
    fn read(&self, link: &Arc<Link>, arrived: &mut Vec<Arrived>) -> Result<(), PlaneError> {
        let mut wire = link.wire.lock();
        let Wire { endpoint: Some(endpoint), receiver, returns, .. } = &mut *wire else { return Ok(()) };
        let mut inbox = FromPublisher { receiver, wrong: None, greeted: None, scheme: endpoint.scheme() };
        let budget = if endpoint.lends() { BUDGET } else { NETWORK_BUDGET };
        let result = endpoint.receive(budget, &mut inbox);
        let FromPublisher { wrong, greeted, .. } = inbox;
        if let Some(tags) = greeted {
            let Some(ticket) = Ticket::batches(self.asks_for(), &self.options.request, tags.policies) else {
                return Err(PlaneError::NotPermitted(
                    "this publisher serves everybody alike: it knows of no policies".into(),
                ));
            };
            endpoint.tagged(tags.want_data_ext, &[&ticket]);
            *returns = tags.returns.then(|| returns_of(&mut **endpoint)).flatten();
            match endpoint.flush() {
                // It may have ended its stream at once: that is read before its absence counts.
                Ok(_) | Err(TransportError::Closed) => {}
                Err(error) => return Err(error.into()),
            }
            arrived.push(Arrived::Connected(tags.via));
        }
        if let Some(receiver) = receiver {
            while let Some(event) = receiver.next() {
                arrived.push(resolve(&**endpoint, receiver, event)?);
            }
        }
        if let Some(error) = wrong {
            return Err(error);
        }
        // With `Progress::More` the descriptor stays readable, and the next turn goes on.
        result.map(|_: Progress| ()).map_err(PlaneError::from)
    }

    fn handle(&self, state: &mut State, link: &Arc<Link>, event: Arrived) -> Result<Option<Event>, PlaneError> {
        Ok(match event {
            Arrived::Connected(INLINE) if self.options.strict => {
                return Err(PlaneError::CopyRequired(
                    "this publisher cannot share its memory, so batches are copied through its socket: subscribe without \
                     strictZeroCopy, or see `npx arrowlane doctor` where it runs"
                        .into(),
                ));
            }
            Arrived::Connected(GRPC) if self.options.strict => {
                return Err(PlaneError::CopyRequired(
                    "what comes by gRPC is copied on its way: fetch it by another transport, or without strictZeroCopy"
                        .into(),
                ));
            }
            Arrived::Connected(via) if std::mem::take(&mut state.lost) => {
                state.via = via;
                self.figures.reconnected();
                Some(Event::Reconnected)
            }
            Arrived::Connected(via) => {
                state.via = via;
                Some(Event::Connected)
            }
            Arrived::Notice(fields) => self.figures.told(&fields)?.map(Event::Dropped),
            Arrived::Schema(decoded) => {
                let shape = shape_of(&decoded.schema);
                let DecodedSchema { schema, dictionaries, .. } = decoded;
                state.schema = Some(Arc::new(BatchSchema { arrow: schema, dictionaries, shape }));
                None
            }
            Arrived::Batch { sequence, header, metadata, body, bytes } => {
                let schema =
                    state.schema.clone().ok_or_else(|| PlaneError::SchemaMismatch("there is none yet".into()))?;
                schema.shape.check(&header)?;
                let body = Whole::of(body, header, link)?;
                state.delivered.add(bytes, body.cost(&metadata), body.room(self.figures.queue_bytes()))?;
                let (header, body, buffers) = body.plain(self.options.strict)?;
                let dictionaries =
                    schema.dictionaries.iter().map(|field| state.dictionaries.get(&field.id).cloned()).collect();
                let (via, sequence) = (state.via, Some(sequence));
                let batch = Batch { schema, header, buffers, body, dictionaries, metadata, via, sequence };
                Some(Event::Batch(Arc::new(batch)))
            }
            Arrived::Dictionary { id, delta, header, body } => {
                let field = state.schema.as_ref().and_then(|s| s.dictionaries.iter().find(|field| field.id == id));
                let field = field.ok_or_else(|| ProtocolError::Layout {
                    what: "dictionary",
                    detail: format!("no field of the schema has dictionary {id}"),
                })?;
                let body = state.delivered.dictionary(Whole::of(body, header, link)?, state.dictionaries.values())?;
                let (header, body, buffers) = body.plain(self.options.strict)?;
                let dictionary = match state.dictionaries.get(&id) {
                    Some(known) if delta => known.extended(field, &header, &body, &buffers)?,
                    _ => Dictionary { id, header, buffers, body },
                };
                state.dictionaries.insert(id, Arc::new(dictionary));
                None
            }
            Arrived::End => {
                state.ended = true;
                Some(Event::Ended)
            }
            Arrived::Error { code, message } if code == EVICTED => return Err(PlaneError::Evicted(message)),
            Arrived::Error { code, message } if code == NOT_PERMITTED => return Err(PlaneError::NotPermitted(message)),
            Arrived::Error { code, message } if code == BAD_TICKET => return Err(PlaneError::Ticket(message)),
            Arrived::Error { code, message } => return Err(PlaneError::Remote { code, message }),
            Arrived::Alive => None,
        })
    }
}

/// A page to note returns in, where the transport takes one. Without it (no memory, no descriptors) they are sent.
fn returns_of(endpoint: &mut dyn Endpoint) -> Option<ReturnWriter> {
    let (page, descriptor) = ReturnPage::create().ok()?;
    endpoint.offer_returns(descriptor).then(|| ReturnWriter::new(page))
}
