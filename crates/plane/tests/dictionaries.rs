//! Dictionaries: sent once, replaced, extended, and there for whoever joins late.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use arrow_array::{Array, DictionaryArray, Int8Array, RecordBatch, StringArray, cast::AsArray, types::Int8Type};
use arrow_schema::{Field, Schema};
use arrowlane_conformance::faulty::{Faults, FaultyEndpoint};
use arrowlane_dissociated::{
    Body, Sender, SenderConfig, encode_batch, encode_dictionary, encode_schema, flatten, header_of, packed_parts,
    packed_size,
};
use arrowlane_plane::SendOutcome;
use arrowlane_transport::{
    Endpoint, Inbox, TransportError,
    shm::{ShmEndpoint, ShmListener},
};
use support::*;

fn coded(values: &Arc<StringArray>, keys: &[i8]) -> RecordBatch {
    let array = DictionaryArray::<Int8Type>::new(Int8Array::from(keys.to_vec()), Arc::clone(values) as _);
    let field = Field::new("colour", array.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(array)]).expect("a batch")
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let array = batch.column(0).as_dictionary::<Int8Type>().downcast_dict::<StringArray>().expect("texts");
    array.into_iter().map(|text| text.unwrap_or_default().to_owned()).collect()
}

fn taken(consumer: &mut Consumer) -> Vec<String> {
    texts(&consumer.take().expect("delivered").to_arrow().expect("arrays"))
}

#[test]
fn a_dictionary_is_sent_once_and_batches_keep_the_one_they_were_sent_with() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 2);
    let warm = Arc::new(StringArray::from(vec!["red", "orange", "yellow"]));
    let cold = Arc::new(StringArray::from(vec!["blue", "violet"]));
    producer.send(&coded(&warm, &[0, 1, 2]));
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.publisher.statistics().leases, 2 * 2, "a batch and its dictionary each");
    let first = producer.pack(&coded(&warm, &[2, 2]));
    let second = producer.pack(&coded(&Arc::new(StringArray::from(vec!["red", "orange", "yellow"])), &[0]));
    assert_eq!(first.dictionaries[0].version, second.dictionaries[0].version, "equal values are the same dictionary");
    for out in [first, second, producer.pack(&coded(&cold, &[1, 0])), producer.pack(&coded(&warm, &[1]))] {
        assert_eq!(producer.publisher.try_send(&out).expect("sent"), SendOutcome::Sent(2));
    }
    settle(&mut producer, &mut consumers);
    let expected =
        [&["red", "orange", "yellow"][..], &["yellow", "yellow"], &["red"], &["violet", "blue"], &["orange"]];
    for consumer in &mut consumers {
        // All are there before the first is read: each has to show its own dictionary's values.
        let arrays: Vec<_> = std::iter::from_fn(|| consumer.take()).map(|b| b.to_arrow().expect("arrays")).collect();
        assert_eq!(arrays.iter().map(texts).collect::<Vec<_>>(), expected);
    }
    settle(&mut producer, &mut consumers);
    assert_eq!(producer.publisher.statistics().leases, 2, "the current dictionary is still held");
    consumers.iter_mut().for_each(Consumer::close);
    settle(&mut producer, &mut consumers);
    assert_eq!((producer.publisher.statistics().leases, producer.left.len()), (0, 2));
}

#[test]
fn a_late_joiner_gets_the_dictionaries_that_its_first_batch_needs() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 1);
    let old = Arc::new(StringArray::from(vec!["old"]));
    let new = Arc::new(StringArray::from(vec!["new", "newer"]));
    producer.send(&coded(&old, &[0]));
    producer.send(&coded(&new, &[0]));
    settle(&mut producer, &mut consumers);
    consumers.push(world.subscribe("topic"));
    settle(&mut producer, &mut consumers);
    producer.send(&coded(&new, &[1, 0]));
    settle(&mut producer, &mut consumers);
    assert_eq!(taken(&mut consumers[1]), ["newer", "new"]);
    let all: Vec<_> = (0..3).map(|_| taken(&mut consumers[0])).collect();
    assert_eq!(all, [vec!["old"], vec!["new"], vec!["newer", "new"]]);
}

#[test]
fn an_empty_dictionary_is_one_too() {
    let world = World::new();
    let (mut producer, mut consumers) = world.connected(options(), 1);
    let none = Arc::new(StringArray::from(Vec::<&str>::new()));
    let some = Arc::new(StringArray::from(vec!["a"]));
    producer.send(&coded(&none, &[]));
    producer.send(&coded(&some, &[0]));
    producer.send(&coded(&none, &[]));
    settle(&mut producer, &mut consumers);
    let all: Vec<_> = (0..3).map(|_| taken(&mut consumers[0])).collect();
    assert_eq!(all, [vec![], vec!["a".to_owned()], vec![]]);
}

/// A publisher made by hand, which sends what ours never does: deltas, and bodies inside their messages.
struct ByHand {
    listener: ShmListener,
    sender: Sender<()>,
    endpoint: FaultyEndpoint<ShmEndpoint>,
}

struct Ignores;

