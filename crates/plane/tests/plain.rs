//! Clients that speak the plain protocol: no credits, no errors, no cancel.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use arrow_array::{DictionaryArray, Int64Array, RecordBatch, StringArray, types::Int32Type};
use arrow_schema::{DataType, Field, Schema};
use arrowlane_dissociated::Outbox;
use arrowlane_plane::{PublisherOptions, Queue, SendOutcome};
use arrowlane_transport::{
    Endpoint, Inbox, TransportError,
    shm::{ShmEndpoint, ShmListener},
};
use support::*;

const FEW: Queue = Queue { batches: 4, bytes: 1 << 20 };

/// What it received and did not free.
#[derive(Default)]
struct Received {
    greeting: String,
    metadata: usize,
    ended: bool,
    /// Addresses, by message.
    bodies: Vec<Vec<u64>>,
    /// Bodies without a byte.
    empty: usize,
}

impl Inbox for Received {
    fn greeting(&mut self, uri: &str) -> Result<(), TransportError> {
        self.greeting = uri.into();
        Ok(())
    }
    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        assert!(bytes[0] <= 1, "a plain client gets no extension");
        self.ended |= bytes[0] == 0;
        self.metadata += 1;
        Ok(())
    }
    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError> {
        if tag >> 56 == 0 {
            assert!(body.is_empty());
            self.empty += 1;
            return Ok(());
        }
        let words: Vec<u64> = body.chunks(8).map(|w| u64::from_le_bytes(w.try_into().unwrap())).collect();
        self.bodies.push(words[2..].chunks(2).filter(|pair| pair[1] > 0).map(|pair| pair[0]).collect());
        Ok(())
    }
    fn retired(&mut self, _segment: u16) {}
}

struct Plain {
    endpoint: ShmEndpoint,
    received: Received,
    free: u64,
    closed: bool,
}

impl Plain {
    /// Connects and asks, and takes part when this returns.
    fn join(world: &World, producer: &mut Producer) -> Self {
        let endpoint = ShmListener::connect(&world.folder, "topic").expect("connected");
        let mut plain = Self { endpoint, received: Received::default(), free: 0, closed: false };
        settle(producer, &mut []);
        plain.read();
        let value = |name: &str| {
            let (_, rest) = plain.received.greeting.split_once(&format!("{name}=")).expect("a tag");
            rest.split('&').next().expect("a value").parse::<u64>().expect("a number")
        };
        let want = value("want_data");
        plain.free = value("free_data");
        plain.endpoint.tagged(want, &[b"topic"]);
        plain.endpoint.flush().expect("asked");
        settle(producer, &mut []);
        assert_eq!(producer.publisher.statistics().subscribers, 1);
        plain
    }

    fn read(&mut self) {
        match self.endpoint.receive(1 << 20, &mut self.received) {
            Ok(_) => {}
            Err(TransportError::Closed) => self.closed = true,
            Err(error) => panic!("{error}"),
        }
    }

    /// Gives back the oldest body that it holds.
    fn free_one(&mut self) {
        let addresses: Vec<u8> = self.received.bodies.remove(0).iter().flat_map(|a| a.to_le_bytes()).collect();
        self.endpoint.tagged(self.free, &[&addresses]);
        self.endpoint.flush().expect("freed");
    }
}

fn integers(rows: usize) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
    let column = Int64Array::from_iter_values(0..rows as i64);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)]).expect("a batch")
}

fn options_of(queue: Queue) -> PublisherOptions {
    PublisherOptions { queue, ..options() }
}

#[test]
fn batches_without_bytes_never_fill_the_window_of_a_client_that_reads_and_frees() {
    let world = World::new();
    let mut producer = world.publish("topic", options_of(FEW));
    let mut plain = Plain::join(&world, &mut producer);
    for round in 0..300 {
        let rows = if round % 3 == 0 { 100 } else { 0 };
        assert_eq!(producer.send(&integers(rows)), SendOutcome::Sent(1), "round {round}");
        settle(&mut producer, &mut []);
        plain.read();
        if rows > 0 {
            plain.free_one();
        }
        settle(&mut producer, &mut []);
    }
    assert_eq!((plain.received.metadata, plain.received.empty), (1 + 300, 200), "each has a body, if an empty one");
    assert_eq!((producer.used(), producer.publisher.statistics().leases), (0, 0));
}

