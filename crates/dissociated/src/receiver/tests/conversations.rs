//! Whole conversations in every order of arrival: of two streams that are each in order, and of any order at all.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::{Body, Sender, SenderConfig, SenderEvent, encode_dictionary};

/// A message after the schema.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Two buffers that are lent, and an empty one.
    Lent,
    /// Bytes in the message.
    Packed,
    /// No rows and no body at all, as our publishers send them.
    NoRows,
    /// No bytes and an empty body, as plain servers send them.
    EmptyBody,
    /// A dictionary, lent or not, replacing or extending.
    Dictionary { lent: bool, delta: bool },
}

pub(super) fn kinds(most: usize) -> impl Strategy<Value = Vec<Kind>> {
    let kind = prop_oneof![
        Just(Kind::Lent),
        Just(Kind::Packed),
        Just(Kind::NoRows),
        Just(Kind::EmptyBody),
        any::<(bool, bool)>().prop_map(|(lent, delta)| Kind::Dictionary { lent, delta }),
    ];
    vec(kind, 0..most)
}

/// Sends the message; addresses repeat, so that one is out more than once.
pub(super) fn send<T: Clone>(sender: &mut Sender<T>, kind: Kind, keep: &T, wire: &mut dyn Outbox) {
    let number = u64::from(sender.next_serial().0 % 3) + 1;
    let pairs =
        [Pair { address: 64 * number, length: 8 }, Pair::default(), Pair { address: 4096 * number, length: 16 }];
    let in_place = Body::Pairs { total: 24, pairs: &pairs, keep };
    let bytes = [number as u8; 24];
    let packed = Body::Packed { parts: &[&bytes[..8], &bytes[8..]], length: 24 };
    let empty = Body::Packed { parts: &[], length: 0 };
    let full = header(&[8, 0, 16]);
    match kind {
        Kind::Lent => sender.message(&encode_batch(&full, &[]), in_place, wire),
        Kind::Packed => sender.message(&encode_batch(&full, &[]), packed, wire),
        Kind::NoRows => sender.message(&encode_batch(&header(&[0, 0, 0]), &[]), Body::None, wire),
        Kind::EmptyBody => sender.message(&encode_batch(&header(&[0]), &[]), empty, wire),
        Kind::Dictionary { lent, delta } => {
            let body = if lent { in_place } else { packed };
            sender.message(&encode_dictionary(1, delta, &full), body, wire)
        }
    };
}

/// What events say, for comparing.
pub(super) fn told(events: &mut Receiver, into: &mut Vec<String>) {
    while let Some(event) = events.next() {
        into.push(match event {
            Event::Schema(s, _) => format!("schema {}", s.schema.fields().len()),
            Event::Batch { serial, body, .. } => format!("batch {} {body:?}", serial.0),
            Event::Dictionary { id, delta, body, .. } => format!("dictionary {id} {delta} {body:?}"),
            other => format!("{other:?}"),
        });
    }
}

/// Everything that a sender says from a number on, and the sender. The schema is always number 0.
struct Conversation {
    sender: Sender<Arc<()>>,
    block: Arc<()>,
    wire: Wire,
    first: u32,
}

impl Conversation {
    fn new(kinds: &[Kind], first: u32) -> Self {
        let sender = Sender::new(SenderConfig { free_tag: FREE, ext_tag: Some(EXT) });
        let mut all = Self { sender, block: Arc::new(()), wire: Wire::default(), first };
        all.sender.message(&schema(), Body::None, &mut all.wire);
        if first != 1 {
            all.sender.jump_to(Serial(first));
        }
        kinds.iter().for_each(|kind| send(&mut all.sender, *kind, &all.block, &mut all.wire));
        all.sender.finish(&mut all.wire);
        all
    }

    /// A receiver that has the schema where numbers jump behind it.
    fn receiver(&self, unordered: bool) -> (Receiver, usize) {
        let mut receiver = if self.first == 1 { receiver() } else { started() };
        receiver.config.unordered = unordered;
        if self.first == 1 {
            return (receiver, 0);
        }
        receiver.window = Window::starting_at(Serial(self.first));
        // What was number 0 is long forgotten when the next number 0 comes.
        receiver.bodyless.clear();
        (receiver, 1)
    }

