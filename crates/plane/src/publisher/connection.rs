//! One subscriber, as its publisher sees it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrowlane_dissociated::{Body, Pair, ProtocolError, Sender, SenderConfig, SenderEvent, encode_dictionary};
use arrowlane_memory::{
    Block, Pool,
    shared::{Overrun, ReturnReader},
};
use arrowlane_transport::{Endpoint, Inbox, Interest, Source, TransportError, shm::ShmEndpoint};

use super::{
    ConnectionId, Queue,
    plain::{Holding, Outstanding},
};
use crate::{Lane, Outgoing, PlaneError, outgoing::pairs, topic::TAGS};

/// Bytes queued for a socket that is full, beyond which a subscriber has no room.
const MAX_QUEUED: usize = 1 << 20;
/// Bytes read from one subscriber before the next one gets its turn.
const BUDGET: usize = 256 << 10;

pub(super) struct Connection {
    endpoint: ShmEndpoint,
    key: u64,
    writing: bool,
    talk: Talk,
    /// Versions of the dictionaries that this subscriber has, by their order in the schema.
    dictionaries: Vec<u64>,
    /// Where in the count of bytes each batch ends that was sent and not yet taken.
    window: VecDeque<u64>,
    /// What counts instead for a client without credits.
    plain: Arc<Outstanding>,
    leases: Arc<AtomicUsize>,
    /// Where the subscriber notes what goes back, if it gave us such a page.
    returns: Option<ReturnReader>,
    turn: u64,
    announced: bool,
    /// Whether the schema went out.
    started: bool,
}

/// What is said to and by the subscriber.
struct Talk {
    topic: String,
    phase: Phase,
    /// It wants no more.
    cancelled: bool,
    /// Segments whose retirement it acknowledged, until the publisher asks.
    retired: Vec<u16>,
}

enum Phase {
    /// Connected; has not said what it wants.
    Greeted,
    /// Takes part.
    Streaming(Sender<Lent>),
    /// Gets no more, holds leases perhaps.
    Ended(Sender<Lent>),
}

