//! The lease of a batch that is sent on ends with the last one downstream, and its segment is given up after that.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use arrowlane_plane::{Batch, PublisherOptions, Queue, SendOutcome};
use support::{chain::*, *};

#[test]
fn what_the_one_in_the_middle_wrote_into_its_view_is_not_forwarded() {
    let world = World::new();
    let mut chain = Chain::new(&world, 1);
    for number in 0..10 {
        chain.producer.send(&numbered(number, 1000));
        let batch = chain.arrives();
        batch.body.may_be_written();
        for range in batch.body.ranges() {
            // SAFETY: the body is alive, its pages are private to this mapping, and nothing reads it as arrays afterwards.
            unsafe { std::ptr::write_bytes(range.pointer.as_ptr(), 0x5A, range.length) };
        }
        chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
        drop(batch);
        chain.settle();
        assert_numbered(&chain.consumers[0].take().expect("delivered"), number, 1000);
        chain.until("it is given back", |c| c.producer.used() == 0);
    }
}

#[test]
fn a_relay_that_closes_ends_its_streams_and_keeps_the_leases_until_nobody_reads() {
    let world = World::new();
    let mut chain = Chain::new(&world, 2);
    for number in 0..5 {
        chain.producer.send(&numbered(number, 100));
        let batch = chain.arrives();
        chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
    }
    chain.relay.publisher.close();
    chain.settle();
    assert!(chain.consumers.iter().all(|c| c.ended) && !chain.relay.closed);
    assert_eq!(chain.up(), 5, "they are read still");
    chain.consumers[0].batches.clear();
    let last = chain.consumers[1].batches.pop_back();
    chain.consumers[1].batches.clear();
    chain.settle();
    assert_eq!((chain.up(), chain.relay.closed), (1, false));
    assert_numbered(last.as_ref().expect("held"), 4, 100);
    drop(last);
    chain.until("it is closed", |c| c.relay.closed);
    assert_eq!((chain.up(), chain.producer.used()), (0, 0));
}

#[test]
fn a_segment_that_ended_upstream_is_given_up_downstream_when_its_last_batch_is() {
    let world = World::new();
    let mut chain = Chain::new(&world, 1);
    chain.producer.send(&numbered(1, 100));
    let batch = chain.arrives();
    chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
    chain.settle();
    let held = chain.consumers[0].take().expect("delivered");
    let mapping = |batch: &Batch| batch.body.location().expect("shared")[1];
    assert_eq!(mapping(&held), mapping(&batch));
    drop(batch);
    let mappings = || std::fs::read_to_string("/proc/self/maps").expect("maps");
    let inode = format!(" {} ", mapping(&held));
    // The producer's own mapping, the one in the middle, and the consumer's.
    let count = |inode: &str| mappings().lines().filter(|line| line.contains(inode)).count();
    assert_eq!(count(&inode), 3);
    let world2 = World::new();
    let gone = std::mem::replace(&mut chain.producer, world2.publish("up", options()));
    drop(gone);
    chain.settle();
    assert!(chain.upstream.failed.is_some());
    assert_numbered(&held, 1, 100);
    assert_eq!(count(&inode), 2, "the one in the middle and the consumer hold it");
    drop(held);
    chain.until("no mapping is left", |_| count(&inode) == 0);
    assert_eq!((chain.down(), chain.consumers[0].failed.is_none()), (0, true));
    // The stream goes on with the segments of the next one, under a number that was used before.
    let mut upstream = Consumer::new(Arc::clone(&world2.folder), "up");
    settle(&mut chain.producer, std::slice::from_mut(&mut upstream));
    std::mem::swap(&mut upstream, &mut chain.upstream);
    for number in 0..3 {
        chain.producer.send(&numbered(number, 100));
        let batch = chain.arrives();
        chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
        drop(batch);
        chain.settle();
        assert_numbered(&chain.consumers[0].take().expect("delivered"), number, 100);
    }
}

#[test]
fn a_relay_of_many_publishers_gives_up_idle_segments_before_it_has_too_many() {
    let world = World::new();
    let relay = world.publish("down", PublisherOptions { memory: 1 << 20, ..options() });
    let mut consumers = vec![world.subscribe("down")];
    let mut relay = relay;
    settle(&mut relay, &mut consumers);
    let small = PublisherOptions { memory: 64 << 10, ..options() };
    let mut publishers = Vec::new();
    let mut copied = 0;
    for number in 0..600 {
        let mut producer = world.publish(&format!("up {number}"), small.clone());
        let mut upstream = world.subscribe(&format!("up {number}"));
        settle(&mut producer, std::slice::from_mut(&mut upstream));
        producer.send(&numbered(number, 10));
        settle(&mut producer, std::slice::from_mut(&mut upstream));
        let batch = upstream.take().expect("delivered");
        match relay.publisher.forward(&batch, whole(&batch), None).expect("it fits") {
            Some(out) => drop(relay.publisher.try_send(&out).expect("sent")),
            None => {
                copied += 1;
                relay.send(&batch.to_arrow().expect("arrays"));
            }
        }
        drop(batch);
        settle(&mut relay, &mut consumers);
        assert_numbered(&consumers[0].take().expect("delivered"), number, 10);
        settle(&mut relay, &mut consumers);
        publishers.push((producer, upstream));
    }
    assert_eq!(copied, 1, "the one that found no number free");
    assert!(consumers[0].failed.is_none());
}

#[test]
fn one_slow_subscriber_of_two_holds_what_it_has_not_read_and_a_queue_bounds_that() {
    let world = World::new();
    let mut chain = Chain::new(&world, 2);
    let queue = Queue { batches: 4, bytes: 1 << 40 };
    chain.relay = world.publish("narrow", PublisherOptions { queue, memory: 1 << 20, ..options() });
    chain.consumers = vec![world.subscribe("narrow"), world.subscribe("narrow")];
    chain.settle();
    let mut waiting = None;
    for number in 0..5 {
        chain.producer.send(&numbered(number, 10));
        let batch = chain.arrives();
        let out = chain.forward(&batch);
        drop(batch);
        match chain.relay.publisher.try_send(&out).expect("open") {
            SendOutcome::Sent(2) => assert!(number < 4),
            SendOutcome::NoRoom => waiting = Some(out),
            other => panic!("{other:?}"),
        }
        chain.settle();
        drop(chain.consumers[0].take());
        chain.settle();
    }
    let waiting = waiting.expect("the slow one had no room");
    assert_eq!((chain.up(), chain.down()), (5, 4), "four in its queue, and the one that waits");
    let rooms = chain.relay.rooms;
    drop(chain.consumers[1].take());
    chain.settle();
    assert!(chain.relay.rooms > rooms);
    assert_eq!(chain.relay.publisher.try_send(&waiting).expect("sent"), SendOutcome::Sent(2));
    drop(waiting);
    chain.settle();
    assert_numbered(&chain.consumers[0].take().expect("delivered"), 4, 10);
    for number in 1..5 {
        assert_numbered(&chain.consumers[1].take().expect("delivered"), number, 10);
    }
    chain.settle();
    assert_eq!((chain.up(), chain.down()), (0, 0));
}
