//! What happens to a subscriber that does not keep up, and who decides that.
//!
//! A publisher has a default and permits more or less beside it; a subscriber may ask, and is told what it got.

use arrowlane_dissociated::{Fields, ProtocolError};

use super::Queue;

/// What happens when a subscriber's queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Overflow {
    /// The publisher waits: nothing is lost.
    #[default]
    Wait,
    /// The oldest batch that was not handed over yet is dropped.
    DropOldest,
    /// The batch that is being sent is dropped.
    DropNewest,
}

impl Overflow {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Wait, Self::DropOldest, Self::DropNewest];

    /// As it is written, on the wire and in TypeScript.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::DropOldest => "drop-oldest",
            Self::DropNewest => "drop-newest",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|overflow| overflow.name() == name)
    }
}

/// How one subscriber is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// How far it may lag behind: batches that were sent (or wait to be) and that it has not taken.
    pub queue: Queue,
    /// What happens beyond that.
    pub overflow: Overflow,
    /// Whether it began with the latest batch that was published before it came.
    pub last: bool,
}

/// What a subscriber asks for; the publisher's default where it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// Batches in its queue.
    pub batches: Option<u64>,
    /// Their bytes.
    pub bytes: Option<u64>,
    /// What happens when the queue is full.
    pub overflow: Option<Overflow>,
    /// To begin with the latest batch.
    pub last: bool,
}

/// What a publisher lets its subscribers choose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permits {
    /// The largest queue; whoever asks for more gets this.
    pub queue: Queue,
    /// What may be asked for beside the default; whoever asks for another is refused.
    pub overflow: Vec<Overflow>,
    /// Whether there is a latest batch to begin with.
    pub last: bool,
}

/// Why a subscriber was turned away: a sentence for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub String);

/// Its code.
pub(crate) const NOT_PERMITTED: &str = "ERR_NOT_PERMITTED";

impl Permits {
    /// What a subscriber gets. A queue is made to fit; what would change its meaning is refused.
    pub(crate) fn grant(&self, default: &Policy, request: &Request) -> Result<Policy, Refusal> {
        let overflow = request.overflow.unwrap_or(default.overflow);
        if overflow != default.overflow && !self.overflow.contains(&overflow) {
            let permitted: Vec<_> =
                Overflow::ALL.into_iter().filter(|o| *o == default.overflow || self.overflow.contains(o)).collect();
            let names: Vec<_> = permitted.iter().map(|overflow| overflow.name()).collect();
            return Err(Refusal(format!(
                "this publisher does not permit overflow \"{}\": ask for {}, or for nothing",
                overflow.name(),
                names.join(" or "),
            )));
        }
        if request.last && !self.last {
            return Err(Refusal(
                "this publisher keeps no latest batch to begin with: publish with `last`, or subscribe without".into(),
            ));
        }
        let asked = |asked: Option<u64>, default: u64, most: u64| asked.map_or(default, |asked| asked.min(most));
        let batches = asked(request.batches, default.queue.batches as u64, self.queue.batches as u64) as usize;
        let bytes = asked(request.bytes, default.queue.bytes, self.queue.bytes);
        // Beside the batch that is being handed over there has to be a place for the newest.
        let least = if overflow == Overflow::DropOldest { 2 } else { 1 };
        Ok(Policy { queue: Queue { batches: batches.max(least), bytes }, overflow, last: request.last })
    }
}

impl Policy {
    /// As a subscriber is told.
    pub(crate) fn describe(&self, fields: &mut Fields) {
        fields.push("queue_batches", self.queue.batches);
        fields.push("queue_bytes", self.queue.bytes);
        fields.push("overflow", self.overflow.name());
        fields.push("last", u8::from(self.last));
    }

    /// What a publisher said; `None` when it said something else.
    pub(crate) fn read(fields: &Fields) -> Result<Option<Self>, ProtocolError> {
        let (Some(batches), Some(bytes)) = (fields.number("queue_batches")?, fields.number("queue_bytes")?) else {
            return Ok(None);
        };
        let Some(overflow) = fields.get("overflow").and_then(Overflow::named) else { return Ok(None) };
        let queue = Queue { batches: usize::try_from(batches).unwrap_or(usize::MAX), bytes };
        Ok(Some(Self { queue, overflow, last: fields.get("last") == Some("1") }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Policy = Policy { queue: Queue { batches: 8, bytes: 100 }, overflow: Overflow::Wait, last: false };

    fn permits() -> Permits {
        Permits { queue: Queue { batches: 10, bytes: 200 }, overflow: vec![Overflow::DropOldest], last: false }
    }

    #[test]
    fn who_asks_for_nothing_gets_the_default() {
        assert_eq!(permits().grant(&DEFAULT, &Request::default()), Ok(DEFAULT));
        assert_eq!(Permits::default().grant(&DEFAULT, &Request::default()), Ok(DEFAULT));
    }

    #[test]
    fn a_queue_is_made_to_fit_and_another_meaning_is_refused() {
        let ask = |batches, bytes, overflow| Request { batches, bytes, overflow, last: false };
        let large = permits().grant(&DEFAULT, &ask(Some(1 << 40), Some(1 << 40), None)).expect("granted");
        assert_eq!(large.queue, Queue { batches: 10, bytes: 200 });
        let small = permits().grant(&DEFAULT, &ask(Some(1), Some(1), Some(Overflow::DropOldest))).expect("granted");
        assert_eq!((small.queue.batches, small.queue.bytes), (2, 1), "one in its hands and one that may be dropped");
        let refused = permits().grant(&DEFAULT, &ask(None, None, Some(Overflow::DropNewest))).expect_err("refused");
        assert!(refused.0.contains("wait or drop-oldest"), "{refused:?}");
        let last = Request { last: true, ..Request::default() };
        assert!(permits().grant(&DEFAULT, &last).is_err());
        assert!(Permits { last: true, ..permits() }.grant(&DEFAULT, &last).expect("granted").last);
    }

    #[test]
    fn what_was_granted_is_read_as_it_was_told() {
        let policy = Policy { overflow: Overflow::DropNewest, last: true, ..DEFAULT };
        let mut fields = Fields::default();
        policy.describe(&mut fields);
        assert_eq!(Policy::read(&fields), Ok(Some(policy)));
        assert_eq!(Policy::read(&Fields::default()), Ok(None));
    }
}
