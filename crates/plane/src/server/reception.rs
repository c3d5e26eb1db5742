//! Where clients come in, and are asked for their ticket.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use arrowlane_dissociated::{Sender, SenderConfig};
use arrowlane_transport::{Endpoint, Interest, Listener, Readiness, Source, TransportError, system::Timer};
use parking_lot::Mutex;
use rustix::fd::AsFd;

use super::{
    Desk,
    bodies::Bodies,
    halves::{Half, Rest, Side, Wanted, joined, said},
    tickets::{Refused, Stands},
    uri_of,
    words::{MOST_BEHIND, Words},
};
use crate::{
    Lane, PlaneError,
    publisher::{Admission, door::Door},
    ticket::{BAD_TICKET, TICKET_LIMIT, Ticket, of_server},
    topic::TAGS,
};

/// Token of the timer; doors and visitors count from 1.
const CLOCK: u64 = 0;
/// So many clients at most have not shown a ticket.
const MOST_VISITORS: usize = 1024;
/// How long a client may take to show its ticket, and to read why it was refused, in looks.
const PATIENCE: u32 = 10;
/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes read from one client at a time.
const BUDGET: usize = 64 << 10;

pub(super) struct Reception {
    lane: Weak<Lane>,
    desk: Arc<Desk>,
    this: Weak<Reception>,
    state: Mutex<State>,
}

struct State {
    timer: Timer,
    timer_key: Option<u64>,
    last: u64,
    doors: BTreeMap<u64, (Door, String)>,
    visitors: BTreeMap<u64, Visitor>,
    /// Tickets may keep what is offered no more: they are looked through.
    sweeping: bool,
}

/// A client that has not shown a ticket, or was refused and may still read why.
struct Visitor {
    endpoint: Box<dyn Endpoint>,
    key: u64,
    writing: bool,
    looks: u32,
    refused: bool,
    /// It is one half of two.
    half: Option<Half>,
}

impl Reception {
    pub(super) fn new(lane: &Arc<Lane>, desk: Arc<Desk>) -> Result<Arc<Self>, PlaneError> {
        let timer = Timer::new()?;
        let (doors, visitors) = (BTreeMap::new(), BTreeMap::new());
        let state = State { timer, timer_key: None, last: 0, doors, visitors, sweeping: false };
        Ok(Arc::new_cyclic(|this| Self {
            lane: Arc::downgrade(lane),
            desk,
            this: this.clone(),
            state: Mutex::new(state),
        }))
    }

    pub(super) fn open(&self, listener: Box<dyn Listener>) -> Result<String, PlaneError> {
        let (Some(lane), Some(this)) = (self.lane.upgrade(), self.this.upgrade()) else {
            return Err(PlaneError::Closed);
        };
        let uri = uri_of(&*listener)?;
        let mut state = self.state.lock();
        state.wind(&lane, &this)?;
        state.last += 1;
        let token = state.last;
        let key = lane.reactor().watch(listener.descriptor(), Interest::Read, this, token)?;
        state.doors.insert(token, (Door::new(listener, key), uri.clone()));
        Ok(uri)
    }

    /// From now on tickets are let go of when they expire, until none is left.
    pub(super) fn sweep(&self) {
        let (Some(lane), Some(this)) = (self.lane.upgrade(), self.this.upgrade()) else { return };
        let mut state = self.state.lock();
        if state.sweeping || state.wind(&lane, &this).is_err() {
            return;
        }
        state.sweeping = true;
        if state.visitors.is_empty() {
            let _ = state.timer.every(LOOK); // valid arguments are all that it can refuse
        }
    }

    pub(super) fn uris(&self) -> Vec<String> {
        self.state.lock().doors.values().map(|(_, uri)| uri.clone()).collect()
    }

    pub(super) fn close(&self) {
        let Some(lane) = self.lane.upgrade() else { return };
        let mut state = self.state.lock();
        for (door, _) in state.doors.values() {
            lane.reactor().forget(door.key(), door.listener().descriptor());
        }
        for visitor in state.visitors.values() {
            lane.reactor().forget(visitor.key, visitor.endpoint.descriptor());
        }
        if let Some(key) = state.timer_key.take() {
            lane.reactor().forget(key, state.timer.as_fd());
        }
        let gone = (std::mem::take(&mut state.doors), std::mem::take(&mut state.visitors));
        drop(state);
        drop(gone);
    }

    fn accept(&self, state: &mut State, token: u64, lane: &Lane) {
        while let Some((door, uri)) = state.doors.get_mut(&token) {
            let Some(endpoint) = door.accept("server") else { return };
            let uri = uri.clone();
            self.let_in(state, endpoint, &uri, lane);
        }
    }

