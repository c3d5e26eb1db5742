//! The receiving side of a topic.

mod arrival;
mod delivered;
mod figures;
mod options;
mod reconnect;
mod whole;

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use arrowlane_dissociated::{DecodedSchema, ProtocolError, shape_of};
use arrowlane_memory::shared::{ReturnPage, ReturnWriter};
use arrowlane_transport::{
    Endpoint, Interest, Progress, Readiness, Source, TransportError,
    shm::{Folder, FolderWatch, ShmListener},
};
use parking_lot::Mutex;

use self::{
    arrival::{Arrived, FromPublisher, resolve},
    delivered::Delivered,
    whole::Whole,
};
pub use self::{
    figures::{Figures, SubscriptionStatistics},
    options::{SubscriptionOptions, Target},
};
use crate::{
    Batch, BatchSchema, Dictionary, Event, Lane, PlaneError,
    link::{Link, Wire},
    publisher::{clock::EVICTED, policy::NOT_PERMITTED},
    ticket::Ticket,
    topic::INLINE,
};

/// Tokens among a subscription's sources.
const WATCH: u64 = 0;
const LINK: u64 = 1;
/// Bytes read before other connections get their turn.
const BUDGET: usize = 256 << 10;

/// A topic's receiving side. Used on its lane's thread; leases may end on any.
pub struct Subscription {
    id: u32,
    lane: Weak<Lane>,
    folder: Arc<Folder>,
    topic: String,
    options: SubscriptionOptions,
    figures: Arc<Figures>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watch: Option<(FolderWatch, u64)>,
    link: Option<Arc<Link>>,
    schema: Option<Arc<BatchSchema>>,
    dictionaries: HashMap<i64, Arc<Dictionary>>,
    delivered: Delivered,
    /// Delivered by publishers that are gone, and not taken.
    stale: usize,
    /// How bodies come from the publisher.
    via: &'static str,
    /// Had a publisher, and waits for the next.
    lost: bool,
    ended: bool,
    /// Closed by the application: what still arrives goes back unseen, until the publisher's end.
    draining: bool,
}

impl Subscription {
    /// A subscription that is not connected yet; [`connect`](Self::connect) does that.
    pub fn new(folder: Arc<Folder>, target: Target, options: SubscriptionOptions, lane: &Arc<Lane>) -> Arc<Self> {
        let Target::Topic(topic) = target;
        let id = lane.next_id();
        let (state, figures) = (Mutex::default(), Arc::default());
        let this = Arc::new(Self { id, lane: Arc::downgrade(lane), folder, topic, options, figures, state });
        lane.add_subscription(id, &this);
        this
    }

    /// Its id in events.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its figures, which outlive it.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Connects, or starts to wait for a publisher. [`Event::Connected`] follows, at once or later; after
    /// [`Event::Retry`] this is to be called again.
    ///
    /// # Errors
    /// When there is no publisher and waiting was not asked for, or there never can be one under that name.
    pub fn connect(self: &Arc<Self>) -> Result<(), PlaneError> {
        let Some(lane) = self.lane.upgrade() else { return Err(PlaneError::Closed) };
        let mut state = self.state.lock();
        if state.ended || state.link.is_some() {
            return Ok(());
        }
        let wait = self.options.wait || state.lost;
        if wait && state.watch.is_none() {
            // Before the first attempt, so that no publisher can appear unnoticed between the two.
            let watch = self.folder.watch()?;
            let source: Arc<dyn Source> = self.clone();
            let key = lane.reactor().watch(watch.descriptor(), Interest::Read, source, WATCH)?;
            state.watch = Some((watch, key));
        }
        match ShmListener::connect(&self.folder, &self.topic) {
            Ok(endpoint) => {
                Self::stop_watching(&mut state, &lane);
                let link = Link::new(Box::new(endpoint), &lane);
                let mut wire = link.wire.lock();
                let source: Arc<dyn Source> = self.clone();
                if let Some(endpoint) = &wire.endpoint {
                    wire.key = Some(lane.reactor().watch(endpoint.descriptor(), Interest::Read, source, LINK)?);
                }
                drop(wire);
                self.figures.connected(&link);
                state.link = Some(link);
                Ok(())
            }
            Err(TransportError::NotFound(_)) if wait => Ok(()),
            Err(TransportError::Busy(_)) => {
                lane.emit(self.id, Event::Retry);
                Ok(())
            }
            Err(error) => {
                Self::stop_watching(&mut state, &lane);
                state.ended = true;
                Err(error.into())
            }
        }
    }

    /// The oldest of the delivered batches was taken by the application: the publisher may send that much more.
    pub fn taken(&self) {
        let mut state = self.state.lock();
        if state.stale > 0 {
            state.stale -= 1;
            return;
        }
        let Some(bytes) = state.delivered.take() else { return };
        let link = state.link.clone();
        drop(state);
        let (Some(link), Some(lane)) = (link, self.lane.upgrade()) else { return };
        if let Some(receiver) = &mut link.wire.lock().receiver {
            // One without bytes counts as one byte, so that it is waited for as well.
            receiver.consumed(bytes.max(1));
        }
        link.flush_later(&lane);
    }

