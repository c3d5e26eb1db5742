//! Sender and receiver over a link that may lose, cut, repeat and reorder what it carries, and break at any moment.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::conversations::{Kind, kinds, send};
use super::*;
use crate::{Body, Sender, SenderConfig};

#[derive(Debug, Clone)]
enum Step {
    /// The application sends.
    Send(Vec<Kind>),
    Finish,
    Fail,
    /// So many messages of a stream arrive.
    Metadata(usize),
    Tagged(usize),
    Back(usize),
    /// The application takes so many events, and lets go of one that it holds.
    Take(usize),
    Free(usize),
    Flush,
    Cancel,
}

/// What a link does that does not keep what it was given.
#[derive(Debug, Clone)]
enum Fault {
    LoseMetadata(Index),
    LoseTagged(Index),
    LoseBack(Index),
    CutMetadata(Index, Index),
    CutTagged(Index, Index),
    CutBack(Index, Index),
    RepeatMetadata(Index),
    RepeatTagged(Index),
    RepeatBack(Index),
    SwapMetadata(Index, Index),
    SwapTagged(Index, Index),
    Flip(Index, Index, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => kinds(4).prop_map(Step::Send),
        1 => Just(Step::Finish),
        1 => Just(Step::Fail),
        4 => (1usize..6).prop_map(Step::Metadata),
        4 => (1usize..6).prop_map(Step::Tagged),
        3 => (1usize..4).prop_map(Step::Back),
        4 => (1usize..6).prop_map(Step::Take),
        4 => (0usize..100).prop_map(Step::Free),
        3 => Just(Step::Flush),
        1 => Just(Step::Cancel),
    ];
    vec(step, 0..60)
}

fn faults() -> impl Strategy<Value = Vec<(usize, Fault)>> {
    let i = any::<Index>;
    let fault = prop_oneof![
        i().prop_map(Fault::LoseMetadata),
        i().prop_map(Fault::LoseTagged),
        i().prop_map(Fault::LoseBack),
        (i(), i()).prop_map(|(a, b)| Fault::CutMetadata(a, b)),
        (i(), i()).prop_map(|(a, b)| Fault::CutTagged(a, b)),
        (i(), i()).prop_map(|(a, b)| Fault::CutBack(a, b)),
        i().prop_map(Fault::RepeatMetadata),
        i().prop_map(Fault::RepeatTagged),
        i().prop_map(Fault::RepeatBack),
        (i(), i()).prop_map(|(a, b)| Fault::SwapMetadata(a, b)),
        (i(), i()).prop_map(|(a, b)| Fault::SwapTagged(a, b)),
        (i(), i(), any::<u8>()).prop_map(|(a, b, c)| Fault::Flip(a, b, c)),
    ];
    vec((0usize..60, fault), 1..4)
}

/// What the sender keeps for an address, counted by its `Arc`.
type Lease = Arc<()>;

/// Received bytes that are counted as well.
struct Arrived(Vec<u8>, #[allow(dead_code)] Arc<()>);

impl AsRef<[u8]> for Arrived {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Default)]
struct Lanes {
    metadata: VecDeque<Vec<u8>>,
    tagged: VecDeque<(u64, Vec<u8>)>,
}

impl Outbox for Lanes {
    fn metadata(&mut self, parts: &[&[u8]]) {
        self.metadata.push_back(parts.concat());
    }

    fn tagged(&mut self, tag: u64, parts: &[&[u8]]) {
        self.tagged.push_back((tag, parts.concat()));
    }
}

struct World {
    lease: Lease,
    bytes: Arc<()>,
    sender: Sender<Lease>,
    receiver: Receiver,
    there: Lanes,
    back: Lanes,
    /// Addresses of the bodies that the application holds, and their bytes.
    held: Vec<(Vec<u64>, ReceivedBody)>,
    open: bool,
    delivered: Vec<u32>,
    over: bool,
}

