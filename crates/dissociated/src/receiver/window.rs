//! Messages of which some part has arrived, in sequence and within bounds.

use std::collections::VecDeque;

use super::ReceivedBody;
use crate::{Header, KeyValues, Limits, ProtocolError, Result, Serial};

/// Metadata and body of one message, until both are there.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub header: Option<(Header, KeyValues)>,
    pub body: Option<ReceivedBody>,
}

impl Slot {
    fn complete(&self) -> bool {
        self.header.as_ref().is_some_and(|(header, _)| self.body.is_some() || header.body_length() == 0)
    }

    /// About the bytes that say what the message is: its header and its addresses.
    fn described(&self) -> u64 {
        self.header.as_ref().map_or(0, header_cost) + self.body.as_ref().map_or(0, addresses_cost)
    }
}

/// The messages from the next one to be delivered on.
#[derive(Debug)]
pub(super) struct Window {
    /// The next number to be delivered: that of `slots[0]`.
    next: Serial,
    /// The lowest number whose metadata did not come.
    expected: Serial,
    slots: VecDeque<Slot>,
    /// Bytes of packed bodies in `slots`.
    packed: u64,
    /// Bytes of what describes the messages in `slots`.
    described: u64,
}

impl Window {
    pub fn starting_at(next: Serial) -> Self {
        Self { next, expected: next, slots: VecDeque::new(), packed: 0, described: 0 }
    }

    pub fn next(&self) -> Serial {
        self.next
    }

    pub fn expected(&self) -> Serial {
        self.expected
    }

    /// The number behind everything of which a part came.
    pub fn end(&self) -> Serial {
        Serial(self.next.0.wrapping_add(self.slots.len() as u32))
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The first number whose metadata came, of those behind one whose metadata did not.
    pub fn after_hole(&self) -> Option<Serial> {
        let first = self.expected.since(self.next);
        let at = self.slots.iter().skip(first as usize).position(|slot| slot.header.is_some())?;
        Some(Serial(self.expected.0.wrapping_add(at as u32)))
    }

    /// The position of a number, if it is inside.
    pub fn place(&self, what: &'static str, serial: Serial, limits: &Limits) -> Result<usize> {
        let ahead = serial.since(self.next);
        let window = limits.max_pending_messages;
        if ahead >= window {
            return Err(ProtocolError::BeyondWindow { what, serial: serial.0, expected: self.next.0, window });
        }
        Ok(ahead as usize)
    }

    /// Puts metadata in its place.
    pub fn put_header(&mut self, at: usize, header: (Header, KeyValues), limits: &Limits) -> Result<()> {
        let cost = header_cost(&header);
        self.admit_description(cost, limits)?;
        let serial = self.serial_of(at);
        let slot = self.slot(at);
        if slot.header.is_some() {
            return Err(ProtocolError::Duplicate { what: "metadata", serial });
        }
        if let Some(body) = &slot.body {
            body.check(header.0.body_length())?;
        }
        slot.header = Some(header);
        self.described += cost;
        while self.slots.get(self.expected.since(self.next) as usize).is_some_and(|slot| slot.header.is_some()) {
            self.expected = self.expected.next();
        }
        Ok(())
    }

    /// Puts a body in its place.
    pub fn put_body(&mut self, at: usize, body: ReceivedBody, limits: &Limits) -> Result<()> {
        let (packed, cost) = (body.packed_bytes(), addresses_cost(&body));
        // One body always fits, up to the limit of its own.
        if packed > 0 && self.packed > 0 {
            let all = self.packed.saturating_add(packed);
            Limits::check("bytes of pending bodies", all, limits.max_pending_bytes)?;
        }
        self.admit_description(cost, limits)?;
        let serial = self.serial_of(at);
        let slot = self.slot(at);
        if slot.body.is_some() {
            return Err(ProtocolError::Duplicate { what: "body", serial });
        }
        if let Some((header, _)) = &slot.header {
            body.check(header.body_length())?;
        }
        slot.body = Some(body);
        self.packed += packed;
        self.described += cost;
        Ok(())
    }

    /// The next message, if its parts have all arrived.
    pub fn take(&mut self) -> Option<(Serial, Slot)> {
        if !self.slots.front().is_some_and(Slot::complete) {
            return None;
        }
        let slot = self.slots.pop_front()?;
        self.packed -= slot.body.as_ref().map_or(0, ReceivedBody::packed_bytes);
        self.described -= slot.described();
        let serial = self.next;
        self.next = serial.next();
        Some((serial, slot))
    }

    /// Empties it: the bodies that nobody gets to see.
    pub fn clear(&mut self) -> impl Iterator<Item = ReceivedBody> + use<> {
        (self.packed, self.described) = (0, 0);
        std::mem::take(&mut self.slots).into_iter().filter_map(|slot| slot.body)
    }

    fn serial_of(&self, at: usize) -> u32 {
        self.next.0.wrapping_add(at as u32)
    }

    /// The slot at a position inside the window, made if need be.
    fn slot(&mut self, at: usize) -> &mut Slot {
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, Slot::default);
        }
        &mut self.slots[at]
    }

    /// What describes one message always fits: its own limits bound it.
    fn admit_description(&self, cost: u64, limits: &Limits) -> Result<()> {
        if self.described == 0 {
            return Ok(());
        }
        let all = self.described.saturating_add(cost);
        Limits::check("bytes of pending headers and addresses", all, limits.max_pending_metadata)
    }
}

fn header_cost((header, metadata): &(Header, KeyValues)) -> u64 {
    let texts: usize = metadata.iter().map(|(key, value)| 48 + key.len() + value.len()).sum();
    let parts = match header {
        // There is only one.
        Header::Schema(_) => 0,
        Header::Batch(batch) | Header::Dictionary { batch, .. } => {
            16 * batch.nodes.len() + 16 * batch.buffers.len() + 8 * batch.variadic.len()
        }
    };
    (256 + parts + texts) as u64
}

fn addresses_cost(body: &ReceivedBody) -> u64 {
    match body {
        ReceivedBody::Pairs { pairs, .. } => 64 + 16 * pairs.len() as u64,
        _ => 0,
    }
}
