//! One subscriber, as its publisher sees it.

mod handed_on;
mod overflow;
mod putting;
mod returns;

use std::{cell::OnceCell, collections::VecDeque, sync::Arc};

use arrowlane_dissociated::{Body, Fields, Pair, Sender, SenderConfig, encode_dictionary};
use arrowlane_memory::{Pool, shared::ReturnReader};
use arrowlane_transport::{Endpoint, Interest, Source};

pub(super) use self::overflow::Offered;
use self::putting::{may_lend, put, put_inline};
use super::{
    ConnectionId, Queue,
    clock::Watch,
    ledger::{Holding, Ledger, Lent},
    lending::{self, Lending},
    plain::Outstanding,
    policy::Policy,
    queue::{Backlog, Parked},
    talk::{FromSubscriber, Phase, Talk},
};
use crate::{Lane, Memory, Outgoing, PlaneError, memory::pairs, ticket::Ticket, topic::TAGS};

/// Bytes queued for a socket that is full, beyond which a subscriber has no room.
const MAX_QUEUED: usize = 1 << 20;
/// Beats without a sign of life, after which a subscriber of the network is taken for dead.
const SILENT_BEATS: u32 = 10;
/// Bytes read from one subscriber before the next one gets its turn.
const BUDGET: usize = 256 << 10;

pub(super) struct Connection {
    endpoint: Box<dyn Endpoint>,
    /// Bodies are sent inside their messages, not lent.
    inline: bool,
    key: u64,
    writing: bool,
    talk: Talk,
    policy: Policy,
    /// How much may be sent and not yet taken: the whole queue, or the half of it that is not kept in `backlog`.
    flight: Queue,
    backlog: Backlog,
    ledger: Ledger,
    /// Drops that it was told of; it understands being told when this is there.
    told: Option<u64>,
    watch: Watch,
    evicted: bool,
    /// The subscriber is gone; the endpoint waits for those that it handed things on to.
    orphaned: bool,
    /// Versions of the dictionaries that this subscriber has, by their order in the schema.
    dictionaries: Vec<u64>,
    /// Where in the count of bytes each batch ends that was sent and not yet taken.
    window: VecDeque<u64>,
    /// What counts instead for a client without credits.
    plain: Arc<Outstanding>,
    /// Where the subscriber notes what goes back, if it gave us such a page.
    returns: Option<ReturnReader>,
    holding: Arc<Holding>,
    turn: u64,
    announced: bool,
    /// Whether the schema went out.
    started: bool,
    /// Beats since it was heard.
    silence: u32,
}

/// A batch, encoded once for all subscribers.
pub(super) struct Message<'a> {
    pub out: &'a Outgoing,
    pub pairs: &'a [Pair],
    pub flatbuffer: &'a [u8],
    pub schema: &'a [u8],
    /// The batch as it is kept, once for all who keep it.
    pub parked: &'a OnceCell<Arc<Parked>>,
}

impl Message<'_> {
    pub(super) fn park(&self) -> Arc<Parked> {
        Arc::clone(self.parked.get_or_init(|| Arc::new(Parked::new(self))))
    }
}

impl Connection {
    pub(super) fn new(
        endpoint: Box<dyn Endpoint>,
        lane: &Lane,
        source: Arc<dyn Source>,
        id: ConnectionId,
        lending: &Lending,
        talk: Talk,
    ) -> Result<Self, PlaneError> {
        let inline = lending.copies() || !endpoint.lends();
        let key = lane.reactor().watch(endpoint.descriptor(), Interest::Read, source, id)?;
        Ok(Self {
            endpoint,
            inline,
            key,
            writing: false,
            talk,
            policy: Policy::default(),
            flight: Queue::default(),
            backlog: Backlog::default(),
            ledger: Ledger::default(),
            told: None,
            watch: Watch::default(),
            evicted: false,
            orphaned: false,
            dictionaries: Vec::new(),
            window: VecDeque::new(),
            plain: Arc::default(),
            returns: None,
            holding: Arc::default(),
            turn: 0,
            announced: false,
            started: false,
            silence: 0,
        })
    }

    pub(super) fn takes_part(&self) -> bool {
        matches!(self.talk.phase, Phase::Streaming(_))
    }

    /// What it asked for, once.
    pub(super) fn asked(&mut self) -> Option<Ticket> {
        self.talk.asked.take()
    }

    /// Answers a question with notices and ends.
    pub(super) fn answer(&mut self, answer: &[Fields]) {
        if let Phase::Ended(sender) = &mut self.talk.phase {
            answer.iter().for_each(|fields| sender.notice(fields, &mut *self.endpoint));
            sender.finish(&mut *self.endpoint);
        }
    }

    pub(super) fn announce(&mut self) {
        self.announced = true;
    }

    /// Whether its publisher was told that it joined.
    pub(super) fn is_announced(&self) -> bool {
        self.announced
    }

    /// Sends the schema, unless that was done: a stream without batches has one too.
    pub(super) fn begin(&mut self, schema: &[u8], dictionaries: usize) {
        let Phase::Streaming(sender) = &mut self.talk.phase else { return };
        if !std::mem::replace(&mut self.started, true) {
            sender.message(schema, Body::None, &mut *self.endpoint);
            self.dictionaries = vec![0; dictionaries];
        }
    }

