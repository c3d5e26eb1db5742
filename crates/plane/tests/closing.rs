//! Ends: of streams, of subscriptions, of publishers, in every order.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use arrowlane_plane::{PlaneError, PublisherOptions, Queue, SendOutcome};
use support::*;

#[test]
fn a_closed_publisher_delivers_everything_then_the_end_and_held_batches_stay_readable() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 2);
    for number in 0..20 {
        producer.send(&numbered(number, 500));
    }
    let late = producer.pack(&numbered(0, 1));
    producer.publisher.close();
    // The name is free at once, for a publisher that has nothing to do with the one that is closing.
    let next = world.publish("topic", options());
    settle(&mut producer, &mut consumers);
    assert!(producer.closed);
    assert!(matches!(producer.publisher.try_send(&late), Err(PlaneError::Closed)));
    drop((late, producer, next));
    for consumer in &mut consumers {
        assert!(consumer.ended && consumer.failed.is_none());
        assert_eq!(consumer.batches.len(), 20);
        for number in 0..20 {
            assert_numbered(&consumer.take().expect("delivered"), number, 500);
        }
    }
}

#[test]
fn the_end_is_seen_when_leases_end_after_the_publisher_is_gone_and_before_it_was_read() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 1);
    producer.send(&numbered(0, 5));
    settle(&mut producer, &mut consumers);
    producer.send(&numbered(1, 5));
    producer.publisher.close();
    producer.turn();
    assert!(producer.closed);
    drop(producer);
    // Giving back finds nobody. What was sent before is still to be read.
    drop(consumers[0].take());
    consumers[0].lane.idle();
    while consumers[0].turn() {}
    assert_numbered(&consumers[0].take().expect("delivered"), 1, 5);
    assert!(consumers[0].ended);
}

#[test]
fn batches_outlive_a_publisher_that_went_away_without_an_end() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 2);
    producer.send(&numbered(0, 1000));
    settle(&mut producer, &mut consumers);
    producer.send(&numbered(1, 1000));
    producer.lane.shut_down();
    drop(producer);
    for consumer in &mut consumers {
        while consumer.turn() {}
        assert!(matches!(consumer.failed, Some(PlaneError::PublisherLost { .. })), "{:?}", consumer.failed);
        assert_eq!(consumer.batches.len(), 2);
        for number in 0..2 {
            assert_numbered(&consumer.take().expect("delivered"), number, 1000);
        }
    }
}

#[test]
fn a_subscriber_that_comes_as_the_publisher_closes_sees_an_end() {
    let world = World::new();
    let mut producer = world.publish("topic", options());
    let mut consumers = vec![world.subscribe("topic")];
    // It is accepted and greeted, and has not yet said what it wants.
    producer.turn();
    assert!(producer.joined.is_empty());
    producer.publisher.close();
    settle(&mut producer, &mut consumers);
    assert!(producer.closed);
    assert!(consumers[0].ended, "{:?}", consumers[0].failed);
}

#[test]
fn a_connection_that_closed_without_a_greeting_is_tried_again() {
    let world = World::new();
    let producer = world.publish("topic", options());
    let mut consumers = vec![world.subscribe("topic")];
    // It is gone before it looked at who waits.
    producer.publisher.close();
    drop(producer);
    while consumers[0].turn() {}
    assert!(consumers[0].failed.is_none() && !consumers[0].ended, "{:?}", consumers[0].failed);
    assert_eq!(consumers[0].retries, 1);
    consumers[0].subscription.connect().expect("nobody is there: it waits");
    let mut producer = world.publish("topic", options());
    settle(&mut producer, &mut consumers);
    assert_eq!(consumers[0].connected, 1);
    assert_eq!(producer.send(&numbered(0, 1)), SendOutcome::Sent(1));
}

