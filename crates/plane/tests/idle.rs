//! Memory that lay idle goes back to the system: when nobody who knows it can be sent an address in it any more.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use arrowlane_memory::{AllocateError, Block, DEFAULT_SEGMENT};
use arrowlane_plane::{PublisherOptions, SendOutcome};
use support::*;

const SEGMENT: usize = DEFAULT_SEGMENT as usize;

/// A publisher with room for two segments, and subscribers that know the second, which lies idle.
fn idle(world: &World, subscribers: usize) -> (Producer, Vec<Consumer>, u16) {
    let memory = 2 * DEFAULT_SEGMENT;
    let (mut producer, mut consumers) = world.connected(PublisherOptions { memory, ..options() }, subscribers);
    let first = producer.publisher.allocate(SEGMENT).expect("the first segment");
    let out = producer.pack(&numbered(0, 100));
    let second = out.block().expect("bytes").segment();
    assert_ne!(second, first.segment());
    assert_eq!(producer.publisher.try_send(&out).expect("sent"), SendOutcome::Sent(subscribers));
    drop((out, first));
    settle(&mut producer, &mut consumers);
    for consumer in &mut consumers {
        assert_numbered(&consumer.take().expect("delivered"), 0, 100);
    }
    settle(&mut producer, &mut consumers);
    assert_eq!((producer.used(), capacity(&producer)), (0, memory));
    (producer, consumers, second)
}

fn capacity(producer: &Producer) -> u64 {
    producer.publisher.pool().statistics().capacity
}

/// As much time as it takes for memory to have been of no use.
fn later(producer: &Producer) {
    let now = Instant::now();
    for periods in 1..5 {
        producer.publisher.shrink_as_of(now + periods * Duration::from_secs(6));
    }
}

/// All of the first segment, so that what is asked for next would have to come from the second.
fn rest(producer: &Producer) -> Block {
    producer.publisher.allocate(SEGMENT).expect("the first segment is free")
}

#[test]
fn memory_that_subscribers_know_goes_back_at_once_and_its_number_stands_for_no_other_before_all_have_acknowledged() {
    let world = World::new();
    let (mut producer, mut consumers, second) = idle(&world, 2);
    later(&producer);
    let mut late = consumers.split_off(1);
    // One of two has acknowledged, and nobody waits for the other.
    wait_until(&mut producer, &mut consumers, |p, _| capacity(p) == DEFAULT_SEGMENT);
    let held = rest(&producer);
    assert_eq!(producer.publisher.allocate(1).err(), Some(AllocateError::NeedsGrowth), "there is room for more");
    let out = producer.pack(&numbered(1, 1000));
    assert_ne!(out.block().expect("bytes").segment(), second, "the other would take it for what it knows");
    assert_eq!(producer.publisher.try_send(&out).expect("sent"), SendOutcome::Sent(2));
    drop((out, held));
    consumers.append(&mut late);
    settle(&mut producer, &mut consumers);
    for consumer in &mut consumers {
        assert_numbered(&consumer.take().expect("delivered"), 1, 1000);
    }
    settle(&mut producer, &mut consumers);
    assert_eq!((producer.used(), producer.left.len()), (0, 0));
}

#[test]
fn a_subscriber_that_never_acknowledges_keeps_a_number_and_nothing_else_until_it_is_gone() {
    for dies in [false, true] {
        let world = World::new();
        let (mut producer, mut consumers, second) = idle(&world, 2);
        let mut silent = consumers.split_off(1).remove(0);
        later(&producer);
        settle(&mut producer, &mut consumers);
        for number in 0..20 {
            let out = producer.pack(&numbered(number, 100));
            assert_ne!(out.block().expect("bytes").segment(), second, "it is sent nothing in there any more");
            assert_eq!(producer.publisher.try_send(&out).expect("sent"), SendOutcome::Sent(2));
            drop(out);
            settle(&mut producer, &mut consumers);
            assert_numbered(&consumers[0].take().expect("delivered"), number, 100);
            later(&producer);
        }
        wait_until(&mut producer, &mut consumers, |p, _| capacity(p) == DEFAULT_SEGMENT);
        if dies {
            drop(silent);
        } else {
            // It reads no more, and says so: that is as good.
            silent.close();
            silent.lane.idle();
        }
        wait_until(&mut producer, &mut consumers, |p, _| capacity(p) == DEFAULT_SEGMENT && p.left.len() == 1);
        settle(&mut producer, &mut consumers);
        let out = producer.pack(&numbered(9, 10));
        assert_eq!(producer.publisher.try_send(&out).expect("sent"), SendOutcome::Sent(1));
        settle(&mut producer, &mut consumers);
        assert_numbered(&consumers[0].take().expect("delivered"), 9, 10);
    }
}

#[test]
fn memory_that_is_held_is_never_given_up_and_goes_when_it_is_idle() {
    let world = World::new();
    let memory = 2 * DEFAULT_SEGMENT;
    let (mut producer, mut consumers) = world.connected(PublisherOptions { memory, ..options() }, 1);
    let first = producer.publisher.allocate(SEGMENT).expect("the first segment");
    let out = producer.pack(&numbered(3, 100));
    let read = out.block().expect("bytes").segment();
    assert_eq!(producer.publisher.try_send(&out).expect("sent"), SendOutcome::Sent(1));
    drop((first, out));
    settle(&mut producer, &mut consumers);
    let held = consumers[0].take().expect("delivered");
    for _ in 0..3 {
        later(&producer);
        settle(&mut producer, &mut consumers);
    }
    assert!(producer.publisher.pool().segment(read).is_some(), "a subscriber reads in it");
    assert_numbered(&held, 3, 100);
    drop(held);
    settle(&mut producer, &mut consumers);
    later(&producer);
    wait_until(&mut producer, &mut consumers, |p, _| capacity(p) == DEFAULT_SEGMENT);
}

#[test]
fn a_publisher_closes_while_an_acknowledgement_is_missing() {
    let world = World::new();
    let (mut producer, mut consumers, _) = idle(&world, 1);
    let pool = producer.publisher.pool().clone();
    later(&producer);
    producer.publisher.close();
    settle(&mut producer, &mut []);
    assert!(producer.closed);
    settle(&mut producer, &mut consumers);
    assert!(consumers[0].ended && consumers[0].failed.is_none(), "{:?}", consumers[0].failed);
    assert_eq!(pool.statistics().used, 0);
}
