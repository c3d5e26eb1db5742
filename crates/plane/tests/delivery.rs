//! What a publisher sends arrives: all of it, in order, in place, within bounds.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use arrow_array::{Int32Array, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema};
use arrowlane_plane::{PlaneError, PublisherOptions, Queue, SendOutcome, identity_of};
use arrowlane_transport::TransportError;
use support::*;

#[test]
fn batches_arrive_in_order_and_lie_where_they_were_written() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 3);
    for number in 0..50 {
        let rows = number * 7 % 40 + 1;
        let out = producer.pack_with(&numbered(number, rows), vec![("n".into(), number.to_string())]);
        let block = out.block().cloned().expect("it has bytes");
        assert_eq!(producer.publisher.try_send(&out).expect("sent"), SendOutcome::Sent(3));
        settle(&mut producer, &mut consumers);
        let file = identity_of(producer.publisher.pool().segment(block.segment()).expect("shared").fd());
        let [device, inode] = file.expect("a file");
        for consumer in &mut consumers {
            let batch = consumer.take().expect("delivered");
            assert_eq!(batch.body.location(), Some([device, inode, block.offset()]), "the bytes written are read");
            assert_eq!(batch.metadata, [("n".to_owned(), number.to_string())]);
            assert_eq!((batch.via, batch.body.is_lent()), ("shm", true));
            assert_numbered(&batch, number, rows);
        }
    }
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.used(), 0, "every lease ended");
}

#[test]
fn many_sends_in_one_turn_of_the_loop_all_arrive() {
    let world = World::new();
    let queue = Queue { batches: 100_000, bytes: 1 << 40 };
    let (mut producer, mut consumers) = world.connected(PublisherOptions { queue, ..options() }, 2);
    let out = producer.pack(&numbered(1, 10));
    for _ in 0..20_000 {
        let outcome = producer.publisher.try_send(&out).expect("sent");
        if outcome == SendOutcome::NoRoom {
            // The socket's queue has a bound of its own.
            settle(&mut producer, &mut consumers);
            assert_eq!(producer.publisher.try_send(&out).expect("sent"), SendOutcome::Sent(2));
        }
    }
    drop(out);
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.publisher.statistics().leases, 40_000);
    for consumer in &mut consumers {
        assert_eq!(consumer.batches.len(), 20_000);
        assert_numbered(&consumer.batches[19_999], 1, 10);
        while consumer.take().is_some() {}
    }
    settle(&mut producer, &mut consumers);
    assert_eq!((producer.used(), producer.publisher.statistics().leases), (0, 0));
}

#[test]
fn the_bound_in_batches_holds_until_batches_are_taken() {
    let world = World::new();
    let queue = Queue { batches: 3, bytes: 1 << 30 };
    let (mut producer, mut consumers) = world.connected(PublisherOptions { queue, ..options() }, 2);
    // Lengths that are no multiple of the alignment: what is taken is counted as it was sent, without the gaps.
    for round in 0..20 {
        let mut held = Vec::new();
        for number in 0..3 {
            assert_eq!(producer.send(&numbered(number, 3)), SendOutcome::Sent(2));
        }
        settle(&mut producer, &mut consumers);
        assert_eq!(producer.send(&numbered(9, 3)), SendOutcome::NoRoom, "round {round}");
        let rooms = producer.rooms;
        held.extend(consumers[0].take());
        settle(&mut producer, &mut consumers);
        assert_eq!(producer.send(&numbered(9, 3)), SendOutcome::NoRoom, "the slowest counts");
        held.extend(consumers[1].take());
        settle(&mut producer, &mut consumers);
        assert!(producer.rooms > rooms, "there is room, and it is said");
        assert_eq!(producer.send(&numbered(9, 3)), SendOutcome::Sent(2), "taking makes room, not disposing");
        settle(&mut producer, &mut consumers);
        for consumer in &mut consumers {
            held.extend(std::iter::from_fn(|| consumer.take()));
        }
        assert_eq!(held.len(), 8);
        settle(&mut producer, &mut consumers);
        assert!(producer.left.is_empty(), "nobody was dropped");
        assert_eq!(producer.publisher.statistics().leases, 8);
        drop(held);
        settle(&mut producer, &mut consumers);
        assert_eq!(producer.publisher.statistics().leases, 0);
    }
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.used(), 0);
}

#[test]
fn the_bound_in_bytes_holds_and_one_batch_always_fits() {
    let world = World::new();
    let queue = Queue { batches: 100, bytes: 10_000 };
    let (mut producer, mut consumers) = world.connected(PublisherOptions { queue, ..options() }, 1);
    assert_eq!(producer.send(&numbered(0, 5000)), SendOutcome::Sent(1), "larger than the bound, alone");
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.send(&numbered(1, 1)), SendOutcome::NoRoom);
    let held = consumers[0].take();
    settle(&mut producer, &mut consumers);
    let mut sent = 0;
    while producer.send(&numbered(sent, 100)) == SendOutcome::Sent(1) {
        sent += 1;
    }
    assert!((3..=6).contains(&sent), "{sent} batches of about 2,100 bytes fit into 10,000");
    settle(&mut producer, &mut consumers);
    for number in 0..sent {
        assert_numbered(&consumers[0].take().expect("delivered"), number, 100);
    }
    drop(held);
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.used(), 0);
}

