//! The sending side of a topic.

mod admission;
mod arrivals;
pub(crate) mod clock;
mod closing;
mod collect;
mod connection;
pub(crate) mod door;
mod flushing;
mod latest;
mod ledger;
mod lending;
mod memory;
mod native;
mod options;
mod plain;
pub(crate) mod policy;
mod prepared;
mod queue;
mod relay;
mod report;
mod talk;
mod waiting;

pub(crate) use self::admission::Admission;
pub use self::{
    ledger::{LeaseStatistics, Standing, SubscriberStatistics},
    lending::Lending,
    native::PackOutcome,
    options::{PublisherOptions, PublisherStatistics, Queue, SendOutcome},
    policy::{Overflow, Permits, Policy, Request},
    prepared::Prepared,
    relay::Part,
};

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    sync::{Arc, Weak, atomic::AtomicBool},
    time::Instant,
};

use arrowlane_dissociated::{BatchHeader, KeyValues, encode_batch, encode_schema};
use arrowlane_memory::Pool;
use arrowlane_transport::{Interest, Listener, Source, shm::ShmListener};
use parking_lot::Mutex;

use self::{
    clock::Clock,
    connection::{Connection, Message, Offered},
    door::Door,
    lending::packed_header,
    memory::{Retiring, Usage},
    queue::Parked,
    waiting::Waiting,
};
use crate::{BatchSchema, Event, Lane, Outgoing, PlaneError, memory::pairs, topic};

pub(crate) use self::lending::{buffers_of, bytes_of};

/// Which of a publisher's connections.
pub type ConnectionId = u64;

/// The largest bound of a subscriber's queue in batches. Subscribers take more than that for an attack.
pub const MAX_QUEUED_BATCHES: usize = 1 << 16;

/// A topic's sending side. Used on its lane's thread; blocks may return on any.
pub struct Publisher {
    id: u32,
    topic: String,
    uri: String,
    path: Option<std::path::PathBuf>,
    lane: Weak<Lane>,
    pool: Pool,
    lending: Lending,
    options: PublisherOptions,
    state: Mutex<State>,
    packed: Mutex<native::Packed>,
    relays: relay::SharedRelays,
    usage: Mutex<Usage>,
    waiting: Arc<Waiting>,
    dirty: AtomicBool,
    started: Instant,
}

#[derive(Default)]
struct State {
    door: Option<Door>,
    connections: BTreeMap<ConnectionId, Connection>,
    last: ConnectionId,
    retiring: Retiring,
    schema: Option<(Arc<BatchSchema>, Vec<u8>)>,
    header: Option<CachedHeader>,
    /// Subscribers were asked to say when something goes back.
    asking: bool,
    clock: Option<Clock>,
    /// The latest batch, where it is kept for those who come.
    latest: Option<Arc<Parked>>,
    /// Subscribers that may lose batches.
    droppers: u64,
    /// Batches published, and their bytes.
    batches: u64,
    bytes: u64,
    closing: bool,
    closed: bool,
}

impl State {
    /// Whether a batch can be offered without waiting for anybody.
    fn all_accept(&self, bytes: u64) -> bool {
        self.connections.values().all(|c| !c.takes_part() || c.accepts(bytes))
    }

    fn accepts(&self, id: ConnectionId, bytes: u64) -> Result<bool, PlaneError> {
        let connection = self.connections.get(&id).filter(|c| c.takes_part());
        connection.map(|c| c.accepts(bytes)).ok_or(PlaneError::Closed)
    }
}

/// The last header and its encoding: batches of one size have the same.
struct CachedHeader {
    header: BatchHeader,
    metadata: KeyValues,
    flatbuffer: Vec<u8>,
}

