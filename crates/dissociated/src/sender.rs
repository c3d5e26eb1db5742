//! The sending side of one connection.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use crate::metadata::message_prefix;
use crate::{BodyType, DataTag, Metadata, Outbox, Pair, ProtocolError, Result, Serial, free, pairs};

/// What a [`Sender`] needs to know about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderConfig {
    /// The tag on which addresses come back; the URI's `free_data`.
    pub free_tag: u64,
    /// The tag of credits and cancels, where the client declared the extension; the URI's `want_data_ext`.
    pub ext_tag: Option<u64>,
}

/// The body of a message.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a, T> {
    /// No tagged message: what a schema has, and what our own receiver takes for an empty batch.
    None,
    /// The bytes of the body in order, padding included (see [`packed_parts`](crate::packed_parts)). Also sent when
    /// `length` is 0: a plain client waits for it.
    Packed {
        /// What to send.
        parts: &'a [&'a [u8]],
        /// Their length together, in bytes.
        length: u64,
    },
    /// Addresses that the receiver reads and gives back.
    Pairs {
        /// The sum of the lengths, in bytes.
        total: u64,
        /// One per buffer of the header, (0, 0) for empty ones.
        pairs: &'a [Pair],
        /// What keeps the memory alive; cloned once for each address.
        keep: &'a T,
    },
}

/// What a tagged message from the receiver meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderEvent {
    /// Addresses came back.
    Freed {
        /// How many.
        addresses: usize,
    },
    /// The receiver says how far it is.
    Credit {
        /// Bytes consumed since the start of the stream.
        consumed: u64,
    },
    /// The receiver wants no more.
    Cancelled,
}

/// Bytes of one pair and what keeps them alive.
type Hold<T> = (u64, T);

/// The holds of one address, oldest first. More than one is rare, so the first needs no allocation.
#[derive(Debug)]
struct Holds<T> {
    first: Hold<T>,
    rest: VecDeque<Hold<T>>,
}

/// Numbers messages, remembers which addresses are out and keeps their memory alive until they come back.
///
/// One per connection. `T` is whatever must outlive an outstanding address, such as an `Arc` of a block: one clone is
/// held per (message, address) and dropped when that address is freed, or with the sender, which is what ends all
/// leases of a connection that closed. Not thread-safe by itself; `Send` when `T` is.
#[derive(Debug)]
pub struct Sender<T: Clone> {
    config: SenderConfig,
    next: Serial,
    held: HashMap<u64, Holds<T>>,
    outstanding: usize,
    sent: u64,
    freed: u64,
    credit: u64,
    scratch: Vec<u8>,
}

impl<T: Clone> Sender<T> {
    /// A sender at the start of its stream; the first message must be the schema.
    #[must_use]
    pub fn new(config: SenderConfig) -> Self {
        Self {
            config,
            next: Serial(0),
            held: HashMap::new(),
            outstanding: 0,
            sent: 0,
            freed: 0,
            credit: 0,
            scratch: vec![],
        }
    }

    /// Sends a message and its body, and returns its number. Metadata goes out before the body.
    pub fn message(&mut self, flatbuffer: &[u8], body: Body<'_, T>, out: &mut dyn Outbox) -> Serial {
        let serial = self.next;
        self.next = serial.next();
        out.metadata(&[&message_prefix(serial), flatbuffer]);
        match body {
            Body::None => {}
            Body::Packed { parts, length } => {
                out.tagged(DataTag::encode(serial, BodyType::Packed), parts);
                self.sent = self.sent.saturating_add(length);
            }
            Body::Pairs { total, pairs, keep } => {
                for pair in pairs.iter().filter(|p| p.length > 0) {
                    self.hold(pair, keep);
                }
                self.scratch.clear();
                pairs::encode_into(total, pairs, &mut self.scratch);
                out.tagged(DataTag::encode(serial, BodyType::Pairs), &[&self.scratch]);
                self.sent = self.sent.saturating_add(total);
            }
        }
        serial
    }

    /// Sends a message, and returns the tag under which the caller sends its packed body of `length` bytes right behind it:
    /// for a body that need not be copied into an [`Outbox`].
    pub fn before_body(&mut self, flatbuffer: &[u8], length: u64, out: &mut dyn Outbox) -> u64 {
        let serial = self.message(flatbuffer, Body::None, out);
        self.count(length);
        DataTag::encode(serial, BodyType::Packed)
    }

    /// Counts bytes that no body stands for, where both sides agreed to do so.
    pub fn count(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
    }

    /// Ends the stream; nothing may be sent after it. Addresses still out come back all the same.
    pub fn finish(&mut self, out: &mut dyn Outbox) {
        self.put(Metadata::EndOfStream { serial: self.next }, out);
    }

