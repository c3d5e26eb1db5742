//! Every lease ends exactly once, whatever happens in whatever order.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use arrowlane_plane::{Batch, PublisherOptions, Queue, SendOutcome};
use proptest::prelude::*;
use support::*;

/// What can happen. Numbers choose among what there is, modulo its count.
#[derive(Debug, Clone)]
enum Step {
    Send {
        rows: usize,
    },
    Join,
    Take(usize),
    /// Ends a lease here.
    Dispose(usize),
    /// Ends a lease on another thread.
    DisposeElsewhere(usize),
    /// Another reference to a held batch, as an export makes one.
    Share(usize),
    /// Writes into a held batch's memory, as JavaScript may.
    Scribble(usize),
    Close(usize),
    /// The subscriber's environment ends.
    ShutDown(usize),
    TurnPublisher,
    Turn(usize),
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = || 0usize..1000;
    let step = prop_oneof![
        12 => prop_oneof![Just(0usize), 1usize..50, 1000usize..3000, Just(60_000)].prop_map(|rows| Step::Send { rows }),
        2 => Just(Step::Join),
        8 => any().prop_map(Step::Take),
        6 => any().prop_map(Step::Dispose),
        3 => any().prop_map(Step::DisposeElsewhere),
        3 => any().prop_map(Step::Share),
        3 => any().prop_map(Step::Scribble),
        1 => any().prop_map(Step::Close),
        1 => any().prop_map(Step::ShutDown),
        6 => Just(Step::TurnPublisher),
        6 => any().prop_map(Step::Turn),
        2 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 1..120)
}

/// A batch that is held: its number, its rows, whether somebody wrote into it, and who it came to.
type Held = (usize, usize, bool, Arc<Batch>);

struct Receiver {
    consumer: Consumer,
    /// Numbers and rows of what has to come, in order.
    expected: Vec<(usize, usize)>,
    delivered: usize,
}

fn scribble(batch: &Batch) {
    batch.body.may_be_written();
    for range in batch.body.ranges() {
        // SAFETY: the body is alive and lies in pages private to this process's mapping; arrays over it are not read
        // after this.
        unsafe { std::ptr::write_bytes(range.pointer.as_ptr(), 0xA5, range.length) };
    }
}

fn run(steps: Vec<Step>) {
    let world = World::new();
    let queue = Queue { batches: 8, bytes: 4 << 20 };
    let options = PublisherOptions { queue, min_subscribers: 0, memory: 1 << 30, ..options() };
    let mut producer = world.publish("topic", options);
    let mut receivers: Vec<Receiver> = Vec::new();
    let mut held: Vec<Held> = Vec::new();
    let mut number = 0;
    for step in steps {
        match step {
            Step::Send { rows } => {
                number += 1;
                let joined = producer.joined.len();
                let outcome = producer.send(&numbered(number, rows));
                if let SendOutcome::Sent(subscribers) = outcome {
                    assert!(subscribers <= joined);
                    // Whoever had joined before gets it, unless it left meanwhile.
                    let joined = receivers.iter_mut().filter(|r| r.consumer.connected > 0);
                    joined.for_each(|r| r.expected.push((number, rows)));
                }
            }
            Step::Join if receivers.len() < 4 => {
                let consumer = world.subscribe("topic");
                receivers.push(Receiver { consumer, expected: Vec::new(), delivered: 0 });
                // Settled at once, so that what it has to receive is known.
                settle_all(&mut producer, &mut receivers);
            }
            Step::Take(which) if !receivers.is_empty() => {
                let at = which % receivers.len();
                let receiver = &mut receivers[at];
                if let Some(batch) = receiver.consumer.take() {
                    let (number, rows) = receiver.expected[receiver.delivered];
                    receiver.delivered += 1;
                    assert_numbered(&batch, number, rows);
                    held.push((number, rows, false, batch));
                }
            }
            Step::Dispose(which) if !held.is_empty() => drop(held.swap_remove(which % held.len())),
            Step::DisposeElsewhere(which) if !held.is_empty() => {
                let (.., batch) = held.swap_remove(which % held.len());
                std::thread::spawn(move || drop(batch));
            }
            Step::Share(which) if !held.is_empty() => {
                let again = held[which % held.len()].clone();
                held.push(again);
            }
            Step::Scribble(which) if !held.is_empty() => {
                let (number, rows, ..) = held[which % held.len()];
                let batch = Arc::clone(&held[which % held.len()].3);
                scribble(&batch);
                // All handles of this body see what was written, and nobody else does.
                for other in held.iter_mut().filter(|h| Arc::ptr_eq(&h.3, &batch)) {
                    *other = (number, rows, true, Arc::clone(&batch));
                }
            }
            Step::Close(which) if !receivers.is_empty() => {
                let mut receiver = receivers.swap_remove(which % receivers.len());
                receiver.consumer.close();
            }
            Step::ShutDown(which) if !receivers.is_empty() => {
                let receiver = receivers.swap_remove(which % receivers.len());
                receiver.consumer.lane.shut_down();
            }
            Step::TurnPublisher => {
                producer.turn();
            }
            Step::Turn(which) if !receivers.is_empty() => {
                let at = which % receivers.len();
                receivers[at].consumer.turn();
            }
            Step::Settle => settle_all(&mut producer, &mut receivers),
            _ => {}
        }
        for (number, rows, written, batch) in &held {
            if !written {
                assert_numbered(batch, *number, *rows);
            }
        }
    }
    held.clear();
    for receiver in &mut receivers {
        receiver.consumer.batches.clear();
    }
    let mut consumers: Vec<_> = receivers.into_iter().map(|r| r.consumer).collect();
    wait_until(&mut producer, &mut consumers, |p, consumers| {
        consumers.iter_mut().for_each(|c| c.batches.clear());
        p.used() == 0 && p.publisher.statistics().leases == 0
    });
    assert!(consumers.iter().all(|c| c.failed.is_none()), "nobody was dropped");
    assert_eq!(producer.publisher.statistics().subscribers, consumers.len());
}