    /// Ends delivery. Batches that are held stay valid, and so does the connection until the last of them ends.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        let lane = self.lane.upgrade();
        if let Some(lane) = &lane {
            Self::stop_watching(&mut state, lane);
        }
        let link = state.link.clone();
        state.draining = true;
        let dictionaries = std::mem::take(&mut state.dictionaries);
        drop(state);
        drop(dictionaries);
        if let Some(link) = link {
            link.close();
        }
        if let Some(lane) = lane {
            lane.remove(self.id);
        }
    }

    fn stop_watching(state: &mut State, lane: &Lane) {
        if let Some((watch, key)) = state.watch.take() {
            lane.reactor().forget(key, watch.descriptor());
        }
    }

    fn link_ready(&self, lane: &Arc<Lane>, readiness: Readiness) {
        let Some(link) = self.state.lock().link.clone() else { return };
        if readiness.writable {
            link.flush();
        }
        if !readiness.readable {
            return;
        }
        let mut arrived = Vec::new();
        let result = self.read(&link, &mut arrived);
        let mut state = self.state.lock();
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
                Ok(Some(event)) => lane.emit(self.id, event),
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
            (None, Ok(())) => {}
            (None, Err(PlaneError::Transport(TransportError::Closed))) if link.wire.lock().receiver.is_none() => {
                // Not even a greeting: it has no descriptors left, or died. Nothing was missed: try again.
                state.link = None;
                drop(state);
                link.hang_up(&mut link.wire.lock());
                lane.emit(self.id, Event::Retry);
            }
            (None, Err(PlaneError::Transport(TransportError::Closed))) if self.options.reconnect => {
                self.lost(state, &link, lane);
            }
            (None, Err(PlaneError::Transport(TransportError::Closed))) => {
                let lost = PlaneError::PublisherLost { topic: self.topic.clone() };
                self.end(state, &link, lane, Some(lost));
            }
            (None, Err(error)) => self.end(state, &link, lane, Some(error)),
        }
    }

    /// Reads what has arrived. Nothing that owns a lease is made or dropped while the connection is locked.
    fn read(&self, link: &Arc<Link>, arrived: &mut Vec<Arrived>) -> Result<(), PlaneError> {
        let mut wire = link.wire.lock();
        let Wire { endpoint: Some(endpoint), receiver, returns, .. } = &mut *wire else { return Ok(()) };
        let mut inbox = FromPublisher { receiver, wrong: None, greeted: None };
        let result = endpoint.receive(BUDGET, &mut inbox);
        let FromPublisher { wrong, greeted, .. } = inbox;
        if let Some(tags) = greeted {
            let Some(ticket) = Ticket::batches(&self.topic, &self.options.request, tags.policies) else {
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
            Arrived::Error { code, message } => return Err(PlaneError::Remote { code, message }),
            Arrived::Alive => None,
        })
    }

    /// Nothing follows: the connection lives on for the leases that are held, and is taken down with the last.
    fn end(
        &self,
        mut state: parking_lot::MutexGuard<'_, State>,
        link: &Arc<Link>,
        lane: &Arc<Lane>,
        error: Option<PlaneError>,
    ) {
        state.ended = true;
        state.link = None;
        let dictionaries = std::mem::take(&mut state.dictionaries);
        drop(state);
        drop(dictionaries);
        match error {
            Some(error) => {
                if matches!(error, PlaneError::PublisherLost { .. }) {
                    link.hang_up(&mut link.wire.lock());
                } else {
                    link.close();
                    link.stop_reading();
                }
                lane.emit(self.id, Event::Failed(error));
            }
            None => {
                link.close();
                link.stop_reading();
            }
        }
        lane.remove(self.id);
    }
}

/// A page to note returns in, where the transport takes one. Without it (no memory, no descriptors) they are sent.
fn returns_of(endpoint: &mut dyn Endpoint) -> Option<ReturnWriter> {
    let (page, descriptor) = ReturnPage::create().ok()?;
    endpoint.offer_returns(descriptor).then(|| ReturnWriter::new(page))
}

impl Source for Subscription {
    fn ready(&self, token: u64, readiness: Readiness) {
        let Some(lane) = self.lane.upgrade() else { return };
        if token == LINK {
            // Also when it was closed, and the lane knows it no more.
            return self.link_ready(&lane, readiness);
        }
        let Some(this) = lane.subscription(self.id) else { return };
        if let Some((watch, _)) = &this.state.lock().watch {
            watch.drain();
        }
        if let Err(error) = this.connect() {
            lane.emit(self.id, Event::Failed(error));
            lane.remove(self.id);
        }
    }
}