impl Inbox for Ignores {
    fn greeting(&mut self, _uri: &str) -> Result<(), TransportError> {
        Ok(())
    }
    fn metadata(&mut self, _bytes: &[u8]) -> Result<(), TransportError> {
        Ok(())
    }
    fn tagged(&mut self, _tag: u64, _body: &[u8]) -> Result<(), TransportError> {
        Ok(())
    }
    fn retired(&mut self, _segment: u16) {}
}

impl ByHand {
    fn with(world: &World, faults: Faults) -> (Self, Consumer) {
        let listener = ShmListener::bind(Arc::clone(&world.folder), "topic").expect("bound");
        let consumer = world.subscribe("topic");
        let mut endpoint = listener.accept().expect("accepted").expect("somebody waits");
        endpoint.greet("shm:///x?want_data=1&free_data=2&want_data_ext=3");
        endpoint.flush().expect("greeted");
        let sender = Sender::new(SenderConfig { free_tag: 2, ext_tag: Some(3) });
        (Self { listener, sender, endpoint: FaultyEndpoint::new(endpoint, faults) }, consumer)
    }

    fn packed(&mut self, flat: &arrowlane_dissociated::Flat, flatbuffer: &[u8]) {
        let parts = packed_parts(flat, 8);
        let length = packed_size(flat, 8);
        self.sender.message(flatbuffer, Body::Packed { parts: &parts, length }, &mut self.endpoint);
    }

    fn schema(&mut self, schema: &Schema) {
        self.sender.message(&encode_schema(schema), Body::None, &mut self.endpoint);
    }

    fn dictionary(&mut self, delta: bool, values: &StringArray) {
        let flat = flatten(&[values.to_data()]).expect("flat");
        let flatbuffer = encode_dictionary(0, delta, &header_of(&flat, 8));
        self.packed(&flat, &flatbuffer);
    }

    fn batch(&mut self, batch: &RecordBatch) {
        let columns: Vec<_> = batch.columns().iter().map(|c| c.to_data()).collect();
        let flat = flatten(&columns).expect("flat");
        let flatbuffer = encode_batch(&header_of(&flat, 8), &Vec::new());
        self.packed(&flat, &flatbuffer);
    }

    /// Flushes and turns until nothing moves.
    fn run(&mut self, consumer: &mut Consumer) {
        for _ in 0..200 {
            let _ = self.endpoint.flush();
            let _ = self.endpoint.receive(1 << 16, &mut Ignores);
            consumer.turn();
        }
    }
}

fn conversation(faults: Faults) -> (ByHand, Consumer) {
    let world = World::new();
    let (mut by_hand, consumer) = ByHand::with(&world, faults);
    let first = StringArray::from(vec!["a", "b"]);
    let both = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    let batch = coded(&both, &[2, 0]);
    by_hand.schema(&batch.schema());
    by_hand.dictionary(false, &first);
    by_hand.batch(&coded(&both, &[1, 0, 1]));
    by_hand.dictionary(true, &StringArray::from(vec!["c"]));
    by_hand.batch(&batch);
    by_hand.dictionary(false, &StringArray::from(vec!["z"]));
    by_hand.batch(&coded(&both, &[0]));
    by_hand.sender.finish(&mut by_hand.endpoint);
    (by_hand, consumer)
}

#[test]
fn a_delta_extends_a_dictionary_for_the_batches_after_it() {
    for faults in [Faults::default(), Faults { split: true, ..Faults::default() }] {
        let (mut by_hand, mut consumer) = conversation(faults);
        by_hand.run(&mut consumer);
        let all: Vec<_> =
            std::iter::from_fn(|| consumer.take()).map(|b| texts(&b.to_arrow().expect("arrays"))).collect();
        assert_eq!(all, [vec!["b", "a", "b"], vec!["c", "a"], vec!["z"]]);
        assert!(consumer.ended);
    }
}

#[test]
fn delayed_messages_are_delivered_when_they_come_and_not_before() {
    let (mut by_hand, mut consumer) = conversation(Faults { delay: true, ..Faults::default() });
    // Schema (1), dictionary (2), batch (2), delta (2), batch (2), dictionary (2), batch (2), end (1).
    for (released, delivered) in [(0, 0), (4, 0), (1, 1), (3, 1), (1, 2), (3, 2), (1, 3)] {
        by_hand.endpoint.release(released);
        by_hand.run(&mut consumer);
        assert_eq!(consumer.batches.len(), delivered);
        assert!(!consumer.ended);
    }
    by_hand.endpoint.release(1);
    by_hand.run(&mut consumer);
    assert!(consumer.ended);
}

#[test]
fn a_publisher_lost_at_any_message_is_an_error_after_what_was_whole() {
    for message in 0..14 {
        let faults = Faults { split: true, drop_at: Some(message), ..Faults::default() };
        let (mut by_hand, mut consumer) = conversation(faults);
        by_hand.run(&mut consumer);
        assert_eq!(consumer.batches.len(), [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3][message], "at message {message}");
        let failure = consumer.failed.as_ref().expect("it failed");
        assert_eq!(failure.code(), "ERR_PUBLISHER_LOST");
        drop(by_hand.listener);
    }
}
