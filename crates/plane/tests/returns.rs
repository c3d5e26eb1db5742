//! What goes back is noted in a page that both sides share, and who waits for it is woken.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use arrowlane_plane::{PublisherOptions, Queue, SendOutcome};
use support::*;

#[test]
fn a_lease_that_ends_is_seen_before_either_loop_turns() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 1);
    for number in 0..3 {
        producer.send(&numbered(number, 100));
    }
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.publisher.statistics().leases, 3);
    drop(consumers[0].take().expect("delivered"));
    assert_eq!(producer.publisher.statistics().leases, 2);
    // Also where the lease ends on a thread that knows nothing of lanes.
    let batch = consumers[0].take().expect("delivered");
    std::thread::spawn(move || drop(batch)).join().expect("dropped");
    assert_eq!(producer.publisher.statistics().leases, 1);
    assert!(!producer.turn(), "nobody was woken");
}

#[test]
fn who_waits_for_room_is_woken_by_what_is_noted() {
    let world = World::new();
    let options = PublisherOptions { queue: Queue { batches: 2, bytes: u64::MAX }, ..options() };
    let (mut producer, mut consumers) = world.connected(options, 1);
    assert_eq!(producer.send(&numbered(0, 100)), SendOutcome::Sent(1));
    assert_eq!(producer.send(&numbered(1, 100)), SendOutcome::Sent(1));
    settle(&mut producer, &mut consumers);
    // Delivered, and not taken: no credit says that there is room.
    let third = producer.pack(&numbered(2, 100));
    assert_eq!(producer.publisher.try_send(&third).expect("waits"), SendOutcome::NoRoom);
    assert!(!producer.turn());
    drop(consumers[0].batches.pop_front().expect("delivered"));
    assert!(producer.turn(), "it was woken");
    assert_eq!(producer.rooms, 1);
    assert_eq!(producer.publisher.try_send(&third).expect("there is room"), SendOutcome::Sent(1));
    drop(consumers[0].batches.pop_front().expect("delivered"));
    assert!(!producer.turn(), "nobody waits any more");
}

#[test]
fn more_than_the_page_holds_comes_back_all_the_same() {
    let world = World::new();
    let options = PublisherOptions { queue: Queue { batches: 4096, bytes: u64::MAX }, ..options() };
    let (mut producer, mut consumers) = world.connected(options, 1);
    for number in 0..1500 {
        assert_eq!(producer.send(&numbered(number, 1)), SendOutcome::Sent(1));
    }
    settle(&mut producer, &mut consumers);
    assert_eq!(consumers[0].batches.len(), 1500);
    // Nobody looks into the page meanwhile.
    consumers[0].batches.clear();
    settle(&mut producer, &mut consumers);
    assert_eq!((producer.publisher.statistics().leases, producer.used()), (0, 0));
}
