//! The receiving side of one connection.

mod body;
mod event;
mod headers;
mod notices;
mod returns;
mod slot;

use std::collections::VecDeque;

use bytes::Bytes;

pub use body::ReceivedBody;
pub use event::Event;
use headers::Headers;
use notices::Notices;
use returns::Returns;
use slot::Slot;

use crate::metadata::PREFIX;
use crate::{BodyType, DataTag, Header, Limits, Metadata, Outbox, ProtocolError, Result, Serial, pairs};

/// What a [`Receiver`] needs to know about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiverConfig {
    /// What the peer may make us hold.
    pub limits: Limits,
    /// The URI's `free_data`; without it leases end with the connection.
    pub free_tag: Option<u64>,
    /// The URI's `want_data_ext`, where this side declared the extension.
    pub ext_tag: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The end came; bodies may still be missing.
    Ending,
    /// An error came: what is complete is delivered, nothing more is waited for.
    Failing(String, String),
    /// End or error was delivered.
    Over,
}

/// Brings metadata and bodies together and hands out events in sequence.
///
/// One per connection. Feed it with [`metadata`](Self::metadata) and [`tagged`](Self::tagged) in any interleaving, take
/// [`next`](Self::next) until it is `None`, and [`flush`](Self::flush) what goes back. After an error the connection is to be
/// closed. What is in flight must stay below [`Limits::max_pending_messages`], or events must be taken at once.
#[derive(Debug)]
pub struct Receiver {
    config: ReceiverConfig,
    /// The next number to be delivered: that of `slots[0]`.
    next: Serial,
    /// The next number expected on the metadata stream, which is ordered.
    expected: Serial,
    /// Whether the schema came.
    started: bool,
    slots: VecDeque<Slot>,
    /// Bytes of packed bodies in `slots`.
    pending_bytes: u64,
    state: State,
    heartbeat: bool,
    notices: Notices,
    /// Delivered messages without a body for which none came; a plain server sends an empty one, perhaps late.
    bodyless: VecDeque<Serial>,
    returns: Returns,
    headers: Headers,
}

/// Bodyless messages that are remembered: plain servers send the empty body right behind the metadata.
const BODYLESS_REMEMBERED: usize = 256;

impl Receiver {
    /// A receiver at the start of its stream.
    #[must_use]
    pub fn new(config: ReceiverConfig) -> Self {
        Self {
            config,
            next: Serial(0),
            expected: Serial(0),
            started: false,
            slots: VecDeque::new(),
            pending_bytes: 0,
            state: State::Open,
            heartbeat: false,
            notices: Notices::default(),
            bodyless: VecDeque::new(),
            returns: Returns::default(),
            headers: Headers::default(),
        }
    }

    /// Takes a message of the metadata stream.
    ///
    /// # Errors
    /// A message that cannot be read, a number that is not the next one (a gap is named), one beyond the window, a
    /// schema that is not message 0, anything after the end, an extension message that was not agreed on.
    pub fn metadata(&mut self, bytes: &[u8]) -> Result<()> {
        Limits::check(
            "length of a metadata message",
            bytes.len() as u64,
            (self.config.limits.max_metadata as u64).saturating_add(PREFIX as u64),
        )?;
        let extension = |kind| self.config.ext_tag.map(drop).ok_or(ProtocolError::UnknownMetadataType(kind));
        match Metadata::decode(bytes)? {
            Metadata::Message { serial, flatbuffer } => self.message(serial, flatbuffer),
            Metadata::EndOfStream { serial } => {
                self.open("end of stream", serial)?;
                // The next unused number is what we send; a used one leaves no gap either. A body without metadata does.
                let bodies_ahead = self.slots.len() > self.expected.since(self.next) as usize;
                if self.is_ahead(serial) && serial != self.expected || bodies_ahead {
                    return Err(ProtocolError::Gap { expected: self.expected.0, got: serial.0 });
                }
                self.state = State::Ending;
                Ok(())
            }
            Metadata::Error { serial, code, message } => {
                extension(bytes[0])?;
                self.open("error", serial)?;
                self.state = State::Failing(code.into(), message.into());
                Ok(())
            }
            Metadata::Heartbeat { .. } => {
                extension(bytes[0])?;
                self.heartbeat = true;
                Ok(())
            }
            Metadata::Notice { serial, text } => {
                extension(bytes[0])?;
                self.open("notice", serial)?;
                self.notices.add(self.expected, text)
            }
        }
    }

