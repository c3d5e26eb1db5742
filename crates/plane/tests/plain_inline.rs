//! Plain clients that are sent bodies inside their messages.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::{Arc, Once};

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use arrowlane_dissociated::{DataUri, Outbox};
use arrowlane_plane::{PublisherOptions, Queue, SendOutcome};
use arrowlane_transport::{
    Endpoint, Inbox, TransportError,
    shm::{ShmEndpoint, ShmListener},
};
use support::*;

/// A world whose publishers cannot share memory.
fn world() -> World {
    static ONCE: Once = Once::new();
    // SAFETY: every test of this process begins here, so nobody reads the environment before it is set, and afterwards it
    // does not change.
    ONCE.call_once(|| unsafe { std::env::set_var("ARROWLANE_MEMORY", "heap") });
    World::new()
}

fn integers(rows: usize) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
    let column = Int64Array::from_iter_values(0..rows as i64);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)]).expect("a batch")
}

#[derive(Default)]
struct Received {
    greeting: String,
    metadata: usize,
    ended: bool,
    /// Tags and lengths.
    bodies: Vec<(u64, usize)>,
}

impl Inbox for Received {
    fn greeting(&mut self, uri: &str) -> Result<(), TransportError> {
        self.greeting = uri.into();
        Ok(())
    }
    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        assert!(bytes[0] <= 1, "a plain client gets no extension");
        assert!(!self.ended, "nothing follows the end");
        self.ended = bytes[0] == 0;
        self.metadata += 1;
        Ok(())
    }
    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError> {
        let expected = (0..body.len() as i64 / 8).flat_map(i64::to_le_bytes);
        assert!(body.iter().copied().eq(expected), "the bytes that were sent");
        self.bodies.push((tag, body.len()));
        Ok(())
    }
    fn retired(&mut self, _segment: u16) {}
}

/// Connects and asks, and takes part when this returns.
fn join(world: &World, producer: &mut Producer) -> (ShmEndpoint, Received) {
    let mut endpoint = ShmListener::connect(&world.folder, "topic").expect("connected");
    let mut received = Received::default();
    settle(producer, &mut []);
    endpoint.receive(1 << 20, &mut received).expect("greeted");
    let uri = DataUri::parse(&received.greeting).expect("a URI");
    assert_eq!(uri.scheme, "unix", "it does not lend");
    endpoint.tagged(uri.want_data, &[b"topic"]);
    endpoint.flush().expect("asked");
    settle(producer, &mut []);
    assert_eq!(producer.publisher.statistics().subscribers, 1);
    (endpoint, received)
}

#[test]
fn a_client_that_takes_nothing_is_sent_its_queue_at_most_and_goes_on_when_it_takes() {
    const ROWS: usize = 50_000;
    let world = world();
    let queue = Queue { batches: 64, bytes: 4 * 8 * ROWS as u64 };
    let mut producer = world.publish("topic", PublisherOptions { queue, memory: 32 << 20, ..options() });
    let (mut endpoint, mut received) = join(&world, &mut producer);
    let out = producer.pack(&integers(ROWS));
    let mut sent = 0;
    for round in 0..5 {
        let before = sent;
        while producer.publisher.try_send(&out).expect("asked") == SendOutcome::Sent(1) {
            sent += 1;
            // As much as the socket takes; it counts no more.
            settle(&mut producer, &mut []);
            assert!(sent - before < 100, "it never stops");
        }
        // A body is larger than a socket's buffer: beyond those not handed over there is part of one in the socket.
        let untaken = sent - received.bodies.len();
        assert!((4..=6).contains(&untaken), "round {round}: {untaken} bodies were sent and not taken");
        let rooms = producer.rooms;
        while received.bodies.len() < sent {
            endpoint.receive(1 << 20, &mut received).expect("received");
            settle(&mut producer, &mut []);
        }
        assert!(producer.rooms > rooms, "whoever waits is told");
    }
    let expected: Vec<_> = (1..=sent as u64).map(|serial| (serial, 8 * ROWS)).collect();
    assert_eq!(received.bodies, expected, "each body once, in order, of type 0");
    drop(out);
    settle(&mut producer, &mut []);
    assert_eq!((producer.used(), producer.publisher.statistics().leases), (0, 0), "what was taken is held no more");
}

#[test]
fn a_batch_without_bytes_comes_with_an_empty_body_and_the_end_behind_the_last_one() {
    let world = world();
    let mut producer = world.publish("topic", options());
    let (mut endpoint, mut received) = join(&world, &mut producer);
    for rows in [0, 16, 0] {
        assert_eq!(producer.send(&integers(rows)), SendOutcome::Sent(1));
    }
    producer.publisher.close();
    settle(&mut producer, &mut []);
    while !received.ended {
        endpoint.receive(1 << 20, &mut received).expect("received");
        settle(&mut producer, &mut []);
    }
    assert_eq!(received.bodies, [(1, 0), (2, 128), (3, 0)]);
    assert_eq!(received.metadata, 1 + 3 + 1);
}
