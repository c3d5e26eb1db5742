//! One subscriber's policy at work: what it is given, what is kept or dropped for it, and when it is given up.

use std::cell::OnceCell;

use arrowlane_dissociated::{Fields, Sender, Serial};
use arrowlane_memory::Pool;

use super::{Connection, Message};
use crate::{
    PlaneError,
    publisher::{
        ConnectionId, Queue,
        ledger::{LeaseStatistics, Lent, Standing, SubscriberStatistics},
        policy::{Overflow, Policy},
        queue::halves,
        talk::Phase,
    },
};

/// What became of a batch that a subscriber was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::publisher) enum Offered {
    /// It is in the endpoint.
    Sent,
    /// It waits here, and may be dropped yet.
    Kept,
    /// It was dropped.
    Dropped,
}

impl Connection {
    /// It is served so from now on; told of it when it can understand that.
    pub(in crate::publisher) fn welcome(&mut self, policy: Policy, told: bool) {
        self.policy = policy;
        self.flight = if policy.overflow == Overflow::DropOldest { halves(&policy.queue).0 } else { policy.queue };
        self.told = told.then_some(0);
        let mut fields = Fields::default();
        policy.describe(&mut fields);
        self.say(&fields);
    }

    /// Says something about the stream, where the client understands that.
    fn say(&mut self, fields: &Fields) {
        if let (Some(_), Phase::Streaming(sender)) = (self.told, &mut self.talk.phase) {
            sender.notice(fields, &mut *self.endpoint);
        }
    }

    /// Whether a batch can be offered without waiting for this subscriber.
    pub(in crate::publisher) fn accepts(&self, bytes: u64) -> bool {
        self.policy.overflow != Overflow::Wait || self.has_room(bytes)
    }

    /// A sender waits: for this subscriber, unless it has room.
    pub(in crate::publisher) fn is_waited_for(&mut self, bytes: u64) {
        if self.accepts(bytes) { self.ledger.unblock() } else { self.ledger.block() }
    }

    /// Asked to begin with the latest batch.
    pub(in crate::publisher) fn wants_latest(&self) -> bool {
        self.policy.last
    }

    /// May lose batches.
    pub(in crate::publisher) fn may_lose(&self) -> bool {
        self.takes_part() && self.policy.overflow != Overflow::Wait
    }

    /// Sends a batch, keeps it for later, or drops it or another one, as this subscriber's policy says. One that may lose
    /// batches holds at most `share` bytes (or one batch), so that it cannot take the memory of those that may not.
    pub(in crate::publisher) fn offer(
        &mut self,
        pool: &Pool,
        message: &Message<'_>,
        share: u64,
    ) -> Result<Offered, PlaneError> {
        if self.policy.overflow == Overflow::Wait {
            return self.send(pool, message).map(|()| Offered::Sent);
        }
        if self.backlog.is_empty() && self.may_send(message.out.header.body_length, share) {
            return self.send(pool, message).map(|()| Offered::Sent);
        }
        if self.policy.overflow == Overflow::DropNewest {
            self.ledger.dropped += 1;
            return Ok(Offered::Dropped);
        }
        let (_, half) = halves(&self.policy.queue);
        let bound = Queue { bytes: half.bytes.min(share), ..half };
        self.ledger.dropped += self.backlog.push(message.park(), &bound);
        Ok(Offered::Kept)
    }

    fn may_send(&self, bytes: u64, share: u64) -> bool {
        let holds = self.holding.bytes();
        self.has_room(bytes) && (holds == 0 || holds + bytes <= share)
    }

    /// Sends what was kept, as far as there is room, and tells of what was dropped.
    pub(in crate::publisher) fn advance(
        &mut self,
        pool: &Pool,
        schema: &[u8],
        share: Option<u64>,
    ) -> Result<(), PlaneError> {
        if !self.takes_part() {
            return Ok(());
        }
        while let Some(bytes) = self.backlog.next() {
            if share.is_some_and(|share| !self.may_send(bytes, share)) {
                return Ok(());
            }
            let Some(parked) = self.backlog.pop() else { break };
            self.send(pool, &parked.message(schema, &OnceCell::new()))?;
        }
        if self.has_room(0) {
            self.tell();
        }
        Ok(())
    }