#[test]
fn closing_a_subscription_keeps_what_is_held_and_gives_back_the_rest() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 2);
    for number in 0..5 {
        producer.send(&numbered(number, 100));
    }
    settle(&mut producer, &mut consumers);
    let held = consumers[0].take().expect("delivered");
    consumers[0].close();
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.publisher.statistics().subscribers, 1);
    assert_eq!(producer.left.len(), 1, "it takes no more part, though it holds a batch");
    assert_eq!(producer.publisher.statistics().leases, 1 + 5);
    assert_eq!(producer.send(&numbered(5, 100)), SendOutcome::Sent(1), "the other goes on");
    settle(&mut producer, &mut consumers);
    assert_numbered(&held, 0, 100);
    // From a thread that knows nothing of lanes.
    std::thread::spawn(move || drop(held)).join().expect("dropped");
    settle(&mut producer, &mut consumers);
    assert_eq!((producer.left.len(), producer.publisher.statistics().leases), (1, 6), "told once");
    assert_eq!(consumers[1].batches.len(), 6);
    consumers[1].batches.clear();
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.used(), 0);
}

#[test]
fn a_subscription_closed_with_batches_on_the_way_returns_all_of_them() {
    let world = World::new();
    for read_some in [false, true] {
        let (mut producer, mut consumers) = world.connected(options(), 1);
        for number in 0..40 {
            producer.send(&numbered(number, 100));
        }
        producer.lane.idle();
        if read_some {
            consumers[0].turn();
        }
        consumers[0].close();
        settle(&mut producer, &mut consumers);
        assert_eq!((producer.left.len(), producer.used()), (1, 0));
        assert_eq!(producer.send(&numbered(0, 1)), SendOutcome::NoSubscriber);
        producer.publisher.close();
        settle(&mut producer, &mut consumers);
    }
}

#[test]
fn a_closed_subscription_that_holds_a_batch_and_reads_no_more_does_not_keep_its_publisher_from_closing() {
    let world = World::new();
    let queue = Queue { batches: 1 << 20, bytes: 1 << 40 };
    let (mut producer, mut consumers) = world.connected(PublisherOptions { queue, ..options() }, 1);
    let out = producer.pack(&numbered(0, 1000));
    producer.publisher.try_send(&out).expect("sent");
    settle(&mut producer, &mut consumers);
    let held = consumers[0].take().expect("delivered");
    // More than the socket takes.
    while producer.publisher.try_send(&out).expect("sent") == SendOutcome::Sent(1) {}
    producer.lane.idle();
    consumers[0].close();
    settle(&mut producer, &mut consumers);
    producer.publisher.close();
    settle(&mut producer, &mut consumers);
    assert!(producer.closed);
    assert_numbered(&held, 0, 1000);
}

#[test]
fn a_lane_that_shuts_down_leaves_exported_batches_valid_and_returns_them_when_they_end() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 1);
    producer.send(&numbered(0, 100));
    settle(&mut producer, &mut consumers);
    let exported = consumers[0].take().expect("delivered").to_arrow().expect("arrays");
    let consumer = consumers.remove(0);
    consumer.lane.shut_down();
    drop(consumer);
    settle(&mut producer, &mut consumers);
    assert!(producer.used() > 0, "the arrays are alive");
    assert_eq!(exported, numbered(0, 100));
    std::thread::spawn(move || drop(exported)).join().expect("dropped");
    wait_until(&mut producer, &mut consumers, |p, _| p.used() == 0 && p.left.len() == 1);
}

#[test]
fn nothing_is_left_when_everything_is_dropped_in_any_order() {
    // Counted per pool: the process's counters belong to all tests at once.
    for order in 0..6 {
        let world = World::new();
        let (mut producer, mut consumers) = world.connected(options(), 1);
        producer.send(&numbered(0, 100));
        settle(&mut producer, &mut consumers);
        let pool = producer.publisher.pool().clone();
        let consumer = consumers.remove(0);
        let batch = consumer.batches[0].clone();
        match order {
            0 => drop((producer, consumer, batch)),
            1 => drop((producer, batch, consumer)),
            2 => drop((consumer, producer, batch)),
            3 => drop((consumer, batch, producer)),
            4 => drop((batch, producer, consumer)),
            _ => drop((batch, consumer, producer)),
        }
        drop(world);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while pool.statistics().blocks > 0 {
            assert!(std::time::Instant::now() < deadline, "order {order}: a block never came back");
            std::thread::yield_now();
        }
    }
}
