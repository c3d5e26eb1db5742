//! The receiving side of a topic.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use arrowlane_dissociated::{
    BatchHeader, DecodedSchema, Event as Received, KeyValues, Limits, ProtocolError, ReceivedBody, Receiver,
    ReceiverConfig, shape_of,
};
use arrowlane_transport::{
    Endpoint, Inbox, Interest, Progress, Readiness, Source, TransportError,
    shm::{Folder, FolderWatch, ShmListener},
};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    Batch, BatchSchema, Body, Dictionary, Event, Lane, PlaneError, Placed,
    link::{Link, Wire},
    topic::read_greeting,
};

/// Tokens among a subscription's sources.
const WATCH: u64 = 0;
const LINK: u64 = 1;
/// Bytes read before other connections get their turn.
const BUDGET: usize = 256 << 10;

/// What to subscribe to.
#[derive(Debug, Clone)]
pub enum Target {
    /// A topic of this user on this machine.
    Topic(String),
}

/// How a subscription behaves.
#[derive(Debug, Clone)]
pub struct SubscriptionOptions {
    /// Wait for a publisher that is not there yet. Otherwise [`TransportError::NotFound`].
    pub wait: bool,
}

/// A topic's receiving side. Used on its lane's thread; leases may end on any.
pub struct Subscription {
    id: u32,
    lane: Weak<Lane>,
    folder: Arc<Folder>,
    topic: String,
    options: SubscriptionOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watch: Option<(FolderWatch, u64)>,
    link: Option<Arc<Link>>,
    schema: Option<Arc<BatchSchema>>,
    dictionaries: HashMap<i64, Arc<Dictionary>>,
    ended: bool,
}

impl Subscription {
    /// A subscription that is not connected yet; [`connect`](Self::connect) does that.
    pub fn new(folder: Arc<Folder>, target: Target, options: SubscriptionOptions, lane: &Arc<Lane>) -> Arc<Self> {
        let Target::Topic(topic) = target;
        let id = lane.next_id();
        let state = Mutex::default();
        let this = Arc::new(Self { id, lane: Arc::downgrade(lane), folder, topic, options, state });
        lane.add_subscription(id, &this);
        this
    }