#[test]
fn batches_without_bytes_arrive_and_are_bounded_like_others() {
    let world = World::new();
    let queue = Queue { batches: 4, bytes: 100 };
    let (mut producer, mut consumers) = world.connected(PublisherOptions { queue, ..options() }, 1);
    let no_columns = |rows| {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).expect("a batch")
    };
    for number in 0..100 {
        assert_eq!(producer.send(&no_columns(number)), SendOutcome::Sent(1), "batch {number}");
        settle(&mut producer, &mut consumers);
        let batch = consumers[0].take().expect("delivered");
        assert_eq!((batch.header.rows, batch.body.ranges().len()), (number as u64, 0));
        assert_eq!(batch.to_arrow().expect("arrays"), no_columns(number));
        settle(&mut producer, &mut consumers);
    }
    for _ in 0..4 {
        assert_eq!(producer.send(&no_columns(1)), SendOutcome::Sent(1));
        settle(&mut producer, &mut consumers);
    }
    assert_eq!(producer.send(&no_columns(1)), SendOutcome::NoRoom, "nobody took them");
    assert!(consumers[0].take().is_some());
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.send(&no_columns(1)), SendOutcome::Sent(1));
    assert_eq!(producer.used(), 0);
}

#[test]
fn a_batch_of_another_schema_is_refused_and_changes_nothing() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 1);
    producer.send(&numbered(0, 3));
    let schema = Schema::new(vec![Field::new("number", DataType::Int32, false)]);
    let other = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int32Array::from(vec![1]))]).expect("a batch");
    let out = producer.pack(&other);
    let refused = producer.publisher.try_send(&out).expect_err("refused");
    assert!(matches!(&refused, PlaneError::SchemaMismatch(why) if why.contains("number")), "{refused}");
    drop(out);
    producer.send(&numbered(1, 3));
    settle(&mut producer, &mut consumers);
    for number in 0..2 {
        assert_numbered(&consumers[0].take().expect("delivered"), number, 3);
    }
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.used(), 0);
}

#[test]
fn sending_waits_for_as_many_subscribers_as_were_asked_for() {
    let world = World::new();
    let mut producer = world.publish("topic", PublisherOptions { min_subscribers: 2, ..options() });
    let out = producer.pack(&numbered(0, 3));
    assert_eq!(producer.publisher.try_send(&out).expect("sent"), SendOutcome::NoSubscriber);
    let mut consumers = vec![world.subscribe("topic")];
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.publisher.try_send(&out).expect("sent"), SendOutcome::NoSubscriber);
    let rooms = producer.rooms;
    consumers.push(world.subscribe("topic"));
    settle(&mut producer, &mut consumers);
    assert!(producer.rooms > rooms, "whoever waits is told");
    assert_eq!(producer.publisher.try_send(&out).expect("sent"), SendOutcome::Sent(2));
    // Nobody at all is enough where that was asked for.
    let alone = world.publish("alone", PublisherOptions { min_subscribers: 0, ..options() });
    assert_eq!(alone.send(&numbered(0, 3)), SendOutcome::Sent(0));
    assert_eq!(alone.used(), 0);
}

#[test]
fn a_late_joiner_starts_with_the_next_batch() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 1);
    producer.send(&numbered(0, 3));
    settle(&mut producer, &mut consumers);
    consumers.push(world.subscribe("topic"));
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.send(&numbered(1, 3)), SendOutcome::Sent(2));
    settle(&mut producer, &mut consumers);
    assert_eq!((consumers[0].batches.len(), consumers[1].batches.len()), (2, 1));
    assert_numbered(&consumers[1].take().expect("delivered"), 1, 3);
}

#[test]
fn every_subscriber_can_have_a_stream_of_its_own() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(PublisherOptions { per_subscriber: true, ..options() }, 2);
    for (number, id) in producer.joined.clone().into_iter().enumerate() {
        for _ in 0..=number {
            let out = producer.pack(&numbered(number, 3));
            assert_eq!(producer.publisher.try_send_to(id, &out).expect("sent"), SendOutcome::Sent(1));
        }
        producer.publisher.finish(id, None);
        let out = producer.pack(&numbered(number, 3));
        assert!(matches!(producer.publisher.try_send_to(id, &out), Err(PlaneError::Closed)), "it ended");
    }
    settle(&mut producer, &mut consumers);
    let mut counts: Vec<_> = consumers.iter().map(|c| c.batches.len()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2]);
    assert!(consumers.iter().all(|c| c.ended));
    assert!(producer.left.is_empty(), "they hold batches");
    consumers.iter_mut().for_each(|c| c.batches.clear());
    settle(&mut producer, &mut consumers);
    assert_eq!((producer.left.len(), producer.used()), (2, 0));
}

#[test]
fn a_subscription_waits_for_its_publisher_or_fails_as_asked() {
    let world = World::new();
    let refused = Consumer::with(Arc::clone(&world.folder), "topic", false).err().expect("nobody is there");
    assert!(matches!(refused, PlaneError::Transport(TransportError::NotFound(_))), "{refused}");
    let mut consumers = vec![world.subscribe("topic")];
    assert!(!consumers[0].turn());
    let other = world.publish("other", options());
    let mut producer = world.publish("topic", options());
    settle(&mut producer, &mut consumers);
    assert_eq!(consumers[0].connected, 1);
    assert_eq!(producer.send(&numbered(0, 1)), SendOutcome::Sent(1));
    drop(other);
}