impl Publisher {
    /// Opens for subscribers.
    pub fn start(prepared: Prepared, lane: &Arc<Lane>) -> Result<Arc<Self>, PlaneError> {
        let Prepared { topic, listener, pool, lending, options } = prepared;
        let path = listener.as_ref().map(ShmListener::path);
        let uri = path.as_ref().map(|path| topic::uri(path, &topic, &lending)).unwrap_or_default();
        let id = Lane::next_id();
        let flag = AtomicBool::new(false);
        let waiting = Arc::new(Waiting { publisher: id, lane: Arc::downgrade(lane), flag });
        let on_return = Arc::clone(&waiting);
        pool.set_on_return(Box::new(move || on_return.end()));
        let options = options.bounded();
        let publisher = Arc::new(Self {
            id,
            topic,
            uri,
            path,
            lane: Arc::downgrade(lane),
            pool,
            lending,
            options,
            state: Mutex::default(),
            packed: Mutex::default(),
            relays: Mutex::default(),
            usage: Mutex::default(),
            waiting,
            dirty: AtomicBool::new(false),
            started: Instant::now(),
        });
        let source: Arc<dyn Source> = publisher.clone();
        if publisher.options.evict_after.is_some() {
            publisher.state.lock().clock = Some(Clock::new(lane, source.clone())?);
        }
        if let Some(listener) = listener {
            let key = lane.reactor().watch(listener.descriptor(), Interest::Read, source, arrivals::LISTENER)?;
            publisher.state.lock().door = Some(Door::new(Box::new(listener), key));
        }
        lane.add_publisher(publisher.id, &publisher);
        Ok(publisher)
    }

    /// Its id in events.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The URI that subscribers are greeted with; empty where it is unlisted.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The path of its socket; none where it is unlisted.
    pub fn path(&self) -> Option<&std::path::Path> {
        self.path.as_deref()
    }

    /// The schema of its batches, once there was one.
    pub fn schema(&self) -> Option<arrow_schema::SchemaRef> {
        self.state.lock().schema.as_ref().map(|(schema, _)| Arc::clone(&schema.arrow))
    }

    /// Says what the schema is before there is a batch.
    ///
    /// # Errors
    /// When it is known to be another, or the publisher was closed.
    pub fn expect(&self, schema: &Arc<BatchSchema>) -> Result<(), PlaneError> {
        self.accept_schema(&mut self.state.lock(), schema)
    }

    /// Its memory.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Sends to every subscriber, or to nobody.
    ///
    /// # Errors
    /// When the schema is not the topic's, or the publisher was closed.
    pub fn try_send(self: &Arc<Self>, out: &Outgoing) -> Result<SendOutcome, PlaneError> {
        let mut state = self.state.lock();
        let state = &mut *state;
        self.accept_schema(state, &out.schema)?;
        self.collect(state);
        let present = state.connections.values().filter(|c| c.takes_part()).count();
        if present < self.options.min_subscribers {
            self.waiting.begin();
            return Ok(SendOutcome::NoSubscriber);
        }
        let bytes = out.header.body_length;
        if !(state.all_accept(bytes) || self.ask(state) && state.all_accept(bytes)) {
            state.connections.values_mut().for_each(|c| c.is_waited_for(bytes));
            return Ok(SendOutcome::NoRoom);
        }
        self.ask_no_more(state);
        let ids: Vec<_> = state.connections.iter().filter(|(_, c)| c.takes_part()).map(|(id, _)| *id).collect();
        self.deliver(state, out, &ids, self.options.permits.last).map(SendOutcome::Sent)
    }

    /// Sends to one subscriber, whose stream is its own.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), and [`PlaneError::Closed`] when that subscriber left.
    pub fn try_send_to(self: &Arc<Self>, id: ConnectionId, out: &Outgoing) -> Result<SendOutcome, PlaneError> {
        let mut state = self.state.lock();
        let state = &mut *state;
        self.accept_schema(state, &out.schema)?;
        self.collect(state);
        let bytes = out.header.body_length;
        if !(state.accepts(id, bytes)? || self.ask(state) && state.accepts(id, bytes)?) {
            state.connections.get_mut(&id).into_iter().for_each(|c| c.is_waited_for(bytes));
            return Ok(SendOutcome::NoRoom);
        }
        self.ask_no_more(state);
        self.deliver(state, out, &[id], false).map(SendOutcome::Sent)
    }