impl World {
    fn new(extended: bool, unordered: bool) -> Self {
        let ext_tag = extended.then_some(EXT);
        let config = ReceiverConfig { free_tag: Some(FREE), ext_tag, unordered, ..ReceiverConfig::default() };
        let mut world = Self {
            lease: Arc::new(()),
            bytes: Arc::new(()),
            sender: Sender::new(SenderConfig { free_tag: FREE, ext_tag }),
            receiver: Receiver::new(config),
            there: Lanes::default(),
            back: Lanes::default(),
            held: vec![],
            open: true,
            delivered: vec![],
            over: false,
        };
        world.sender.message(&schema(), Body::None, &mut world.there);
        world
    }

    /// One step; an error of either side is what its connection would be closed for.
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Send(kinds) if self.open => {
                kinds.iter().for_each(|kind| send(&mut self.sender, *kind, &self.lease, &mut self.there));
            }
            Step::Finish if std::mem::take(&mut self.open) => self.sender.finish(&mut self.there),
            Step::Fail if std::mem::take(&mut self.open) => self.sender.fail("ERR_X", "it broke", &mut self.there),
            Step::Send(_) | Step::Finish | Step::Fail => {}
            Step::Metadata(count) => {
                let count = (*count).min(self.there.metadata.len());
                for message in self.there.metadata.drain(..count) {
                    self.receiver.metadata(&message)?;
                }
            }
            Step::Tagged(count) => {
                let count = (*count).min(self.there.tagged.len());
                for (tag, body) in self.there.tagged.drain(..count) {
                    let body = Bytes::from_owner(Arrived(body, Arc::clone(&self.bytes)));
                    self.receiver.tagged(tag, body)?;
                }
            }
            Step::Back(count) => {
                let count = (*count).min(self.back.tagged.len());
                for (tag, body) in self.back.tagged.drain(..count) {
                    self.sender.tagged(tag, &body)?;
                }
            }
            Step::Take(count) => {
                for event in std::iter::from_fn(|| self.receiver.next()).take(*count).collect::<Vec<_>>() {
                    self.event(event)?;
                }
            }
            Step::Free(which) if !self.held.is_empty() => {
                let (addresses, body) = self.held.swap_remove(which % self.held.len());
                self.receiver.free(&addresses);
                self.receiver.consumed(body.bytes());
            }
            Step::Free(_) => {}
            Step::Flush => {
                self.receiver.flush(&mut self.back);
            }
            Step::Cancel => self.receiver.cancel(&mut self.back),
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<()> {
        assert!(!self.over, "nothing follows an end");
        let (header, body) = match event {
            Event::Batch { serial, header, body, .. } => {
                self.delivered.push(serial.0);
                (header, body)
            }
            Event::Dictionary { header, body, .. } => (header, body),
            Event::End | Event::Error { .. } => {
                self.over = true;
                return Ok(());
            }
            _ => return Ok(()),
        };
        let addresses = body.held_pairs().map(|pair| pair.address).collect();
        let spans = body.spans(&header);
        self.held.push((addresses, body));
        spans.map(drop)
    }

    fn harm(&mut self, fault: &Fault) {
        fn at<T>(lane: &VecDeque<T>, which: &Index) -> Option<usize> {
            (!lane.is_empty()).then(|| which.index(lane.len()))
        }
        fn cut(bytes: &mut Vec<u8>, to: &Index) {
            bytes.truncate(to.index(bytes.len().max(1)));
        }
        let Lanes { metadata, tagged } = &mut self.there;
        let back = &mut self.back.tagged;
        match fault {
            Fault::LoseMetadata(i) => drop(at(metadata, i).and_then(|i| metadata.remove(i))),
            Fault::LoseTagged(i) => drop(at(tagged, i).and_then(|i| tagged.remove(i))),
            Fault::LoseBack(i) => drop(at(back, i).and_then(|i| back.remove(i))),
            Fault::CutMetadata(i, to) => at(metadata, i).into_iter().for_each(|i| cut(&mut metadata[i], to)),
            Fault::CutTagged(i, to) => at(tagged, i).into_iter().for_each(|i| cut(&mut tagged[i].1, to)),
            Fault::CutBack(i, to) => at(back, i).into_iter().for_each(|i| cut(&mut back[i].1, to)),
            Fault::RepeatMetadata(i) => {
                at(metadata, i).into_iter().for_each(|i| metadata.push_back(metadata[i].clone()))
            }
            Fault::RepeatTagged(i) => at(tagged, i).into_iter().for_each(|i| tagged.push_back(tagged[i].clone())),
            Fault::RepeatBack(i) => at(back, i).into_iter().for_each(|i| back.push_back(back[i].clone())),
            Fault::SwapMetadata(a, b) => {
                at(metadata, a).zip(at(metadata, b)).into_iter().for_each(|(a, b)| metadata.swap(a, b));
            }
            Fault::SwapTagged(a, b) => {
                at(tagged, a).zip(at(tagged, b)).into_iter().for_each(|(a, b)| tagged.swap(a, b));
            }
            Fault::Flip(which, place, value) => {
                let all = metadata.iter_mut().chain(tagged.iter_mut().map(|(_, body)| body));
                let mut all: Vec<_> = all.chain(back.iter_mut().map(|(_, body)| body)).collect();
                let count = all.len().max(1);
                if let Some(bytes) = all.get_mut(which.index(count)).filter(|bytes| !bytes.is_empty()) {
                    let place = place.index(bytes.len());
                    bytes[place] ^= value;
                }
            }
        }
    }

