//! The receiving side of one connection.

mod body;
mod ending;
mod event;
mod headers;
mod notices;
mod returns;
mod window;

use std::collections::VecDeque;

use bytes::Bytes;

pub use body::ReceivedBody;
pub use event::Event;
use headers::Headers;
use notices::Notices;
use returns::Returns;
use window::{Slot, Window};

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
    /// Whether metadata may overtake metadata on its way, as active messages of different sizes do over UCX. Then it is put in
    /// order within [`Limits::max_pending_messages`], and a gap shows only when the connection ends
    /// ([`missing`](Receiver::missing)); otherwise it is an error at once.
    pub unordered: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The end came; what is before this number may still be missing.
    Ending(Serial),
    /// An error came: what is complete is delivered, nothing more is waited for.
    Failing(String, String),
    /// End or error was delivered.
    Over,
}

/// Brings metadata and bodies together and hands out events in sequence.
///
/// One per connection. Feed it with [`metadata`](Self::metadata) and [`tagged`](Self::tagged) in any interleaving, take
/// [`next`](Self::next) until it is `None`, and [`flush`](Self::flush) what goes back. After an error the connection is to be
/// closed. What is in flight must stay below [`Limits::max_pending_messages`], or events must be taken at once: where the
/// streams are two connections, [`pending`](Self::pending) says when to read no more of the one that is ahead.
#[derive(Debug)]
pub struct Receiver {
    config: ReceiverConfig,
    /// Whether the schema came.
    started: bool,
    window: Window,
    state: State,
    heartbeat: bool,
    notices: Notices,
    /// Delivered messages without a body for which none came; a plain server sends an empty one, perhaps late.
    bodyless: VecDeque<Serial>,
    returns: Returns,
    headers: Headers,
}

impl Receiver {
    /// A receiver at the start of its stream.
    #[must_use]
    pub fn new(config: ReceiverConfig) -> Self {
        Self {
            config,
            started: false,
            window: Window::starting_at(Serial(0)),
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
    /// A message that cannot be read, a number that is not the next one (a gap is named, unless they may come
    /// [out of order](ReceiverConfig::unordered)) or that came before, one beyond the window, a schema that is not message 0, anything after the end, an extension message that was not agreed on.
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
                self.state = State::Ending(self.end(serial)?);
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
                let before = if self.config.unordered {
                    self.window.place("notice", serial, &self.config.limits).map_or(self.window.next(), |_| serial)
                } else {
                    self.window.expected()
                };
                self.notices.add(before, self.window.next(), text)
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
            // Also as the other type: a plain server sends nothing for a message without bytes.
            _ if body.is_empty() => ReceivedBody::Packed(body),
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
        if serial < self.window.next() {
            let late = self.bodyless.iter().position(|s| *s == serial);
            if late.is_some_and(|at| self.bodyless.remove(at).is_some()) {
                self.discard(&body);
                return Ok(());
            }
            return Err(ProtocolError::Duplicate { what: "body", serial: serial.0 });
        }
        match &self.state {
            State::Open => {}
            State::Ending(end) if !is_ahead(serial, *end) => {}
            State::Ending(_) => return Err(ProtocolError::AfterEnd { what: "body", serial: serial.0 }),
            State::Failing(..) | State::Over => {
                // Sent before the failure was known; nobody waits for it.
                self.discard(&body);
                return Ok(());
            }
        }
        let at = self.window.place("body", serial, &self.config.limits)?;
        self.window.put_body(at, body, &self.config.limits)
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
        if let Some(fields) = self.notices.due(self.window.next()) {
            return Some(Event::Notice(fields));
        }
        if let Some((serial, slot)) = self.window.take() {
            return self.deliver(serial, slot);
        }
        match &mut self.state {
            State::Failing(code, message) => {
                let (code, message) = (std::mem::take(code), std::mem::take(message));
                self.over();
                Some(Event::Error { code, message })
            }
            State::Ending(end) if self.window.next() == *end => {
                self.over();
                Some(Event::End)
            }
            _ => None,
        }
    }

    /// What is known to be lost, once nothing more can arrive: the connection ended, or nothing came for too long. `None` where
    /// nothing shows that there was more.
    #[must_use]
    pub fn missing(&self) -> Option<ProtocolError> {
        let end = match self.state {
            State::Open => self.window.end(),
            State::Ending(end) => end,
            State::Failing(..) | State::Over => return None,
        };
        let expected = self.window.expected();
        if expected != end {
            let got = self.window.after_hole().unwrap_or(end);
            return Some(ProtocolError::Gap { expected: expected.0, got: got.0 });
        }
        let next = self.window.next();
        (next != end).then_some(ProtocolError::BodyMissing { serial: next.0 })
    }

    /// Messages that arrived in part and wait for the rest, or for the rest of one before them.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.window.len()
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
        let expected = self.window.expected();
        let behind = if self.config.unordered { self.window.next() } else { expected };
        if serial < behind {
            return Err(ProtocolError::Duplicate { what: "metadata", serial: serial.0 });
        }
        if serial != expected && !self.config.unordered {
            return Err(ProtocolError::Gap { expected: expected.0, got: serial.0 });
        }
        let at = self.window.place("metadata", serial, &self.config.limits)?;
        let decoded = self.headers.decode(flatbuffer, &self.config.limits)?;
        // Numbers wrap to 0 again, so what counts is whether a schema came.
        let detail = match (&decoded.0, self.started, serial) {
            (Header::Schema(_), true, _) => Some("is a second schema"),
            (Header::Schema(_), false, Serial(1..)) => Some("is a schema"),
            (Header::Batch(_) | Header::Dictionary { .. }, false, Serial(0)) => Some("is not a schema"),
            _ => None,
        };
        if let Some(detail) = detail {
            return Err(ProtocolError::SchemaPlace { serial: serial.0, detail });
        }
        let schema = matches!(decoded.0, Header::Schema(_));
        self.window.put_header(at, decoded, &self.config.limits)?;
        self.started |= schema;
        Ok(())
    }