    /// Its id in events.
    pub fn id(&self) -> u32 {
        self.id
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
        if self.options.wait && state.watch.is_none() {
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
                state.link = Some(link);
                Ok(())
            }
            Err(TransportError::NotFound(_)) if self.options.wait => Ok(()),
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

    /// A delivered batch was taken by the application: the publisher may send that much more.
    pub fn taken(&self, bytes: u64) {
        let link = self.state.lock().link.clone();
        let (Some(link), Some(lane)) = (link, self.lane.upgrade()) else { return };
        if let Some(receiver) = &mut link.wire.lock().receiver {
            receiver.consumed(bytes);
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
        let link = state.link.take();
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

    fn link_ready(self: &Arc<Self>, lane: &Arc<Lane>, readiness: Readiness) {
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
        let Wire { endpoint: Some(endpoint), receiver, .. } = &mut *wire else { return Ok(()) };
        let mut inbox = FromPublisher { receiver, wrong: None, greeting: None };
        let result = endpoint.receive(BUDGET, &mut inbox);
        let FromPublisher { wrong, greeting, .. } = inbox;
        if let Some(greeting) = greeting {
            let (_, tags) = read_greeting(&greeting)?;
            *receiver = Some(Receiver::new(ReceiverConfig {
                limits: Limits::default(),
                free_tag: Some(tags.free_data),
                ext_tag: Some(tags.want_data_ext),
            }));
            endpoint.tagged(tags.want_data_ext, &[self.topic.as_bytes()]);
            endpoint.flush()?;
            arrived.push(Arrived::Connected);
        }
        if let Some(receiver) = receiver {
            while let Some(event) = receiver.next() {
                arrived.push(resolve(&**endpoint, receiver, event)?);
            }
        }
        if let Some(error) = wrong {
            return Err(error.into());
        }
        // With `Progress::More` the descriptor stays readable, and the next turn goes on.
        result.map(|_: Progress| ()).map_err(PlaneError::from)
    }

    fn handle(&self, state: &mut State, link: &Arc<Link>, event: Arrived) -> Result<Option<Event>, PlaneError> {
        Ok(match event {
            Arrived::Connected => Some(Event::Connected),
            Arrived::Schema(decoded) => {
                let shape = shape_of(&decoded.schema);
                let DecodedSchema { schema, dictionaries, .. } = decoded;
                state.schema = Some(Arc::new(BatchSchema { arrow: schema, dictionaries, shape }));
                None
            }
            Arrived::Batch { header, metadata, body } => {
                let schema = state.schema.clone().ok_or_else(|| PlaneError::SchemaMismatch("there is none yet".into()))?;
                schema.shape.check(&header)?;
                let (body, buffers) = body.into_body(link);
                let dictionaries =
                    schema.dictionaries.iter().map(|field| state.dictionaries.get(&field.id).cloned()).collect();
                let batch = Batch { schema, header, buffers, body, dictionaries, metadata, via: "shm" };
                Some(Event::Batch(Arc::new(batch)))
            }
            Arrived::Dictionary { id, delta, header, body } => {
                let (body, buffers) = body.into_body(link);
                let field = state.schema.as_ref().and_then(|s| s.dictionaries.iter().find(|field| field.id == id));
                let dictionary = match (state.dictionaries.get(&id), field) {
                    (Some(known), Some(field)) if delta => known.extended(field, &header, &body, &buffers)?,
                    _ => Dictionary { id, header, buffers, body },
                };
                state.dictionaries.insert(id, Arc::new(dictionary));
                None
            }
            Arrived::End => {
                state.ended = true;
                Some(Event::Ended)
            }
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
                }
                lane.emit(self.id, Event::Failed(error));
            }
            None => link.close(),
        }
        lane.remove(self.id);
    }
}

impl Source for Subscription {
    fn ready(&self, token: u64, readiness: Readiness) {
        let Some(lane) = self.lane.upgrade() else { return };
        let Some(this) = lane.subscription(self.id) else { return };
        if token == LINK {
            return this.link_ready(&lane, readiness);
        }
        if let Some((watch, _)) = &this.state.lock().watch {
            watch.drain();
        }
        if let Err(error) = this.connect() {
            lane.emit(self.id, Event::Failed(error));
            lane.remove(self.id);
        }
    }
}

/// An event of the protocol with its addresses resolved.
enum Arrived {
    Connected,
    Schema(DecodedSchema),
    Batch { header: BatchHeader, metadata: KeyValues, body: Located },
    Dictionary { id: i64, delta: bool, header: BatchHeader, body: Located },
    End,
    Error { code: String, message: String },
    Alive,
}

enum Located {
    Lent { loans: Vec<Option<arrowlane_transport::Loan>>, addresses: Vec<u64> },
    Inline { bytes: Bytes, spans: Vec<(usize, usize)> },
}

impl Located {
    fn into_body(self, link: &Arc<Link>) -> (Arc<Body>, Vec<Placed>) {
        match self {
            Self::Lent { loans, addresses } => Body::of_loans(link, loans, addresses),
            Self::Inline { bytes, spans } => Body::of_bytes(bytes, &spans),
        }
    }
}

fn resolve(endpoint: &dyn Endpoint, receiver: &mut Receiver, event: Received) -> Result<Arrived, PlaneError> {
    Ok(match event {
        Received::Schema(schema, _) => Arrived::Schema(schema),
        Received::Batch { header, metadata, body, .. } => {
            let body = locate(endpoint, &header, body)?;
            Arrived::Batch { header, metadata, body }
        }
        Received::Dictionary { id, delta, header, body } => {
            receiver.consumed(body.bytes());
            let body = locate(endpoint, &header, body)?;
            Arrived::Dictionary { id, delta, header, body }
        }
        Received::End => Arrived::End,
        Received::Error { code, message } => Arrived::Error { code, message },
        Received::Heartbeat => Arrived::Alive,
    })
}

fn locate(endpoint: &dyn Endpoint, header: &BatchHeader, body: ReceivedBody) -> Result<Located, PlaneError> {
    let spans = body.spans(header)?;
    Ok(match body {
        ReceivedBody::Pairs { pairs, .. } => {
            let addresses = pairs.iter().filter(|p| p.length > 0).map(|p| p.address).collect();
            let loan = |span: &Option<(u64, u64)>| match span {
                Some((address, length)) if *length > 0 => endpoint.resolve(*address, *length).map(Some),
                _ => Ok(None),
            };
            Located::Lent { loans: spans.iter().map(loan).collect::<Result<_, _>>()?, addresses }
        }
        ReceivedBody::Packed(bytes) => {
            let spans = spans.iter().map(|s| s.map_or((0, 0), |(o, l)| (o as usize, l as usize))).collect();
            Located::Inline { bytes, spans }
        }
        ReceivedBody::None => Located::Inline { bytes: Bytes::new(), spans: vec![(0, 0); header.buffers.len()] },
    })
}

struct FromPublisher<'a> {
    receiver: &'a mut Option<Receiver>,
    wrong: Option<ProtocolError>,
    greeting: Option<String>,
}

impl FromPublisher<'_> {
    fn with(&mut self, feed: impl FnOnce(&mut Receiver) -> Result<(), ProtocolError>) -> Result<(), TransportError> {
        let Some(receiver) = self.receiver else {
            return Err(TransportError::Framing("the publisher did not greet first".into()));
        };
        feed(receiver).map_err(|error| {
            self.wrong = Some(error);
            TransportError::Closed
        })
    }
}

impl Inbox for FromPublisher<'_> {
    fn greeting(&mut self, uri: &str) -> Result<(), TransportError> {
        if self.receiver.is_some() || self.greeting.is_some() {
            return Err(TransportError::Framing("the publisher greeted twice".into()));
        }
        self.greeting = Some(uri.into());
        Ok(())
    }

    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.with(|receiver| receiver.metadata(bytes))
    }

    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError> {
        self.with(|receiver| receiver.tagged(tag, Bytes::copy_from_slice(body)))
    }

    fn retired(&mut self, _segment: u16) {}
}