/// Keeps a block until the last of its addresses came back from one subscriber.
#[derive(Clone)]
struct Lent(#[expect(dead_code, reason = "held for its Drop")] Arc<Held>);

struct Held {
    _block: Arc<Block>,
    _plain: Option<Holding>,
    leases: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.leases.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A batch, encoded once for all subscribers.
pub(super) struct Message<'a> {
    pub out: &'a Outgoing,
    pub pairs: &'a [Pair],
    pub flatbuffer: &'a [u8],
    pub schema: &'a [u8],
}

impl Connection {
    pub(super) fn new(
        mut endpoint: ShmEndpoint,
        lane: &Lane,
        source: Arc<dyn Source>,
        id: ConnectionId,
        uri: &str,
        topic: &str,
    ) -> Result<Self, PlaneError> {
        endpoint.greet(uri);
        let key = lane.reactor().watch(endpoint.descriptor(), Interest::Read, source, id)?;
        Ok(Self {
            endpoint,
            key,
            writing: false,
            talk: Talk { topic: topic.into(), phase: Phase::Greeted, cancelled: false, retired: Vec::new() },
            dictionaries: Vec::new(),
            window: VecDeque::new(),
            plain: Arc::default(),
            leases: Arc::default(),
            returns: None,
            turn: 0,
            announced: false,
            started: false,
        })
    }

    pub(super) fn takes_part(&self) -> bool {
        matches!(self.talk.phase, Phase::Streaming(_))
    }

    pub(super) fn announce(&mut self) {
        self.announced = true;
    }

    /// Whether it was announced and its leaving was not: `true` once.
    pub(super) fn leave(&mut self) -> bool {
        std::mem::take(&mut self.announced)
    }

    pub(super) fn is_queued(&self) -> bool {
        self.endpoint.queued() > 0
    }

    /// Something that it still wants is not with the system.
    pub(super) fn is_owed(&self) -> bool {
        self.is_queued() && !self.talk.cancelled
    }

    /// Tells the subscriber that a segment is given up. `true` when it will acknowledge that; whoever is sent nothing
    /// any more need not.
    pub(super) fn retire(&mut self, segment: u16) -> bool {
        self.takes_part() && self.endpoint.retire(segment)
    }

    /// The segments whose retirement it acknowledged since this was last asked.
    pub(super) fn take_retired(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.talk.retired)
    }

    /// Wanted nothing more and holds nothing more.
    pub(super) fn is_done(&self) -> bool {
        matches!(&self.talk.phase, Phase::Ended(sender) if sender.outstanding() == 0) && !self.is_queued()
    }

    /// Has not said what it wants.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.talk.phase, Phase::Greeted)
    }

    /// Batches (and dictionaries) that it holds.
    pub(super) fn leases(&self) -> usize {
        self.leases.load(Ordering::Acquire)
    }

    pub(super) fn has_room(&self, bytes: u64, queue: &Queue) -> bool {
        let Phase::Streaming(sender) = &self.talk.phase else { return true };
        if !sender.is_extended() {
            return self.plain.has_room(bytes, queue) && self.endpoint.queued() < MAX_QUEUED;
        }
        let behind = sender.sent_bytes() - sender.consumed_bytes();
        self.window.len() < queue.batches
            && (self.window.is_empty() || behind + bytes <= queue.bytes)
            && self.endpoint.queued() < MAX_QUEUED
    }

    /// Whether this is the first time in this turn of the loop.
    pub(super) fn is_first_of(&mut self, turn: u64) -> bool {
        std::mem::replace(&mut self.turn, turn) != turn
    }

    /// Queues a batch, and before it what the subscriber needs to read it. `true` when it should go out soon: it is
    /// alone in the queue, or the queue has become long.
    pub(super) fn send(&mut self, pool: &Pool, message: &Message<'_>) -> Result<bool, PlaneError> {
        let Phase::Streaming(sender) = &mut self.talk.phase else { return Ok(false) };
        let out = message.out;
        let endpoint = &mut self.endpoint;
        if !std::mem::replace(&mut self.started, true) {
            sender.message(message.schema, Body::None, endpoint);
            self.dictionaries = vec![0; out.schema.dictionaries.len()];
        }
        let mut sent_ids: Vec<i64> = Vec::new();
        // In their order: what is inside a dictionary's values comes before it.
        for (index, dictionary) in out.dictionaries.iter().enumerate() {
            let (Some(known), Some(field)) = (self.dictionaries.get_mut(index), out.schema.dictionaries.get(index))
            else {
                continue;
            };
            if *known == dictionary.version || sent_ids.contains(&field.id) {
                *known = dictionary.version;
                continue;
            }
            *known = dictionary.version;
            sent_ids.push(field.id);
            let flatbuffer = encode_dictionary(field.id, false, &dictionary.header);
            let pairs = pairs(&dictionary.header, dictionary.block.as_deref());
            put(
                sender,
                endpoint,
                pool,
                &self.leases,
                &flatbuffer,
                &pairs,
                dictionary.block.as_ref().map(|b| (b, None)),
            )?;
        }
        let extended = sender.is_extended();
        let plain = (!extended).then(|| self.plain.hold(out.header.body_length));
        put(
            sender,
            endpoint,
            pool,
            &self.leases,
            message.flatbuffer,
            message.pairs,
            out.block.as_ref().map(|b| (b, plain)),
        )?;
        if extended {
            self.window.push_back(sender.sent_bytes());
        }
        Ok(true)
    }

    /// Whether it can be told of an error; otherwise the connection has to be closed instead.
    pub(super) fn hears_errors(&self) -> bool {
        matches!(&self.talk.phase, Phase::Streaming(sender) | Phase::Ended(sender) if sender.is_extended())
    }

    /// Ends its stream: well, or with an error's code and message.
    pub(super) fn finish(&mut self, failure: Option<(&str, &str)>) {
        let phase = std::mem::replace(&mut self.talk.phase, Phase::Greeted);
        self.talk.phase = match phase {
            Phase::Streaming(mut sender) => {
                match failure {
                    Some((code, message)) => sender.fail(code, message, &mut self.endpoint),
                    None => sender.finish(&mut self.endpoint),
                }
                Phase::Ended(sender)
            }
            // It came as the publisher closed: its stream ends before it began. Where that is an error it gets no end,
            // as it has not said yet whether it understands more; the connection closes.
            Phase::Greeted => {
                let mut sender = Sender::new(SenderConfig { free_tag: TAGS.free_data, ext_tag: None });
                if failure.is_none() {
                    sender.finish(&mut self.endpoint);
                }
                Phase::Ended(sender)
            }
            Phase::Ended(sender) => Phase::Ended(sender),
        };
        self.ask(true);
    }

    pub(super) fn receive(&mut self) -> Result<(), PlaneError> {
        let mut inbox = FromSubscriber { talk: &mut self.talk, wrong: None };
        let result = self.endpoint.receive(BUDGET, &mut inbox);
        if let Some(error) = inbox.wrong {
            return Err(error);
        }
        result?;
        if let Some(mut returns) = self.endpoint.take_returns() {
            // Whoever gets nothing more is not looked at by a sender: it has to speak up.
            returns.ask(!self.takes_part());
            self.returns = Some(returns);
        }
        self.collect()?;
        if self.talk.cancelled && self.takes_part() {
            self.finish(None);
        }
        Ok(())
    }

    /// Takes back what the subscriber noted, and forgets what it has taken in. Whether there was anything.
    pub(super) fn collect(&mut self) -> Result<bool, PlaneError> {
        let mut any = false;
        if let (Some(returns), Phase::Streaming(sender) | Phase::Ended(sender)) =
            (&mut self.returns, &mut self.talk.phase)
        {
            while let Some(address) = returns.take().map_err(overrun)? {
                sender.free(address)?;
                any = true;
            }
        }
        if let Phase::Streaming(sender) = &self.talk.phase {
            let consumed = sender.consumed_bytes();
            while self.window.front().is_some_and(|end| *end <= consumed) {
                self.window.pop_front();
            }
        }
        Ok(any)
    }

    /// Asks the subscriber to say when it notes something, or no more. One that gets nothing more always does.
    pub(super) fn ask(&mut self, asked: bool) {
        let always = !self.takes_part();
        if let Some(returns) = &mut self.returns {
            returns.ask(asked || always);
        }
    }

    /// Hands to the system what is queued. `true` when that is to be tried again after a pause.
    pub(super) fn flush(&mut self, lane: &Lane) -> Result<bool, PlaneError> {
        self.endpoint.flush()?;
        let writing = self.endpoint.wants_write();
        if writing != self.writing {
            let interest = if writing { Interest::ReadWrite } else { Interest::Read };
            lane.reactor().change(self.key, self.endpoint.descriptor(), interest)?;
            self.writing = writing;
        }
        Ok(self.endpoint.wants_pause())
    }

    pub(super) fn forget(&self, lane: &Lane) {
        lane.reactor().forget(self.key, self.endpoint.descriptor());
    }
}