    /// Shows a subscriber that this side lives. `false` when one of the network has shown nothing for too long itself, as far as
    /// this side was `listening`.
    pub(super) fn beat(&mut self, listening: bool) -> bool {
        let (Phase::Streaming(sender) | Phase::Ended(sender)) = &mut self.talk.phase else { return true };
        if !sender.is_extended() {
            return true;
        }
        sender.heartbeat(&mut *self.endpoint);
        if self.endpoint.lends() {
            // Within one machine, the socket's end says at once that a subscriber is gone; one that was stopped keeps its leases.
            return true;
        }
        self.silence += u32::from(listening);
        self.silence <= SILENT_BEATS
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
        self.is_queued() && !self.talk.cancelled && !self.evicted
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
        self.holding.leases()
    }

    /// Whether it holds something of somebody else's.
    pub(super) fn holds_relayed(&self) -> bool {
        self.holding.relayed() > 0
    }

    fn has_room(&self, bytes: u64) -> bool {
        let Phase::Streaming(sender) = &self.talk.phase else { return true };
        if !sender.is_extended() {
            return self.plain.has_room(bytes, &self.flight) && self.endpoint.copied() < MAX_QUEUED;
        }
        let behind = sender.sent_bytes() - sender.consumed_bytes();
        self.window.len() < self.flight.batches
            && (self.window.is_empty() || behind + bytes <= self.flight.bytes)
            && self.endpoint.copied() < MAX_QUEUED
    }

    /// Whether this is the first time in this turn of the loop.
    pub(super) fn is_first_of(&mut self, turn: u64) -> bool {
        std::mem::replace(&mut self.turn, turn) != turn
    }

    /// Queues a batch, and before it what the subscriber needs to read it.
    fn send(&mut self, pool: &Pool, message: &Message<'_>) -> Result<(), PlaneError> {
        self.tell();
        let out = message.out;
        self.begin(message.schema, out.schema.dictionaries.len());
        let Phase::Streaming(sender) = &mut self.talk.phase else { return Ok(()) };
        let endpoint = &mut *self.endpoint;
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
            let lend = |memory: &Memory| Lent::new(memory, &self.holding, None, None);
            let flatbuffer = encode_dictionary(field.id, false, &lending::packed_header(&dictionary.header));
            if self.inline || !may_lend(endpoint, dictionary.memory.as_ref()) {
                put_inline(sender, endpoint, lend, &flatbuffer, &dictionary.header, dictionary.memory.as_ref())?;
                continue;
            }
            let pairs = pairs(&dictionary.header, dictionary.memory.as_ref());
            put(sender, endpoint, pool, lend, &flatbuffer, &pairs, dictionary.memory.as_ref())?;
        }
        let extended = sender.is_extended();
        let plain = (!extended).then(|| self.plain.hold(out.header.body_length));
        let sequence = Some(sender.next_serial().0);
        let lend = |memory: &Memory| Lent::new(memory, &self.holding, sequence, plain);
        if self.inline || !may_lend(endpoint, out.memory.as_ref()) {
            put_inline(sender, endpoint, lend, message.flatbuffer, &out.header, out.memory.as_ref())?;
        } else {
            put(sender, endpoint, pool, lend, message.flatbuffer, message.pairs, out.memory.as_ref())?;
        }
        if extended {
            self.window.push_back(sender.sent_bytes());
        }
        self.ledger.sent += 1;
        self.ledger.unblock();
        if self.holds_relayed() {
            // Before it can have anything to return.
            self.ask(true);
        }
        Ok(())
    }

    /// Whether it can be told of an error; otherwise the connection has to be closed instead.
    pub(super) fn hears_errors(&self) -> bool {
        matches!(&self.talk.phase, Phase::Streaming(sender) | Phase::Ended(sender) if sender.is_extended())
    }

    /// Ends its stream: well, or with an error's code and message. What is still kept for it is dropped.
    pub(super) fn finish(&mut self, failure: Option<(&str, &str)>) {
        self.backlog.clear();
        self.ledger.unblock();
        self.tell();
        let phase = std::mem::replace(&mut self.talk.phase, Phase::Greeted);
        self.talk.phase = match phase {
            Phase::Streaming(mut sender) => {
                match failure {
                    Some((code, message)) => sender.fail(code, message, &mut *self.endpoint),
                    None => sender.finish(&mut *self.endpoint),
                }
                Phase::Ended(sender)
            }
            // It came as the publisher closed: its stream ends before it began. Where that is an error it gets no end,
            // as it has not said yet whether it understands more; the connection closes.
            Phase::Greeted => {
                let mut sender = Sender::new(SenderConfig { free_tag: TAGS.free_data, ext_tag: None });
                if failure.is_none() {
                    sender.finish(&mut *self.endpoint);
                }
                Phase::Ended(sender)
            }
            Phase::Ended(sender) => Phase::Ended(sender),
        };
        self.ask(true);
    }

    pub(super) fn receive(&mut self) -> Result<(), PlaneError> {
        self.silence = 0;
        let mut inbox = FromSubscriber { talk: &mut self.talk, wrong: None };
        let result = self.endpoint.receive(BUDGET, &mut inbox);
        if let Some(error) = inbox.wrong {
            return Err(error);
        }
        result?;
        if self.orphaned {
            return Ok(());
        }
        if let Some(returns) = self.endpoint.take_returns() {
            // Whoever gets nothing more is not looked at by a sender: it has to speak up.
            self.returns = Some(returns);
            self.ask(false);
        }
        self.collect()?;
        if self.talk.cancelled && self.takes_part() {
            self.finish(None);
        }
        Ok(())
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
