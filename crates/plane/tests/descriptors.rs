//! A process that has no descriptors left. In a file of its own: the limit is the whole process's.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use arrowlane_plane::SendOutcome;
use rustix::{
    event::{EventfdFlags, eventfd},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use support::*;

#[test]
fn without_descriptors_nobody_spins_the_others_are_served_and_whoever_was_turned_away_tries_again() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 1);
    // From now on the subscriber knows the memory, and needs no descriptor for it.
    producer.send(&numbered(0, 3));
    settle(&mut producer, &mut consumers);
    drop(consumers[0].take());
    let mut late = vec![world.subscribe("topic")];
    let before = getrlimit(Resource::Nofile);
    let in_use = std::fs::read_dir("/proc/self/fd").expect("descriptors").count() as u64;
    let few = Rlimit { current: Some(in_use + 8), maximum: before.maximum };
    setrlimit(Resource::Nofile, few).expect("a limit");
    let taken: Vec<_> = std::iter::from_fn(|| eventfd(0, EventfdFlags::CLOEXEC).ok()).collect();
    // A loop that spins is a failure of `settle`.
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.joined.len(), 1);
    assert_eq!(producer.send(&numbered(0, 3)), SendOutcome::Sent(1));
    settle(&mut producer, &mut consumers);
    let held = consumers[0].take();
    settle(&mut producer, &mut late);
    drop(taken);
    setrlimit(Resource::Nofile, before).expect("the limit of before");
    assert_numbered(&held.expect("delivered"), 0, 3);
    assert_eq!((late[0].retries, late[0].connected), (1, 0));
    assert!(late[0].failed.is_none() && !late[0].ended);
    late[0].subscription.connect().expect("connected");
    settle(&mut producer, &mut late);
    assert_eq!((late[0].connected, producer.joined.len()), (1, 2));
}