    /// Lets in somebody who came by no door, from this process.
    pub(super) fn welcome(&self, endpoint: Box<dyn Endpoint>, uri: String) -> Result<(), PlaneError> {
        let (Some(lane), Some(this)) = (self.lane.upgrade(), self.this.upgrade()) else {
            return Err(PlaneError::Closed);
        };
        self.state.lock().wind(&lane, &this)?;
        let there = Arc::clone(&lane);
        lane.run(move || this.let_in(&mut this.state.lock(), endpoint, &uri, &there));
        Ok(())
    }

    fn let_in(&self, state: &mut State, mut endpoint: Box<dyn Endpoint>, uri: &str, lane: &Lane) {
        endpoint.greet(uri);
        if state.visitors.len() >= MOST_VISITORS {
            // The one that has been silent for longest makes way.
            let oldest = state.visitors.keys().next().copied();
            oldest.into_iter().for_each(|oldest| state.show_out(oldest, lane));
        }
        let Some(this) = self.this.upgrade() else { return };
        state.last += 1;
        let id = state.last;
        let key = match lane.reactor().watch(endpoint.descriptor(), Interest::Read, this, id) {
            Ok(key) => key,
            Err(error) => return tracing::warn!(%error, "a connection was not accepted"),
        };
        if state.visitors.is_empty() && !state.sweeping {
            let _ = state.timer.every(LOOK); // valid arguments are all that it can refuse
        }
        state.visitors.insert(id, Visitor { endpoint, key, writing: false, looks: 0, refused: false, half: None });
        state.flush(id, lane);
        // What it sent first may have come with the connection itself.
        self.hear(state, id, lane);
    }

    /// Reads what a visitor says; the first thing is its ticket.
    fn hear(&self, state: &mut State, id: u64, lane: &Lane) {
        let Some(visitor) = state.visitors.get_mut(&id) else { return };
        let mut words = Words { first: None, rest: Vec::new(), refused: visitor.refused };
        let received = visitor.endpoint.receive(BUDGET, &mut words);
        if words.first.is_none() {
            match received {
                Ok(_) => state.flush(id, lane),
                Err(error) => {
                    if !matches!(error, TransportError::Closed) {
                        tracing::warn!(%error, "a client was shown out");
                    }
                    state.show_out(id, lane);
                }
            }
            return;
        }
        if let Err(error) = received {
            tracing::debug!(%error, "a client left as it showed its ticket");
            return state.show_out(id, lane);
        }
        if let Some(half) = visitor.half.as_mut() {
            // It shows that it lives, or has what it said before read with the other half.
            half.rest.extend(words.all());
            if half.rest.len() > MOST_BEHIND || half.rest.iter().any(|(_, body)| body.len() > TICKET_LIMIT) {
                tracing::warn!("a client does not wait for its other half");
                state.show_out(id, lane);
            }
            return;
        }
        let Some((tag, body)) = words.first else { return };
        match self.read(tag, &body) {
            Ok((wanted, Stands::Topic(_), _)) if wanted.side != Side::Both => {
                // Its publisher may be on an event loop, whose descriptors cannot be nested deeper.
                tracing::warn!("a topic was asked for over two connections");
                state.show_out(id, lane);
            }
            Ok((wanted, stands, asked)) => {
                let half = Half { wanted, ticket: body, rest: words.rest };
                let Some((endpoint, rest)) = state.whole(id, half, lane) else { return };
                let admission = Admission { endpoint, extended: wanted.extended, asked, rest };
                match stands.offer() {
                    Some(super::Offer::Dataset(dataset)) => dataset.publisher().admit(admission),
                    Some(super::Offer::Topic(publisher)) => publisher.admit(admission),
                    None => {}
                }
            }
            Err(why) => {
                tracing::warn!(%why, "a client was refused");
                if !Wanted::of(tag).is_some_and(|wanted| wanted.extended && wanted.side != Side::Data) {
                    // All that a plain client understands.
                    return state.show_out(id, lane);
                }
                let Some(visitor) = state.visitors.get_mut(&id) else { return };
                let config = SenderConfig { free_tag: TAGS.free_data, ext_tag: Some(TAGS.want_data_ext) };
                Sender::<()>::new(config).fail(why.code(), &why.to_string(), &mut *visitor.endpoint);
                visitor.endpoint.stop_sending();
                visitor.refused = true;
                visitor.looks = 0;
                state.flush(id, lane);
            }
        }
    }

    /// What a first message asks for.
    fn read(&self, tag: u64, body: &[u8]) -> Result<(Wanted, Stands, Ticket), Why> {
        let Some(wanted) = Wanted::of(tag) else {
            return Err(Why::Strange(format!("a first message with the tag {tag:#x}")));
        };
        if body.len() > TICKET_LIMIT {
            return Err(Why::Strange(format!("a ticket of {} bytes", body.len())));
        }
        let (ticket, asked) = of_server(body, wanted.extended).map_err(|e| Why::Strange(e.to_string()))?;
        let stands = self.desk.tickets.lock().redeem(ticket, None).map_err(Why::Refused)?;
        Ok((wanted, stands, asked))
    }
}