    /// What is to be told, in whatever order it comes.
    fn expected(&self) -> Vec<String> {
        let (mut receiver, skip) = self.receiver(false);
        self.wire.metadata[skip..].iter().for_each(|bytes| receiver.metadata(bytes).unwrap());
        self.wire.tagged.iter().for_each(|(tag, body)| receiver.tagged(*tag, body.clone().into()).unwrap());
        let mut events = vec![];
        told(&mut receiver, &mut events);
        events
    }

    /// Metadata and bodies in one list, in an order of that kind.
    fn pieces(&self, order: &[u32]) -> Vec<Piece<'_>> {
        let skip = usize::from(self.first != 1);
        let metadata = self.wire.metadata[skip..].iter().map(|bytes| Piece::Metadata(bytes));
        let tagged = self.wire.tagged.iter().map(|(tag, body)| Piece::Tagged(*tag, body));
        let mut all: Vec<_> = metadata.chain(tagged).zip(order.iter().copied().cycle()).collect();
        all.sort_by_key(|(_, key)| *key);
        all.into_iter().map(|(piece, _)| piece).collect()
    }
}

#[derive(Debug, Clone, Copy)]
enum Piece<'w> {
    Metadata(&'w [u8]),
    Tagged(u64, &'w [u8]),
}

impl Piece<'_> {
    fn feed(self, receiver: &mut Receiver) -> Result<()> {
        match self {
            Piece::Metadata(bytes) => receiver.metadata(bytes),
            Piece::Tagged(tag, body) => receiver.tagged(tag, Bytes::copy_from_slice(body)),
        }
    }

    fn serial(self) -> u32 {
        match self {
            Piece::Metadata(bytes) => u32::from_le_bytes(bytes[1..5].try_into().unwrap()),
            Piece::Tagged(tag, _) => tag as u32,
        }
    }

    fn is_end(self) -> bool {
        matches!(self, Piece::Metadata([0, ..]))
    }
}

/// From the beginning, and over the wrap.
fn firsts() -> impl Strategy<Value = u32> {
    prop_oneof![Just(1), (u32::MAX - 8)..=u32::MAX]
}

/// Keys to sort by that are neither too few nor all different.
fn orders() -> impl Strategy<Value = Vec<u32>> {
    vec(0u32..1000, 61)
}