    /// Takes a body. A packed one is kept as it is until its event is taken; nothing is copied.
    ///
    /// # Errors
    /// A tag that is none, a number that already has a body or is beyond the window, a body shorter than its header
    /// says or longer than the limits allow. A body for a message without one is tolerated and dropped.
    pub fn tagged(&mut self, tag: u64, body: Bytes) -> Result<()> {
        let (serial, kind) = DataTag::decode(tag)?;
        let body = match kind {
            BodyType::Packed => {
                Limits::check("length of a body", body.len() as u64, self.config.limits.max_body)?;
                ReceivedBody::Packed(body)
            }
            BodyType::Pairs => {
                let (total, pairs) = pairs::decode(&body, self.config.limits.max_pairs)?;
                for pair in &pairs {
                    Limits::check("length of a pair", pair.length, self.config.limits.max_body)?;
                }
                ReceivedBody::Pairs { total, pairs }
            }
        };
        if serial < self.next {
            let late = self.bodyless.iter().position(|s| *s == serial);
            if late.is_some_and(|at| self.bodyless.remove(at).is_some()) {
                self.discard(&body);
                return Ok(());
            }
            return Err(ProtocolError::Duplicate { what: "body", serial: serial.0 });
        }
        if self.state == State::Ending && self.is_ahead(serial) {
            return Err(ProtocolError::AfterEnd { what: "body", serial: serial.0 });
        }
        if matches!(self.state, State::Failing(..) | State::Over) {
            // Sent before the failure was known; nobody waits for it.
            self.discard(&body);
            return Ok(());
        }
        let at = self.window("body", serial)?;
        // One body always fits, up to the limit of its own.
        if let ReceivedBody::Packed(bytes) = &body
            && self.pending_bytes > 0
        {
            Limits::check(
                "bytes of pending bodies",
                self.pending_bytes.saturating_add(bytes.len() as u64),
                self.config.limits.max_pending_bytes,
            )?;
        }
        let slot = self.slot(at);
        if slot.body.is_some() {
            return Err(ProtocolError::Duplicate { what: "body", serial: serial.0 });
        }
        if let Some((header, _)) = &slot.header {
            body.check(header.body_length())?;
        }
        self.pending_bytes += body.packed_bytes();
        self.slot(at).body = Some(body);
        Ok(())
    }