    /// Ends the stream with an error, where the client declared the extension; else the connection must be closed.
    pub fn fail(&mut self, code: &str, message: &str, out: &mut dyn Outbox) {
        if self.config.ext_tag.is_some() {
            let serial = self.next;
            self.put(Metadata::Error { serial, code, message }, out);
        }
    }

    /// Whether the client declared the extension: credits, errors, heartbeats.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.config.ext_tag.is_some()
    }

    /// Says that this side is alive, where the client declared the extension.
    pub fn heartbeat(&mut self, out: &mut dyn Outbox) {
        if self.config.ext_tag.is_some() {
            self.put(Metadata::Heartbeat { serial: self.next }, out);
        }
    }

    /// Says something about the stream itself, where the client declared the extension.
    pub fn notice(&mut self, fields: &crate::Fields, out: &mut dyn Outbox) {
        if self.config.ext_tag.is_some() {
            self.put(Metadata::Notice { serial: self.next, text: fields.as_str() }, out);
        }
    }

    /// Takes a tagged message from the receiver. Memory whose last address it frees is let go before this returns.
    ///
    /// # Errors
    /// An unknown tag, a torn body, an address that is not out, a credit that runs backwards or beyond what was sent.
    /// Addresses before the wrong one were freed; the connection is to be closed, which frees the rest.
    pub fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<SenderEvent> {
        if tag == self.config.free_tag {
            let mut addresses = 0;
            for address in free::decode(body)? {
                self.free(address)?;
                addresses += 1;
            }
            return Ok(SenderEvent::Freed { addresses });
        }
        if Some(tag) != self.config.ext_tag {
            return Err(ProtocolError::UnknownTag(tag));
        }
        if body.is_empty() {
            return Ok(SenderEvent::Cancelled);
        }
        let consumed = body.try_into().map(u64::from_le_bytes).map_err(|_| ProtocolError::Length {
            what: "credit",
            expected: 8,
            got: body.len() as u64,
        })?;
        if consumed < self.credit || consumed > self.sent {
            return Err(ProtocolError::Credit { got: consumed, least: self.credit, most: self.sent });
        }
        self.credit = consumed;
        Ok(SenderEvent::Credit { consumed })
    }

    /// Takes one address back, however the receiver told of it. Memory whose last address it was is let go before this
    /// returns.
    ///
    /// # Errors
    /// When it is not out; the connection is to be closed, which frees the rest.
    pub fn free(&mut self, address: u64) -> Result<()> {
        let Entry::Occupied(mut entry) = self.held.entry(address) else {
            return Err(ProtocolError::NotOutstanding(address));
        };
        // Oldest first, as the receiver does: then both sides agree on the bytes that a free stands for.
        let (bytes, _keep) = match entry.get_mut().rest.pop_front() {
            Some(next) => std::mem::replace(&mut entry.get_mut().first, next),
            None => entry.remove().first,
        };
        self.freed = self.freed.saturating_add(bytes);
        self.outstanding -= 1;
        Ok(())
    }

    /// Addresses that are out; the same one sent twice counts twice.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Bytes of all bodies sent: packed lengths and totals.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.sent
    }

    /// Bytes that the receiver is known to have consumed: its last credit, or what it freed where that is more.
    #[must_use]
    pub fn consumed_bytes(&self) -> u64 {
        self.credit.max(self.freed)
    }

    /// Bytes of all addresses that came back.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        self.freed
    }

    /// What keeps each address alive that is out, in no order.
    pub fn kept(&self) -> impl Iterator<Item = &T> {
        self.held.values().flat_map(|holds| std::iter::once(&holds.first).chain(&holds.rest)).map(|(_, keep)| keep)
    }

    /// The number of the next message.
    #[must_use]
    pub fn next_serial(&self) -> Serial {
        self.next
    }

    /// Skips numbers, for tests of their wrap.
    #[cfg(test)]
    pub(crate) fn jump_to(&mut self, next: Serial) {
        self.next = next;
    }

    fn put(&mut self, message: Metadata<'_>, out: &mut dyn Outbox) {
        self.scratch.clear();
        message.encode_into(&mut self.scratch);
        out.metadata(&[&self.scratch]);
    }

    fn hold(&mut self, pair: &Pair, keep: &T) {
        let hold = (pair.length, keep.clone());
        match self.held.entry(pair.address) {
            Entry::Vacant(empty) => {
                empty.insert(Holds { first: hold, rest: VecDeque::new() });
            }
            Entry::Occupied(mut there) => there.get_mut().rest.push_back(hold),
        }
        self.outstanding += 1;
    }
}

#[cfg(test)]
mod tests;