proptest! {
    #[test]
    fn every_merge_of_metadata_and_bodies_tells_the_same_and_all_that_went_out_comes_back(
        kinds in kinds(9), first in firsts(), choices in vec(any::<bool>(), 40), later in 0usize..3,
    ) {
        let mut all = Conversation::new(&kinds, first);
        let (mut receiver, skip) = all.receiver(false);
        let (mut metadata, mut bodies) = (all.wire.metadata[skip..].iter().peekable(), all.wire.tagged.iter().peekable());
        let (mut events, mut choices) = (vec![], choices.into_iter().cycle());
        loop {
            let body_next = choices.next().unwrap_or(false) && bodies.peek().is_some() || metadata.peek().is_none();
            if body_next {
                let Some((tag, body)) = bodies.next() else { break };
                receiver.tagged(*tag, Bytes::copy_from_slice(body)).unwrap();
            } else if let Some(bytes) = metadata.next() {
                receiver.metadata(bytes).unwrap();
            }
            told(&mut receiver, &mut events);
        }
        prop_assert_eq!(&events, &all.expected());
        prop_assert_eq!(events.last().map(String::as_str), Some("End"));
        prop_assert_eq!((receiver.missing(), receiver.pending()), (None, 0));

        // And what comes back frees exactly what went out.
        let addresses: Vec<u64> = receiver.returns.held_addresses().collect();
        prop_assert_eq!(addresses.len(), all.sender.outstanding());
        let (first, rest) = addresses.split_at(later.min(addresses.len()));
        for part in [rest, first] {
            receiver.free(part);
            let mut back = Wire::default();
            if receiver.flush(&mut back) {
                prop_assert_eq!(back.tagged.len(), 1, "in one message");
                let freed = all.sender.tagged(back.tagged[0].0, &back.tagged[0].1).unwrap();
                prop_assert_eq!(freed, SenderEvent::Freed { addresses: part.len() });
            }
        }
        prop_assert_eq!((all.sender.outstanding(), Arc::strong_count(&all.block)), (0, 1));
    }

    #[test]
    fn where_metadata_may_overtake_metadata_any_order_at_all_tells_the_same(
        kinds in kinds(9), first in firsts(), order in orders(),
    ) {
        let all = Conversation::new(&kinds, first);
        let (mut receiver, _) = all.receiver(true);
        let mut events = vec![];
        for piece in all.pieces(&order) {
            piece.feed(&mut receiver).unwrap();
            told(&mut receiver, &mut events);
        }
        prop_assert_eq!(events, all.expected());
        prop_assert_eq!((receiver.missing(), receiver.pending()), (None, 0));
    }

    #[test]
    fn what_is_lost_is_named_by_its_number(
        kinds in kinds(9), first in firsts(), order in orders(), lost in any::<Index>(), unordered in any::<bool>(),
    ) {
        let all = Conversation::new(&kinds, first);
        let (mut receiver, _) = all.receiver(unordered);
        let mut pieces = all.pieces(if unordered { &order } else { &[0] });
        // An empty body is waited for by nobody, and without the end nothing shows that there was more.
        let waited_for = |piece: &Piece<'_>| !matches!(piece, Piece::Tagged(_, [])) && !piece.is_end();
        let candidates: Vec<_> = (0..pieces.len()).filter(|at| waited_for(&pieces[*at])).collect();
        prop_assume!(!candidates.is_empty());
        let lost = pieces.remove(candidates[lost.index(candidates.len())]);
        let mut error = None;
        for piece in pieces {
            error = error.or(piece.feed(&mut receiver).err());
            while receiver.next().is_some() {}
        }
        let serial = lost.serial();
        let error = error.or_else(|| receiver.missing()).expect("it is seen");
        match lost {
            Piece::Tagged(..) => prop_assert_eq!(error, ProtocolError::BodyMissing { serial }),
            Piece::Metadata(_) => {
                let got = serial.wrapping_add(1);
                prop_assert_eq!(&error, &ProtocolError::Gap { expected: serial, got });
                let named = format!("message {serial} never came, and {got} did");
                prop_assert!(error.to_string().contains(&named), "{}", error);
            }
        }
    }

    #[test]
    fn what_comes_twice_is_refused_and_changes_nothing_before(
        kinds in kinds(9), first in firsts(), order in orders(), unordered in any::<bool>(),
        twice in any::<Index>(), later in any::<Index>(),
    ) {
        let all = Conversation::new(&kinds, first);
        let (mut receiver, _) = all.receiver(unordered);
        let mut pieces = all.pieces(if unordered { &order } else { &[0] });
        let twice = twice.index(pieces.len());
        let again = pieces[twice];
        let at = twice + 1 + later.index(pieces.len() - twice);
        pieces.insert(at, again);
        let (mut events, mut refused) = (vec![], None);
        for (index, piece) in pieces.into_iter().enumerate() {
            if let Err(error) = piece.feed(&mut receiver) {
                refused = Some((index, error));
                break;
            }
            told(&mut receiver, &mut events);
        }
        let (index, error) = refused.expect("it is refused");
        prop_assert_eq!(index, at, "where it came again: {}", error);
        prop_assert!(all.expected().starts_with(&events));
        let known = matches!(
            error,
            ProtocolError::Duplicate { .. } | ProtocolError::AfterEnd { .. } | ProtocolError::SchemaPlace { .. }
                | ProtocolError::Gap { .. }
        );
        prop_assert!(known, "{}", error);
    }

    #[test]
    fn a_body_of_a_message_that_does_not_exist_is_found_at_the_end(
        kinds in kinds(9), order in orders(), beyond in 0u32..100, unordered in any::<bool>(),
    ) {
        let all = Conversation::new(&kinds, 1);
        let (mut receiver, _) = all.receiver(unordered);
        let next = all.sender.next_serial().0;
        let tag = u64::from(next + beyond);
        let mut pieces = all.pieces(if unordered { &order } else { &[0] });
        pieces.insert(0, Piece::Tagged(tag, &[1; 8]));
        let error = pieces.into_iter().find_map(|piece| piece.feed(&mut receiver).err());
        while receiver.next().is_some() {}
        let error = error.or_else(|| receiver.missing()).expect("it is seen");
        prop_assert!(matches!(error, ProtocolError::Gap { expected, .. } if expected == next), "{}", error);
    }
}
