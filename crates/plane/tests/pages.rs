//! What a consumer writes into a batch reaches nobody: no other process, no neighbour, no later batch.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use arrowlane_plane::{Batch, PublisherOptions};
use support::*;

fn scribble(batch: &Batch) {
    batch.body.may_be_written();
    for range in batch.body.ranges() {
        // SAFETY: the body is alive, its pages are private to this process's mapping, and nothing reads it as arrays
        // afterwards.
        unsafe { std::ptr::write_bytes(range.pointer.as_ptr(), 0x5A, range.length) };
    }
}

fn hidden(rows: usize) {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(PublisherOptions { memory: 128 << 20, ..options() }, 2);
    let mut place = None;
    // Numbers of one length: then all batches have one, and so their blocks.
    for number in 100..120 {
        let neighbour = producer.pack(&numbered(1000, 10));
        let out = producer.pack(&numbered(number, rows));
        let block = out.block().expect("bytes").address();
        assert_eq!(*place.get_or_insert(block), block, "the same block every time, or this tests nothing");
        producer.publisher.try_send(&neighbour).expect("sent");
        producer.publisher.try_send(&out).expect("sent");
        settle(&mut producer, &mut consumers);
        for consumer in &mut consumers {
            // The second subscriber looks after the first has written, and so does the producer.
            let beside = consumer.take().expect("delivered");
            let batch = consumer.take().expect("delivered");
            assert_numbered(&batch, number, rows);
            scribble(&batch);
            assert_numbered(&beside, 1000, 10);
        }
        let start = out.block().expect("bytes").as_ptr();
        // SAFETY: the block is alive, and its first 8 bytes were written by `pack`.
        let first = unsafe { start.cast::<i64>().read() };
        assert_eq!(first, (number * 1_000_003) as i64, "the producer's bytes are its own");
        drop((out, neighbour));
        wait_until(&mut producer, &mut consumers, |p, _| p.used() == 0);
    }
}

#[test]
fn the_next_batch_in_a_block_shows_nothing_of_what_was_written_into_the_last_one() {
    hidden(2000);
}

#[test]
fn nor_where_the_pages_are_discarded_on_another_thread() {
    hidden(1_500_000);
}

#[test]
fn a_block_does_not_return_before_what_was_written_in_it_is_gone() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(PublisherOptions { memory: 32 << 20, ..options() }, 1);
    for number in 0..30 {
        producer.send(&numbered(number, 400_000));
        settle(&mut producer, &mut consumers);
        let batch = consumers[0].take().expect("delivered");
        assert_numbered(&batch, number, 400_000);
        scribble(&batch);
        // From another thread, and the next batch is written as soon as the block is free.
        std::thread::spawn(move || drop(batch));
        wait_until(&mut producer, &mut consumers, |p, _| p.used() == 0);
    }
}