    /// The number before which everything has to come once the end did.
    fn end(&self, serial: Serial) -> Result<Serial> {
        let (expected, known) = (self.window.expected(), self.window.end());
        let gap = || Err(ProtocolError::Gap { expected: expected.0, got: serial.0 });
        // The next unused number is what we send; a used one leaves no gap either.
        let further = is_ahead(serial, expected) && serial != expected;
        if !self.config.unordered {
            // A body without metadata is one as well.
            return if further || known != expected { gap() } else { Ok(expected) };
        }
        let next = self.window.next();
        match serial.since(next) {
            ahead if further && ahead > self.config.limits.max_pending_messages => gap(),
            ahead if further && ahead > known.since(next) => Ok(serial),
            _ => Ok(known),
        }
    }

    /// An error when nothing more may come on the metadata stream.
    fn open(&self, what: &'static str, serial: Serial) -> Result<()> {
        match self.state {
            State::Open => Ok(()),
            // It was overtaken by the end.
            State::Ending(end) if self.config.unordered && what == "metadata" && !is_ahead(serial, end) => Ok(()),
            _ => Err(ProtocolError::AfterEnd { what, serial: serial.0 }),
        }
    }

    fn deliver(&mut self, serial: Serial, slot: Slot) -> Option<Event> {
        let (header, metadata) = slot.header?;
        let mut body = slot.body.unwrap_or(ReceivedBody::None);
        if header.body_length() == 0 {
            if matches!(body, ReceivedBody::None) {
                // A plain server may be as far behind with its empty bodies as with any.
                if self.bodyless.len() >= self.config.limits.max_pending_messages as usize {
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
        for body in self.window.clear() {
            self.discard(&body);
        }
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
/// Whether a number is another one or comes after it.
fn is_ahead(serial: Serial, other: Serial) -> bool {
    serial.since(other) <= u32::MAX / 2
}

#[cfg(test)]
mod tests;