    /// Ends one subscriber's own stream: well, or with an error's code and message.
    pub fn finish(self: &Arc<Self>, id: ConnectionId, failure: Option<(&str, &str)>) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.hand_over(state, Some(id));
        if let Some(connection) = state.connections.get_mut(&id) {
            if failure.is_none()
                && let Some((schema, flatbuffer)) = &state.schema
            {
                // A stream without batches has one too.
                connection.begin(flatbuffer, schema.dictionaries.len());
            }
            if failure.is_some() && !connection.hears_errors() {
                // The closing of its connection is all that can tell it.
                return self.remove(state, id);
            }
            connection.finish(failure);
        }
        self.recount(state);
        self.acknowledged(state, id, None);
        self.flush_connection(state, id);
    }

    /// Ends the stream of every subscriber and gives the name back; streams of subscribers' own that are not finished end
    /// with an error. [`Event::Closed`] follows when all is handed over;
    /// batches that subscribers hold stay valid.
    pub fn close(self: &Arc<Self>) {
        let unfinished =
            self.options.per_subscriber.then_some(("ERR_CLOSED", "the publisher was closed before this stream's end"));
        self.close_with(&mut self.state.lock(), unfinished);
    }

    /// Lets go of everything at once: subscribers see a publisher that went away, unless it was closed before.
    pub(crate) fn abandon(self: &Arc<Self>) {
        let mut state = self.state.lock();
        self.stop_listening(&mut state);
        let connections = std::mem::take(&mut state.connections);
        state.closed = true;
        connections.values().for_each(Connection::abandon);
        if let Some(lane) = self.lane.upgrade() {
            state.clock.take().inspect(|clock| clock.forget(&lane));
            for connection in connections.values() {
                connection.forget(&lane);
            }
        }
    }

    fn accept_schema(&self, state: &mut State, schema: &Arc<BatchSchema>) -> Result<(), PlaneError> {
        if state.closing || state.closed {
            return Err(PlaneError::Closed);
        }
        match &state.schema {
            Some((known, _)) if Arc::ptr_eq(known, schema) => Ok(()),
            // Subscribers with a stream of their own are told its schema each; the others share one.
            Some((known, _)) if known.arrow == schema.arrow => {
                state.schema = Some((Arc::clone(schema), encode_schema(&schema.arrow)));
                Ok(())
            }
            Some((known, _)) => Err(PlaneError::SchemaMismatch(topic::difference(&known.arrow, &schema.arrow))),
            None => {
                state.schema = Some((Arc::clone(schema), encode_schema(&schema.arrow)));
                Ok(())
            }
        }
    }

    /// Offers a batch to subscribers; how many were given it.
    fn deliver(
        self: &Arc<Self>,
        state: &mut State,
        out: &Outgoing,
        ids: &[ConnectionId],
        keep: bool,
    ) -> Result<usize, PlaneError> {
        let cached = state.header.take().filter(|c| c.header == out.header && c.metadata == out.metadata);
        let cached = cached.unwrap_or_else(|| CachedHeader {
            header: out.header.clone(),
            metadata: out.metadata.clone(),
            flatbuffer: encode_batch(&packed_header(&out.header), &out.metadata),
        });
        let pairs = pairs(&out.header, out.memory.as_ref());
        let turn = self.lane.upgrade().map_or(0, |lane| lane.turn_number());
        let (parked, share) = (OnceCell::new(), self.share(state));
        let (mut later, mut given) = (false, 0);
        for id in ids {
            let Some(connection) = state.connections.get_mut(id) else { continue };
            let schema = state.schema.as_ref().map(|(_, flatbuffer)| flatbuffer.as_slice()).unwrap_or_default();
            let message = Message { out, pairs: &pairs, flatbuffer: &cached.flatbuffer, schema, parked: &parked };
            let offered = connection.offer(&self.pool, &message, share)?;
            given += usize::from(offered != Offered::Dropped);
            if offered == Offered::Sent && connection.is_first_of(turn) {
                self.flush_connection(state, *id);
            } else {
                later = true;
            }
        }
        state.batches += 1;
        state.bytes += out.header.body_length;
        if keep {
            let message = Message { out, pairs: &pairs, flatbuffer: &cached.flatbuffer, schema: &[], parked: &parked };
            state.latest = Some(message.park());
        }
        state.header = Some(cached);
        if later {
            self.flush_later();
        }
        Ok(given)
    }

    fn remove(&self, state: &mut State, id: ConnectionId) {
        let Some(mut connection) = state.connections.remove(&id) else { return };
        if let Some(lane) = self.lane.upgrade() {
            if connection.leave() {
                lane.emit(self.id, Event::Left(id));
            }
            if connection.outlives(&lane) {
                state.connections.insert(id, connection);
            } else {
                connection.forget(&lane);
            }
        }
        self.recount(state);
        self.acknowledged(state, id, None);
        self.waiting.end();
    }

    fn stop_listening(&self, state: &mut State) {
        state.latest = None;
        if let (Some(door), Some(lane)) = (state.door.take(), self.lane.upgrade()) {
            lane.reactor().forget(door.key(), door.listener().descriptor());
        }
    }
}