fn put(
    sender: &mut Sender<Lent>,
    endpoint: &mut ShmEndpoint,
    pool: &Pool,
    leases: &Arc<AtomicUsize>,
    flatbuffer: &[u8],
    pairs: &[Pair],
    block: Option<(&Arc<Block>, Option<Holding>)>,
) -> Result<(), PlaneError> {
    let Some((block, plain)) = block else {
        if sender.is_extended() {
            sender.message(flatbuffer, Body::None, endpoint);
            // Counted as one byte by both sides: otherwise no credit would ever say that it was taken.
            sender.count(1);
        } else {
            // It waits for a body, though there is nothing in it.
            sender.message(flatbuffer, Body::Packed { parts: &[], length: 0 }, endpoint);
        }
        return Ok(());
    };
    endpoint.lend(pool, block)?;
    leases.fetch_add(1, Ordering::AcqRel);
    let keep = Lent(Arc::new(Held { _block: Arc::clone(block), _plain: plain, leases: Arc::clone(leases) }));
    let total = pairs.iter().map(|p| p.length).sum();
    sender.message(flatbuffer, Body::Pairs { total, pairs, keep: &keep }, endpoint);
    Ok(())
}

fn overrun(Overrun(count): Overrun) -> PlaneError {
    TransportError::Framing(format!("a subscriber claims to have noted {count} returns at once")).into()
}

impl Talk {
    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), PlaneError> {
        match &mut self.phase {
            Phase::Greeted => {
                if body != self.topic.as_bytes() {
                    return Err(TransportError::Framing("the ticket is not this topic".into()).into());
                }
                let ext_tag = match tag {
                    t if t == TAGS.want_data_ext => Some(t),
                    t if t == TAGS.want_data => None,
                    t => return Err(ProtocolError::UnknownTag(t).into()),
                };
                self.phase = Phase::Streaming(Sender::new(SenderConfig { free_tag: TAGS.free_data, ext_tag }));
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

struct FromSubscriber<'a> {
    talk: &'a mut Talk,
    wrong: Option<PlaneError>,
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