#[test]
fn a_client_that_frees_nothing_is_sent_no_more_than_its_queue_until_it_frees_one() {
    let world = World::new();
    let mut producer = world.publish("topic", options_of(FEW));
    let mut plain = Plain::join(&world, &mut producer);
    for _ in 0..FEW.batches {
        assert_eq!(producer.send(&integers(100)), SendOutcome::Sent(1));
    }
    for _ in 0..3 {
        let waiting = producer.pack(&integers(100));
        assert_eq!(producer.publisher.try_send(&waiting).expect("asked"), SendOutcome::NoRoom);
        settle(&mut producer, &mut []);
        plain.read();
        let rooms = producer.rooms;
        plain.free_one();
        settle(&mut producer, &mut []);
        assert_eq!(producer.rooms, rooms + 1, "whoever waits is told");
        assert_eq!(producer.publisher.try_send(&waiting).expect("sent"), SendOutcome::Sent(1));
    }
}

#[test]
fn a_dictionary_that_a_client_keeps_takes_nothing_of_its_window() {
    let world = World::new();
    let queue = Queue { batches: 2, bytes: 10_000 };
    let mut producer = world.publish("topic", options_of(queue));
    let mut plain = Plain::join(&world, &mut producer);
    // Far more than the queue.
    let values = StringArray::from_iter_values((0..5000).map(|n| format!("value number {n}")));
    let column = DictionaryArray::<Int32Type>::new((0..100).collect(), Arc::new(values));
    let field = Field::new("d", DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into()), false);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(column)]).expect("a batch");
    for round in 0..50 {
        assert_eq!(producer.send(&batch), SendOutcome::Sent(1), "round {round}");
        settle(&mut producer, &mut []);
        plain.read();
        if round == 0 {
            plain.received.bodies.remove(0);
        }
        plain.free_one();
        settle(&mut producer, &mut []);
    }
    assert_eq!(producer.publisher.statistics().leases, 1);
}

#[test]
fn a_client_that_reads_nothing_is_bounded_by_its_socket_also_without_bytes() {
    let world = World::new();
    let mut producer = world.publish("topic", options_of(FEW));
    let plain = Plain::join(&world, &mut producer);
    let empty = producer.pack(&integers(0));
    let sent = (0..1_000_000)
        .take_while(|_| {
            let sent = producer.publisher.try_send(&empty).expect("sent") == SendOutcome::Sent(1);
            producer.lane.idle();
            sent
        })
        .count();
    assert!((100..1_000_000).contains(&sent), "{sent}");
    drop(plain);
}

#[test]
fn a_client_that_cannot_be_told_of_an_error_sees_its_connection_close_without_an_end() {
    for own_stream in [true, false] {
        let world = World::new();
        let mut producer = world.publish("topic", PublisherOptions { per_subscriber: own_stream, ..options_of(FEW) });
        let mut plain = Plain::join(&world, &mut producer);
        let out = producer.pack(&integers(10));
        if own_stream {
            let id = producer.joined[0];
            producer.publisher.try_send_to(id, &out).expect("sent");
            producer.publisher.finish(id, Some(("ERR_X", "it broke")));
        } else {
            producer.publisher.try_send(&out).expect("sent");
            producer.publisher.fail("ERR_X", "it broke");
        }
        drop(out);
        settle(&mut producer, &mut []);
        while !plain.closed {
            plain.read();
        }
        assert_eq!((plain.received.bodies.len(), plain.received.ended), (1, false));
        assert_eq!(producer.used(), 0, "its leases ended with it");
    }
}