    /// The next event in sequence, if its parts have all arrived.
    #[allow(clippy::should_implement_trait)] // More may come after None.
    pub fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.heartbeat) {
            return Some(Event::Heartbeat);
        }
        if self.state == State::Over {
            return None;
        }
        if let Some(fields) = self.notices.due(self.next) {
            return Some(Event::Notice(fields));
        }
        if self.slots.front().is_some_and(Slot::complete)
            && let Some(slot) = self.slots.pop_front()
        {
            return self.deliver(slot);
        }
        match &mut self.state {
            State::Failing(code, message) => {
                let (code, message) = (std::mem::take(code), std::mem::take(message));
                self.over();
                Some(Event::Error { code, message })
            }
            State::Ending if self.next == self.expected => {
                self.over();
                Some(Event::End)
            }
            _ => None,
        }
    }

    /// Gives addresses back: each pair received of a length above 0, once. Goes out with the next [`flush`](Self::flush).
    ///
    /// Addresses that are not held are left out, as the sender would take them for a broken peer; the address of an
    /// empty pair is one.
    pub fn free(&mut self, addresses: &[u64]) {
        addresses.iter().for_each(|address| self.returns.free(*address));
    }

    /// As [`free`](Self::free), for addresses that the sender is told of in another way. Those that are not held are taken out.
    pub fn let_go(&mut self, addresses: &mut Vec<u64>) {
        addresses.retain(|address| self.returns.let_go(*address));
    }

    /// Sends addresses that were [let go](Self::let_go) with the next [`flush`](Self::flush) after all.
    pub fn announce(&mut self, addresses: &[u64]) {
        self.returns.announce(addresses);
    }

    /// Counts bytes as consumed: a body's [`bytes`](ReceivedBody::bytes), when its place in the queue is free again.
    pub fn consumed(&mut self, bytes: u64) {
        self.returns.consumed(bytes);
    }

    /// Puts out at most one `free_data` and at most one credit; returns whether it put out anything.
    ///
    /// A credit goes out only with the extension, and only when more was consumed than what the frees stand for.
    pub fn flush(&mut self, out: &mut dyn Outbox) -> bool {
        self.returns.flush(self.config.free_tag, self.config.ext_tag, out)
    }

    /// Whether the sender knows the extension: credits, errors, heartbeats.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.config.ext_tag.is_some()
    }

    /// Repeats the last credit, which tells the sender that this side is alive. Only with the extension.
    pub fn heartbeat(&mut self, out: &mut dyn Outbox) {
        if let Some(tag) = self.config.ext_tag {
            out.tagged(tag, &[&self.returns.credited().to_le_bytes()]);
        }
    }

    /// Addresses that wait for the next flush.
    #[must_use]
    pub fn pending_free(&self) -> usize {
        self.returns.pending()
    }

    /// Addresses received, delivered and not freed; the same one received twice counts twice.
    #[must_use]
    pub fn held(&self) -> usize {
        self.returns.held_addresses().count()
    }

    /// Tells the sender to send no more. Only with the extension; a plain sender sees the connection close.
    pub fn cancel(&mut self, out: &mut dyn Outbox) {
        if let Some(tag) = self.config.ext_tag {
            out.tagged(tag, &[]);
        }
    }

    fn message(&mut self, serial: Serial, flatbuffer: &[u8]) -> Result<()> {
        self.open("metadata", serial)?;
        if serial != self.expected {
            return Err(if serial < self.expected {
                ProtocolError::Duplicate { what: "metadata", serial: serial.0 }
            } else {
                ProtocolError::Gap { expected: self.expected.0, got: serial.0 }
            });
        }
        let at = self.window("metadata", serial)?;
        let decoded = self.headers.decode(flatbuffer, &self.config.limits)?;
        // Numbers wrap to 0 again, so what counts is whether a schema came.
        match (&decoded.0, self.started) {
            (Header::Schema(_), false) => {}
            (Header::Schema(_), true) => {
                return Err(ProtocolError::SchemaPlace { serial: serial.0, detail: "is a second schema" });
            }
            (_, false) => {
                return Err(ProtocolError::SchemaPlace { serial: serial.0, detail: "is not a schema" });
            }
            _ => {}
        }
        if let Some(body) = &self.slot(at).body {
            body.check(decoded.0.body_length())?;
        }
        self.slot(at).header = Some(decoded);
        self.expected = serial.next();
        self.started = true;
        Ok(())
    }

    /// An error when nothing more may come on the metadata stream.
    fn open(&self, what: &'static str, serial: Serial) -> Result<()> {
        match self.state {
            State::Open => Ok(()),
            _ => Err(ProtocolError::AfterEnd { what, serial: serial.0 }),
        }
    }

    /// Whether no metadata with this number has come yet.
    fn is_ahead(&self, serial: Serial) -> bool {
        serial.since(self.expected) <= u32::MAX / 2
    }

    /// The position of a number in `slots`, if it is inside the window.
    fn window(&self, what: &'static str, serial: Serial) -> Result<usize> {
        let ahead = serial.since(self.next);
        let window = self.config.limits.max_pending_messages;
        if ahead >= window {
            return Err(ProtocolError::BeyondWindow { what, serial: serial.0, expected: self.next.0, window });
        }
        Ok(ahead as usize)
    }

    /// The slot at a position inside the window, made if need be.
    fn slot(&mut self, at: usize) -> &mut Slot {
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, Slot::default);
        }
        &mut self.slots[at]
    }

    fn deliver(&mut self, slot: Slot) -> Option<Event> {
        let serial = self.next;
        self.next = serial.next();
        let (header, metadata) = slot.header?;
        let mut body = slot.body.unwrap_or(ReceivedBody::None);
        self.pending_bytes -= body.packed_bytes();
        if header.body_length() == 0 {
            if matches!(body, ReceivedBody::None) {
                if self.bodyless.len() == BODYLESS_REMEMBERED {
                    self.bodyless.pop_front();
                }
                self.bodyless.push_back(serial);
            }
            self.discard(&body);
            body = ReceivedBody::None;
        } else {
            self.hold(&body);
        }
        Some(match header {
            Header::Schema(schema) => Event::Schema(schema, metadata),
            Header::Batch(header) => Event::Batch { serial, header, metadata, body },
            Header::Dictionary { id, delta, batch } => Event::Dictionary { id, delta, header: batch, body },
        })
    }

    /// Nothing more is delivered; what was not goes back at once.
    fn over(&mut self) {
        self.state = State::Over;
        for slot in std::mem::take(&mut self.slots) {
            if let Some(body) = slot.body {
                self.discard(&body);
            }
        }
        self.pending_bytes = 0;
    }

    fn hold(&mut self, body: &ReceivedBody) {
        if self.config.free_tag.is_some() {
            body.held_pairs().for_each(|pair| self.returns.hold(pair));
        }
    }

    /// Frees a body that nobody gets to see.
    fn discard(&mut self, body: &ReceivedBody) {
        self.hold(body);
        body.held_pairs().for_each(|pair| self.returns.free(pair.address));
    }
}
#[cfg(test)]
mod tests;