impl State {
    /// The connection of a visitor who may be served; both of them, where there are to be two. `None` while the other half is
    /// missing.
    fn whole(&mut self, id: u64, half: Half, lane: &Lane) -> Option<(Box<dyn Endpoint>, Rest)> {
        let Half { wanted, ticket, rest } = &half;
        if wanted.side == Side::Both {
            return Some((self.take(id, lane)?.endpoint, half.rest));
        }
        if wanted.side == Side::Bodies {
            return Some((Box::new(Bodies(self.take(id, lane)?.endpoint)), half.rest));
        }
        let fits = |visitor: &Visitor| visitor.half.as_ref().is_some_and(|other| other.fits(*wanted, ticket));
        let Some(second) = self.visitors.iter().find(|(_, v)| fits(v)).map(|(id, _)| *id) else {
            let visitor = self.visitors.get_mut(&id)?;
            visitor.half = Some(half);
            visitor.looks = 0;
            return None;
        };
        let (this, that) = (self.take(id, lane)?, self.take(second, lane)?);
        let before = that.half.map(|other| other.rest).unwrap_or_default();
        let rest = said(before.into_iter().chain(rest.iter().cloned()).collect());
        let (this, that) = (this.endpoint, that.endpoint);
        let (metadata, data) = if wanted.side == Side::Metadata { (this, that) } else { (that, this) };
        let joined = joined(metadata, data);
        let whole = joined.inspect_err(|error| tracing::warn!(%error, "two connections were not joined")).ok()?;
        Some((whole, rest))
    }

    /// A visitor, whose connection is watched no more.
    fn take(&mut self, id: u64, lane: &Lane) -> Option<Visitor> {
        let visitor = self.visitors.remove(&id)?;
        lane.reactor().forget(visitor.key, visitor.endpoint.descriptor());
        Some(visitor)
    }

    fn flush(&mut self, id: u64, lane: &Lane) {
        let Some(visitor) = self.visitors.get_mut(&id) else { return };
        let flushed = visitor.endpoint.flush();
        let writing = visitor.endpoint.wants_write();
        if writing != visitor.writing {
            visitor.writing = writing;
            let interest = if writing { Interest::ReadWrite } else { Interest::Read };
            if lane.reactor().change(visitor.key, visitor.endpoint.descriptor(), interest).is_err() {
                return self.show_out(id, lane);
            }
        }
        if flushed.is_err() {
            self.show_out(id, lane);
        }
    }

    fn show_out(&mut self, id: u64, lane: &Lane) {
        drop(self.take(id, lane));
    }

    /// Has the timer watched.
    fn wind(&mut self, lane: &Lane, reception: &Arc<Reception>) -> Result<(), TransportError> {
        if self.timer_key.is_none() {
            let source: Arc<dyn Source> = reception.clone();
            self.timer_key = Some(lane.reactor().watch(self.timer.as_fd(), Interest::Read, source, CLOCK)?);
        }
        Ok(())
    }

    /// Shows out who is late. What tickets that expired stood for, to be let go of after this is unlocked.
    fn look(&mut self, desk: &Desk, lane: &Lane) -> Vec<Stands> {
        self.timer.quiet();
        self.visitors.values_mut().for_each(|visitor| visitor.looks += 1);
        let late: Vec<_> = self.visitors.iter().filter(|(_, v)| v.looks > PATIENCE).map(|(id, _)| *id).collect();
        late.into_iter().for_each(|id| self.show_out(id, lane));
        let mut expired = Vec::new();
        if self.sweeping {
            let mut tickets = desk.tickets.lock();
            expired = tickets.purge();
            self.sweeping = !tickets.is_empty();
        }
        if self.visitors.is_empty() && !self.sweeping {
            let _ = self.timer.every(Duration::ZERO); // valid arguments are all that it can refuse
        }
        expired
    }
}

impl Source for Reception {
    fn ready(&self, token: u64, _readiness: Readiness) {
        let Some(lane) = self.lane.upgrade() else { return };
        let mut state = self.state.lock();
        if token == CLOCK {
            let expired = state.look(&self.desk, &lane);
            drop(state);
            return drop(expired);
        }
        let state = &mut *state;
        if state.doors.contains_key(&token) {
            self.accept(state, token, &lane);
        } else {
            self.hear(state, token, &lane);
        }
    }
}

/// Why a client is not served.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Refused(Refused),
    #[error("this server does not understand {0}")]
    Strange(String),
}

impl Why {
    fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => BAD_TICKET,
            Self::Strange(_) => "ERR_PROTOCOL",
        }
    }
}
