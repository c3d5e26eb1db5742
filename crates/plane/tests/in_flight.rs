//! A user with too many descriptors in flight. In a file of its own: limit and capabilities are the process's.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::{mem::MaybeUninit, os::fd::AsFd, os::unix::net::UnixStream};

use arrowlane_plane::SendOutcome;
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CapabilitySet, capabilities, set_capabilities},
};
use support::*;

/// More than the limit that is set.
const IN_FLIGHT: usize = 200;

fn send_descriptors(socket: &UnixStream, count: usize) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(IN_FLIGHT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = vec![socket.as_fd(); count];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(socket, &[std::io::IoSlice::new(&[0])], &mut control, SendFlags::DONTWAIT)
}

#[test]
fn with_too_many_descriptors_in_flight_nobody_spins_and_the_batch_arrives_when_they_are_fewer() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 1);
    let (crowd, other_end) = UnixStream::pair().expect("sockets");
    send_descriptors(&crowd, IN_FLIGHT).expect("in flight");
    // Whoever may exceed limits may exceed this one.
    let mut own = capabilities(None).expect("capabilities");
    own.effective &= !(CapabilitySet::SYS_RESOURCE | CapabilitySet::SYS_ADMIN);
    set_capabilities(None, own).expect("fewer capabilities");
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(IN_FLIGHT as u64 / 2), ..before }).expect("a limit");
    assert_eq!(send_descriptors(&crowd, 1), Err(Errno::TOOMANYREFS));

    assert_eq!(producer.send(&numbered(0, 1000)), SendOutcome::Sent(1));
    // A loop that spins is a failure of `settle`.
    settle(&mut producer, &mut consumers);
    assert!(consumers[0].batches.is_empty());
    // The others are served meanwhile, and nothing overtakes.
    assert_eq!(producer.send(&numbered(1, 10)), SendOutcome::Sent(1));
    settle(&mut producer, &mut consumers);
    drop((crowd, other_end));
    wait_until(&mut producer, &mut consumers, |_, c| c[0].batches.len() == 2);
    setrlimit(Resource::Nofile, before).expect("the limit of before");
    assert_numbered(&consumers[0].take().expect("delivered"), 0, 1000);
    assert_numbered(&consumers[0].take().expect("delivered"), 1, 10);
}