    /// Carries everything until nothing moves.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..3 {
            for step in [Step::Metadata(999), Step::Tagged(999), Step::Take(999), Step::Flush, Step::Back(999)] {
                self.step(&step)?;
            }
        }
        Ok(())
    }

    /// Both ends let go, in either order; then nothing is left of any lease or body.
    fn gone(self, receiver_first: bool) {
        let Self { lease, bytes, sender, receiver, held, .. } = self;
        assert_eq!(Arc::strong_count(&lease), 1 + sender.outstanding(), "one for each address that is out");
        if receiver_first {
            drop(receiver);
            drop(sender);
        } else {
            drop(sender);
            drop(receiver);
        }
        assert_eq!(Arc::strong_count(&lease), 1, "the sender's end is the end of every lease");
        // What was delivered stays readable, and is the last of it.
        drop(held);
        assert_eq!(Arc::strong_count(&bytes), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_link_breaks_no_rule_however_slow_and_every_lease_ends_once(
        steps in steps(), extended in any::<bool>(), unordered in any::<bool>(), cut in proptest::option::of(0usize..60),
        receiver_first in any::<bool>(),
    ) {
        let mut world = World::new(extended, unordered);
        for step in steps.iter().take(cut.unwrap_or(usize::MAX)) {
            world.step(step).unwrap();
        }
        if cut.is_some() {
            // The connection ended in the middle.
            world.gone(receiver_first);
            return Ok(());
        }
        let failed = steps.iter().any(|step| matches!(step, Step::Fail));
        world.step(&Step::Finish).unwrap();
        world.settle().unwrap();
        if !failed {
            prop_assert!(world.over, "the end was reached");
            prop_assert_eq!((world.receiver.missing(), world.receiver.pending()), (None, 0));
        }
        prop_assert!(world.delivered.is_sorted());
        // The application lets go of everything: all that went out comes back.
        while !world.held.is_empty() {
            world.step(&Step::Free(0)).unwrap();
        }
        world.settle().unwrap();
        prop_assert_eq!((world.receiver.held(), world.sender.outstanding()), (0, 0));
        prop_assert_eq!(Arc::strong_count(&world.lease), 1);
        prop_assert_eq!(Arc::strong_count(&world.bytes), 1);
        world.gone(receiver_first);
    }

    #[test]
    fn a_link_that_harms_what_it_carries_ends_in_an_error_or_well_and_leaves_nothing_behind(
        steps in steps(), faults in faults(), extended in any::<bool>(), unordered in any::<bool>(),
        receiver_first in any::<bool>(),
    ) {
        let mut world = World::new(extended, unordered);
        let mut ended = Ok(());
        for (at, step) in steps.iter().enumerate() {
            faults.iter().filter(|(when, _)| *when == at).for_each(|(_, fault)| world.harm(fault));
            ended = world.step(step);
            if ended.is_err() {
                break;
            }
        }
        if ended.is_ok() {
            ended = world.settle();
        }
        if let Err(error) = ended {
            prop_assert!(!error.to_string().is_empty() && error.code().starts_with("ERR_"));
        }
        prop_assert!(world.delivered.is_sorted(), "never out of order, whatever came");
        world.gone(receiver_first);
    }
}
