//! A publisher's memory: whoever waits for a block gets it as soon as there can be one.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use arrowlane_memory::{AllocateError, Block};
use arrowlane_plane::{PublisherOptions, Queue};
use support::*;

const MIB: usize = 1 << 20;

/// What JavaScript does: asks, grows where it is told to, waits for room where there is none.
fn allocate(producer: &mut Producer, consumers: &mut [Consumer], bytes: usize) -> Block {
    for _ in 0..50 {
        match producer.publisher.allocate(bytes) {
            Ok(block) => return block,
            Err(AllocateError::NeedsGrowth) => producer.publisher.pool().grow(bytes).expect("memory"),
            Err(AllocateError::Full) => {
                let rooms = producer.rooms;
                wait_until(producer, consumers, |p, _| p.rooms > rooms);
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no block, and no end of trying");
}

fn filled(producer: &Producer, bytes: usize) -> Vec<Block> {
    let mut blocks = Vec::new();
    loop {
        match producer.publisher.pool().try_allocate(bytes) {
            Ok(block) => blocks.push(block),
            Err(AllocateError::NeedsGrowth) => producer.publisher.pool().grow(bytes).expect("memory"),
            Err(_) => return blocks,
        }
    }
}

#[test]
fn a_large_batch_finds_room_when_small_idle_segments_fill_the_pool() {
    let world = World::new();
    let limit = 160 * MIB;
    let queue = Queue { batches: 64, bytes: 1 << 40 };
    let (mut producer, mut consumers) =
        world.connected(PublisherOptions { memory: limit as u64, queue, ..options() }, 2);
    // Blocks in every segment, so that both subscribers know all of them.
    let blocks = filled(&producer, 30 * MIB);
    assert!(producer.publisher.pool().statistics().segments > 1);
    let free: Vec<_> = (0..4).map(|_| numbered(1, 1_200_000)).collect();
    drop(blocks);
    let sent: Vec<_> = free.iter().map(|batch| producer.pack(batch)).collect();
    let segments: BTreeSet<_> = sent.iter().map(|out| out.block().expect("bytes").segment()).collect();
    assert!(segments.len() > 1, "the subscribers know {segments:?}");
    for out in &sent {
        producer.publisher.try_send(out).expect("sent");
    }
    drop(sent);
    settle(&mut producer, &mut consumers);
    for consumer in &mut consumers {
        while let Some(batch) = consumer.take() {
            assert_numbered(&batch, 1, 1_200_000);
        }
    }
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.used(), 0);
    // Larger than any segment, and not larger than the limit.
    let block = allocate(&mut producer, &mut consumers, 150 * MIB);
    assert!(block.capacity() >= 150 * MIB);
    assert!(producer.publisher.pool().statistics().capacity <= limit as u64);
    drop(block);
    // The memory that took the place of the other serves batches, under a number that was used before.
    let out = producer.pack(&numbered(7, 1000));
    assert!(segments.contains(&out.block().expect("bytes").segment()));
    producer.publisher.try_send(&out).expect("sent");
    drop(out);
    settle(&mut producer, &mut consumers);
    for consumer in &mut consumers {
        assert!(consumer.failed.is_none());
        assert_numbered(&consumer.take().expect("delivered"), 7, 1000);
    }
    settle(&mut producer, &mut consumers);
    assert_eq!((producer.used(), producer.left.len()), (0, 0));
}

#[test]
fn room_is_made_whether_a_subscriber_acknowledges_closed_before_or_is_stopped() {
    for how in 0..3 {
        let world = World::new();
        let limit = 160 * MIB;
        let (mut producer, mut consumers) = world.connected(PublisherOptions { memory: limit as u64, ..options() }, 2);
        drop(filled(&producer, 30 * MIB));
        // One batch in each segment: all are known to both.
        let blocks = filled(&producer, 60 * MIB);
        for number in 0..2 {
            producer.send(&numbered(number, 100));
        }
        drop(blocks);
        settle(&mut producer, &mut consumers);
        let mut late = consumers.pop().expect("two");
        let held = match how {
            0 => None,
            1 => {
                // It holds a batch of the first segment, and nothing reads its connection any more.
                let held = late.take();
                late.close();
                late.turn();
                held
            }
            _ => None,
        };
        consumers.iter_mut().for_each(|c| c.batches.clear());
        late.batches.clear();
        late.turn();
        settle(&mut producer, &mut consumers);
        let wanted = if how == 1 { 90 * MIB } else { 150 * MIB };
        assert_eq!(producer.publisher.allocate(wanted).err(), Some(AllocateError::Full), "case {how}");
        let rooms = producer.rooms;
        match how {
            0 => {
                settle(&mut producer, &mut consumers);
                let mut both = vec![consumers.remove(0), late];
                wait_until(&mut producer, &mut both, |p, _| p.rooms > rooms);
                consumers = both;
            }
            1 => wait_until(&mut producer, &mut consumers, |p, _| p.rooms > rooms),
            _ => {
                // It says nothing, and holds nobody up.
                wait_until(&mut producer, &mut consumers, |p, _| p.rooms > rooms);
                drop(allocate(&mut producer, &mut consumers, wanted));
                assert_eq!(producer.left.len(), 0);
                // When it goes on, it finds everything in order, under other numbers.
                let out = producer.pack(&numbered(7, 1000));
                producer.publisher.try_send(&out).expect("sent");
                drop(out);
                consumers.push(late);
                settle(&mut producer, &mut consumers);
                for consumer in &mut consumers {
                    assert!(consumer.failed.is_none());
                    assert_numbered(&consumer.batches.pop_back().expect("delivered"), 7, 1000);
                    consumer.batches.clear();
                }
            }
        }
        let block = allocate(&mut producer, &mut consumers, wanted);
        drop((block, held));
    }
}

#[test]
fn whoever_waits_for_memory_is_told_when_a_block_comes_back_unsent_on_any_thread() {
    let world = World::new();
    let mut producer = world.publish("topic", PublisherOptions { memory: 64 << 20, ..options() });
    for elsewhere in [false, true] {
        let mut blocks = filled(&producer, MIB);
        assert_eq!(producer.publisher.allocate(MIB).err(), Some(AllocateError::Full));
        settle(&mut producer, &mut []);
        let rooms = producer.rooms;
        let block = blocks.pop().expect("some");
        if elsewhere {
            std::thread::spawn(move || drop(block)).join().expect("dropped");
        } else {
            drop(block);
        }
        // The lane's descriptor says it: nothing else wakes a loop that sleeps.
        let descriptor = producer.lane.descriptor();
        let mut polled = [rustix::event::PollFd::new(&descriptor, rustix::event::PollFlags::IN)];
        let wait = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut polled, Some(&wait)).expect("poll"), 1);
        settle(&mut producer, &mut []);
        assert_eq!(producer.rooms, rooms + 1);
        assert!(producer.publisher.allocate(MIB).is_ok());
    }
}

#[test]
fn whoever_waits_for_memory_is_told_when_a_subscriber_gives_it_back() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(PublisherOptions { memory: 64 << 20, ..options() }, 1);
    producer.send(&numbered(0, 1_000_000));
    settle(&mut producer, &mut consumers);
    let held = consumers[0].take().expect("delivered");
    settle(&mut producer, &mut consumers);
    let blocks = filled(&producer, MIB);
    assert_eq!(producer.publisher.allocate(20 * MIB).err(), Some(AllocateError::Full));
    let rooms = producer.rooms;
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.rooms, rooms);
    drop(held);
    settle(&mut producer, &mut consumers);
    assert!(producer.rooms > rooms);
    assert!(producer.publisher.allocate(20 * MIB).is_ok());
    drop(blocks);
}