    /// Says how many batches were dropped before this place of the stream, when that is news.
    pub(super) fn tell(&mut self) {
        if self.told.is_some_and(|told| told != self.ledger.dropped) {
            self.told = Some(self.ledger.dropped);
            let mut fields = Fields::default();
            fields.push("dropped", self.ledger.dropped);
            self.say(&fields);
        }
    }

    /// It gets nothing more, and is told why. What it holds stays its own until it frees it or dies.
    pub(in crate::publisher) fn evict(&mut self, code: &str, message: &str) {
        self.evicted = true;
        if let Phase::Streaming(sender) = &self.talk.phase
            && !sender.is_extended()
        {
            // A plain client knows no errors: it sees its stream cut off, and can still give back what it holds.
            self.endpoint.stop_sending();
        }
        self.finish(Some((code, message)));
    }

    /// Looks whether it freed anything since the last look; how many looks it has not, while it held something or its
    /// queue was full.
    pub(in crate::publisher) fn look(&mut self) -> u32 {
        let (Phase::Streaming(sender) | Phase::Ended(sender)) = &self.talk.phase else { return 0 };
        let holds = self.holding.batches() > 0;
        let full = !self.has_room(0) || !self.backlog.is_empty();
        let seen = match self.takes_part() {
            // Nothing comes back of what is sent inside messages: reading it, and taking it, is the sign of life.
            true if self.inline && (holds || full) => Some((holds, self.progress(sender))),
            true if holds => Some((holds, sender.freed_bytes())),
            true if full => Some((holds, sender.consumed_bytes())),
            // Its end is on the way, and it does not even read that.
            false if self.is_owed() => Some((false, self.endpoint.queued() as u64)),
            _ => None,
        };
        self.watch.look(seen)
    }

    /// Changes when the subscriber reads or takes something, and while there is room to send it more.
    fn progress(&self, sender: &Sender<Lent>) -> u64 {
        let read = sender.sent_bytes().wrapping_sub(self.endpoint.queued() as u64);
        read.wrapping_add(sender.consumed_bytes())
    }

    /// Its figures at this moment; `None` when it never asked for batches.
    pub(in crate::publisher) fn statistics(&self, id: ConnectionId) -> Option<SubscriberStatistics> {
        let (Phase::Streaming(sender) | Phase::Ended(sender)) = &self.talk.phase else { return None };
        if self.flight.batches == 0 {
            return None;
        }
        let standing = match () {
            () if self.takes_part() => Standing::Active,
            () if self.orphaned => Standing::Orphaned,
            () if self.evicted => Standing::Evicted,
            () => Standing::Ended,
        };
        Some(SubscriberStatistics {
            id,
            pid: self.endpoint.peer(),
            policy: self.policy,
            standing,
            sent: self.ledger.sent,
            sent_bytes: sender.sent_bytes(),
            dropped: self.ledger.dropped,
            waited: self.ledger.waited,
            waited_for: self.ledger.waited_for(),
            in_flight: self.window.len(),
            queued: self.backlog.len(),
            leases: self.holding.leases(),
            bytes: self.holding.bytes(),
            oldest: sender.kept().filter_map(Lent::age).max(),
        })
    }

    /// The batches that it holds or has not taken yet, the oldest first.
    pub(in crate::publisher) fn lent(&self, id: ConnectionId) -> Vec<LeaseStatistics> {
        let (Phase::Streaming(sender) | Phase::Ended(sender)) = &self.talk.phase else { return Vec::new() };
        let pid = self.endpoint.peer();
        let lease = |lent: &Lent| {
            let (sequence, age) = (lent.sequence()?, lent.age()?);
            Some(LeaseStatistics { subscriber: id, pid, sequence, bytes: lent.bytes(), age })
        };
        let mut leases: Vec<_> = sender.kept().filter_map(lease).collect();
        // Each of a batch's addresses keeps it. Numbers wrap: what lies furthest back is the oldest.
        let next = sender.next_serial();
        let back = |lease: &LeaseStatistics| next.since(Serial(lease.sequence));
        leases.sort_by_key(|lease| std::cmp::Reverse(back(lease)));
        leases.dedup_by_key(|lease| lease.sequence);
        leases
    }
}
