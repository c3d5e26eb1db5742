//! Subscribers that free nothing for too long.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use arrowlane_dissociated::Outbox;
use arrowlane_plane::{PublisherOptions, Request, SendOutcome, Standing};
use arrowlane_transport::{Endpoint, Inbox, TransportError, shm::ShmListener};
use support::{policies::*, *};

/// Turns until the publisher has evicted somebody. The clock is the system's: only that it happens is asserted.
fn until_evicted(producer: &mut Producer, others: &mut [Consumer]) {
    wait_until(producer, others, |producer, _| {
        producer.publisher.subscriptions().iter().any(|s| s.standing == Standing::Evicted)
    });
}

fn evicting() -> PublisherOptions {
    PublisherOptions { evict_after: Some(Duration::from_millis(80)), ..small() }
}

#[test]
fn one_that_frees_nothing_is_evicted_and_its_blocks_return_when_it_frees_them() {
    let (_world, mut producer, mut consumers) = meeting(evicting(), &[Request::default(), Request::default()]);
    let mut sent = 0;
    while producer.send(&numbered(sent, 5)) != SendOutcome::NoRoom {
        sent += 1;
        settle(&mut producer, &mut consumers[1..]);
        drop(consumers[1].take());
    }
    assert_eq!(sent, SMALL.batches, "the first one holds everybody up");
    let rooms = producer.rooms;
    until_evicted(&mut producer, &mut consumers[1..]);
    assert!(producer.rooms > rooms, "who waits is told");
    assert_eq!((producer.evicted.len(), producer.left.len()), (1, 0));
    assert_eq!(producer.send(&numbered(sent, 5)), SendOutcome::Sent(1));
    settle(&mut producer, &mut consumers[1..]);
    drop(consumers[1].take());
    settle(&mut producer, &mut consumers[1..]);
    assert!(producer.used() > 0, "it may still read what it was given");
    settle(&mut producer, &mut consumers);
    assert_eq!(consumers[0].batches.len(), SMALL.batches, "nothing was sent to it after");
    let error = consumers[0].failed.take().expect("told");
    assert_eq!(error.code(), "ERR_EVICTED", "{error}");
    for (n, batch) in consumers[0].batches.iter().enumerate() {
        assert_numbered(batch, n, 5);
    }
    consumers[0].batches.clear();
    wait_until(&mut producer, &mut consumers, |producer, _| producer.used() == 0);
}

#[test]
fn the_blocks_of_an_evicted_one_return_when_it_dies() {
    let (_world, mut producer, mut consumers) = meeting(evicting(), &[Request::default()]);
    producer.send(&numbered(1, 5));
    until_evicted(&mut producer, &mut []);
    assert!(producer.used() > 0);
    drop(consumers.pop());
    wait_until(&mut producer, &mut [], |producer, _| producer.used() == 0);
    assert!(producer.publisher.subscriptions().is_empty());
}

#[test]
fn nobody_is_evicted_who_frees_or_holds_only_a_dictionary_or_was_not_heard_because_the_publisher_was_away() {
    let (_world, mut producer, mut consumers) = meeting(evicting(), &[Request::default()]);
    producer.send(&coded(&["red", "blue"], 0));
    settle(&mut producer, &mut consumers);
    drop(consumers[0].take());
    for _ in 0..30 {
        settle(&mut producer, &mut consumers);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(producer.publisher.statistics().leases, 1, "the dictionary");
    // Held for many times evict_after, but freed before the publisher looks again.
    producer.send(&coded(&["red", "blue"], 1));
    settle(&mut producer, &mut consumers);
    let held = consumers[0].take();
    std::thread::sleep(Duration::from_millis(500));
    drop(held);
    consumers[0].turn();
    settle(&mut producer, &mut consumers);
    assert!(producer.left.is_empty());
    assert_eq!(producer.send(&coded(&["red", "blue"], 1)), SendOutcome::Sent(1));
}

/// A client of the plain protocol: no errors, no credits, no notices.
#[derive(Default)]
struct Plain {
    wants: Option<(u64, u64)>,
    metadata: Vec<u8>,
    addresses: Vec<u64>,
}

impl Inbox for Plain {
    fn greeting(&mut self, uri: &str) -> Result<(), TransportError> {
        let uri = arrowlane_dissociated::DataUri::parse(uri).expect("a greeting");
        self.wants = Some((uri.want_data, uri.free_data.expect("it lends")));
        Ok(())
    }
    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.metadata.push(bytes[0]);
        Ok(())
    }
    fn tagged(&mut self, _tag: u64, body: &[u8]) -> Result<(), TransportError> {
        let word = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("a word"));
        self.addresses.extend((0..word(8) as usize).map(|n| word(16 + 16 * n)).filter(|address| *address != 0));
        Ok(())
    }
    fn retired(&mut self, _segment: u16) {}
}

#[test]
fn an_evicted_client_of_the_plain_protocol_sees_its_stream_cut_off_and_can_still_give_back() {
    let world = World::new();
    let mut producer = world.publish("topic", evicting());
    let mut endpoint = ShmListener::connect(&world.folder, "topic").expect("connected");
    let mut client = Plain::default();
    while client.wants.is_none() {
        producer.turn();
        endpoint.receive(1 << 16, &mut client).expect("greeted");
    }
    let (want, free) = client.wants.expect("greeted");
    endpoint.tagged(want, &[b"topic"]);
    endpoint.flush().expect("asked");
    wait_until(&mut producer, &mut [], |producer, _| producer.joined.len() == 1);
    producer.send(&numbered(1, 5));
    until_evicted(&mut producer, &mut []);
    let deadline = Instant::now() + Duration::from_secs(60);
    let ended = loop {
        assert!(Instant::now() < deadline, "its stream was not cut off");
        producer.turn();
        if let Err(error) = endpoint.receive(1 << 16, &mut client) {
            break error;
        }
    };
    assert!(matches!(ended, TransportError::Closed), "{ended}");
    assert_eq!(client.metadata, [1, 1], "a schema and a batch, and neither an end nor what it does not know");
    assert!(producer.used() > 0 && !client.addresses.is_empty());
    for address in &client.addresses {
        endpoint.tagged(free, &[&address.to_le_bytes()]);
    }
    endpoint.flush().expect("given back");
    wait_until(&mut producer, &mut [], |producer, _| producer.used() == 0);
    assert!(producer.publisher.subscriptions().is_empty(), "it is done");
}