fn settle_all(producer: &mut Producer, receivers: &mut [Receiver]) {
    for _ in 0..20_000 {
        let mut worked = producer.turn();
        for receiver in receivers.iter_mut() {
            worked |= receiver.consumer.turn();
        }
        if !worked {
            return;
        }
    }
    panic!("a loop does not come to rest");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_lease_ends_exactly_once_under_any_schedule(steps in steps()) {
        run(steps);
    }
}

#[test]
fn leases_that_end_on_many_threads_at_once_all_come_back() {
    let world = World::new();
    let queue = Queue { batches: 1 << 20, bytes: 1 << 40 };
    let (mut producer, mut consumers) = world.connected(PublisherOptions { queue, ..options() }, 2);
    for _ in 0..5 {
        let out = producer.pack(&numbered(1, 50));
        for _ in 0..500 {
            assert_eq!(producer.publisher.try_send(&out).expect("sent"), SendOutcome::Sent(2));
        }
        drop(out);
        settle(&mut producer, &mut consumers);
        let mut parts: Vec<Vec<Arc<Batch>>> = (0..4).map(|_| Vec::new()).collect();
        for consumer in &mut consumers {
            for at in 0.. {
                match consumer.take() {
                    Some(batch) => parts[at % 4].push(batch),
                    None => break,
                }
            }
        }
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 1000);
        let threads: Vec<_> = parts.into_iter().map(|part| std::thread::spawn(move || drop(part))).collect();
        // The lanes go on meanwhile.
        settle(&mut producer, &mut consumers);
        threads.into_iter().for_each(|t| t.join().expect("dropped"));
        wait_until(&mut producer, &mut consumers, |p, _| p.used() == 0 && p.publisher.statistics().leases == 0);
    }
    assert!(producer.left.is_empty());
}

#[test]
fn a_publisher_lists_what_each_subscriber_holds_and_both_know_it_by_the_same_number() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 2);
    for n in 0..3 {
        assert_eq!(producer.send(&numbered(n, 5)), SendOutcome::Sent(2));
    }
    settle(&mut producer, &mut consumers);
    let held = |consumer: &Consumer| consumer.batches.iter().map(|batch| batch.sequence).collect::<Vec<_>>();
    let lent = |producer: &Producer, id: u64| {
        let leases = producer.publisher.leases().into_iter().filter(move |lease| lease.subscriber == id);
        leases.map(|lease| Some(lease.sequence)).collect::<Vec<_>>()
    };
    let ids = producer.joined.clone();
    for (consumer, id) in consumers.iter().zip(&ids) {
        assert_eq!((held(consumer), lent(&producer, *id)), (vec![Some(1), Some(2), Some(3)], held(consumer)));
    }
    let lease = producer.publisher.leases()[0];
    assert_eq!(lease.pid, Some(std::process::id()));
    assert!(lease.bytes >= consumers[0].batches[0].body.length() as u64);
    drop(consumers[0].take());
    settle(&mut producer, &mut consumers);
    assert_eq!(lent(&producer, ids[0]), held(&consumers[0]), "what came back is not listed");
    assert_eq!(producer.publisher.leases().len(), 5);
    consumers.clear();
    wait_until(&mut producer, &mut [], |producer, _| producer.publisher.leases().is_empty());
}
