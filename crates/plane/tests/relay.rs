//! A received batch that is sent on goes on from where it lies, and its lease ends with the last one downstream.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

#[path = "../../arrow-c/tests/samples/mod.rs"]
mod samples;

use std::sync::Arc;

use arrow_array::{
    Array, BooleanArray, DictionaryArray, Int8Array, Int64Array, RecordBatch, StringArray, types::Int8Type,
};
use arrow_schema::{DataType, Field, Schema};
use arrowlane_plane::{Batch, Outgoing, Part, PublisherOptions, Queue, SendOutcome, copied_bytes};
use support::*;

/// A producer, somebody in the middle, and those at the far end.
struct Chain {
    producer: Producer,
    upstream: Consumer,
    relay: Producer,
    consumers: Vec<Consumer>,
}

impl Chain {
    fn new(world: &World, consumers: usize) -> Self {
        let producer = world.publish("up", options());
        let relay = world.publish("down", PublisherOptions { memory: 1 << 20, ..options() });
        let upstream = world.subscribe("up");
        let consumers = (0..consumers).map(|_| world.subscribe("down")).collect();
        let mut chain = Self { producer, upstream, relay, consumers };
        chain.settle();
        assert_eq!((chain.producer.joined.len(), chain.relay.joined.len()), (1, chain.consumers.len()));
        chain
    }

    fn settle(&mut self) {
        for _ in 0..3 {
            settle(&mut self.producer, std::slice::from_mut(&mut self.upstream));
            settle(&mut self.relay, &mut self.consumers);
        }
    }

    fn until(&mut self, what: &str, done: impl Fn(&mut Self) -> bool) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            self.settle();
            if done(self) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "never happened: {what}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// The next batch in the middle.
    fn arrives(&mut self) -> Arc<Batch> {
        self.settle();
        self.upstream.take().expect("delivered")
    }

    fn forward(&self, batch: &Batch) -> Outgoing {
        self.relay.publisher.forward(batch, whole(batch), None).expect("it fits").expect("all of it is lent")
    }

    fn up(&self) -> usize {
        self.producer.publisher.statistics().leases
    }

    fn down(&self) -> usize {
        self.relay.publisher.statistics().leases
    }
}

fn whole(batch: &Batch) -> Part<'static> {
    Part { offset: 0, length: batch.header.rows as usize, columns: None }
}

fn coded(values: &[&str], keys: &[i8]) -> RecordBatch {
    let values = Arc::new(StringArray::from(values.to_vec()));
    let array = DictionaryArray::<Int8Type>::new(Int8Array::from(keys.to_vec()), values as _);
    let field = Field::new("colour", array.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(array)]).expect("a batch")
}

fn arrow(batch: &Batch) -> RecordBatch {
    let arrow = batch.to_arrow().expect("arrays");
    arrow.columns().iter().for_each(|column| column.to_data().validate_full().expect("valid"));
    arrow
}

#[test]
fn a_forwarded_batch_lies_where_its_producer_wrote_it_and_its_lease_ends_with_the_last_one_downstream() {
    let world = World::new();
    let mut chain = Chain::new(&world, 2);
    for number in 0..30 {
        let out = chain.producer.pack_with(&numbered(number, 1000), vec![("n".into(), number.to_string())]);
        chain.producer.publisher.try_send(&out).expect("sent");
        drop(out);
        let batch = chain.arrives();
        let place = batch.body.location().expect("shared");
        let before = copied_bytes();
        let out = chain.forward(&batch);
        assert_eq!(chain.relay.publisher.try_send(&out).expect("sent"), SendOutcome::Sent(2));
        drop((out, batch));
        chain.settle();
        assert_eq!((chain.up(), chain.down()), (1, 2));
        let mut got: Vec<_> = chain.consumers.iter_mut().map(|c| c.take().expect("delivered")).collect();
        for batch in &got {
            assert_eq!((batch.body.location(), batch.body.is_lent(), batch.via), (Some(place), true, "shm"));
            assert_eq!(batch.metadata, [("n".to_owned(), number.to_string())]);
            assert_numbered(batch, number, 1000);
        }
        assert_eq!(copied_bytes(), before, "nothing was copied");
        assert_eq!(chain.relay.used(), 0, "nor does the one in the middle need memory");
        got.pop();
        chain.settle();
        assert_eq!((chain.up(), chain.down()), (1, 1), "somebody reads it still");
        assert!(chain.producer.used() > 0);
        drop(got);
        chain.settle();
        assert_eq!((chain.up(), chain.down(), chain.producer.used()), (0, 0, 0));
    }
    assert!(chain.consumers.iter().all(|c| c.failed.is_none()));
}

#[test]
fn every_type_goes_on_from_where_it_lies() {
    for (name, sent) in samples::samples() {
        let world = World::new();
        let mut chain = Chain::new(&world, 1);
        chain.producer.send(&sent);
        let batch = chain.arrives();
        let before = copied_bytes();
        let out = chain.relay.publisher.forward(&batch, whole(&batch), None).expect(&name);
        let out = out.unwrap_or_else(|| panic!("{name} could not be forwarded"));
        chain.relay.publisher.try_send(&out).expect("sent");
        drop(out);
        chain.settle();
        let got = chain.consumers[0].take().unwrap_or_else(|| panic!("{name}: {:?}", chain.consumers[0].failed));
        assert_eq!(got.body.location(), batch.body.location(), "{name}");
        assert_eq!(copied_bytes(), before, "{name}");
        for (a, b) in got.to_arrow().expect("arrays").columns().iter().zip(sent.columns()) {
            a.to_data().validate_full().unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(a.to_data(), b.to_data(), "{name}");
        }
    }
}

#[test]
fn columns_go_on_alone_and_rows_where_nothing_has_to_be_rewritten() {
    let schema = Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("views", DataType::Utf8View, true),
        Field::new("colour", coded(&["a"], &[0]).column(0).data_type().clone(), true),
        Field::new("last", DataType::Int64, true),
    ]);
    let n = Int64Array::from_iter((0..200).map(|n| (n % 7 != 3).then_some(n)));
    let flag = BooleanArray::from_iter((0..200).map(|n| Some(n % 3 == 0)));
    let text = StringArray::from_iter((0..200).map(|n| Some(format!("text {n}"))));
    let views = arrow_array::StringViewArray::from_iter((0..200).map(|n| Some(format!("a text that is too long {n}"))));
    let colour = coded(&["red", "blue"], &(0..200).map(|n| (n % 2) as i8).collect::<Vec<_>>());
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(n.clone()),
        Arc::new(flag),
        Arc::new(text),
        Arc::new(views),
        Arc::clone(colour.column(0)),
        Arc::new(n),
    ];
    let sent = RecordBatch::try_new(Arc::new(schema), columns).expect("a batch");
    let cases: [(&str, usize, usize, Option<&[u32]>, bool); 11] = [
        ("all of it", 0, 200, None, true),
        ("every column, chosen", 0, 200, Some(&[0, 1, 2, 3, 4, 5]), true),
        ("two of them, the other way round", 0, 200, Some(&[5, 2]), true),
        ("behind one whose buffers vary in number", 0, 200, Some(&[4, 5]), true),
        ("one twice", 0, 200, Some(&[3, 3]), true),
        ("no column", 0, 200, Some(&[]), true),
        ("the first rows", 0, 64, Some(&[0, 1, 2, 4]), true),
        ("rows from a byte's start on", 64, 100, Some(&[0, 1, 5]), true),
        ("rows from a byte's middle on", 3, 100, Some(&[0]), false),
        ("texts from the middle on", 64, 100, Some(&[2]), false),
        ("keys that are not aligned", 8 + 4, 16, Some(&[4]), false),
    ];
    for (name, offset, length, columns, forwarded) in cases {
        let world = World::new();
        let mut chain = Chain::new(&world, 1);
        chain.producer.send(&sent);
        let batch = chain.arrives();
        let before = copied_bytes();
        let part = Part { offset, length, columns };
        let indices = columns.map_or((0..6).collect(), |c| c.iter().map(|c| *c as usize).collect::<Vec<_>>());
        let expected = sent.project(&indices).expect("columns").slice(offset, length);
        let out = chain.relay.publisher.forward(&batch, part, Some(vec![("a".into(), "b".into())])).expect(name);
        assert_eq!(out.is_some(), forwarded, "{name}");
        let Some(out) = out else { continue };
        chain.relay.publisher.try_send(&out).expect("sent");
        drop((out, batch));
        chain.settle();
        let got = chain.consumers[0].take().unwrap_or_else(|| panic!("{name}: {:?}", chain.consumers[0].failed));
        assert_eq!(copied_bytes(), before, "{name}");
        assert_eq!(got.metadata, [("a".to_owned(), "b".to_owned())]);
        let arrow = got.to_arrow().expect(name);
        assert_eq!(arrow.num_rows(), expected.num_rows(), "{name}");
        for (a, b) in arrow.columns().iter().zip(expected.columns()) {
            a.to_data().validate_full().unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(a.to_data(), b.to_data(), "{name}");
        }
        drop((got, arrow));
        chain.consumers[0].close();
        chain.settle();
        assert_eq!(chain.down(), 0, "{name}");
    }
    let world = World::new();
    let mut chain = Chain::new(&world, 1);
    chain.producer.send(&sent);
    let batch = chain.arrives();
    for (offset, length, columns) in [(0, 201, None), (usize::MAX, 2, None), (0, 200, Some(&[6u32][..]))] {
        assert!(chain.relay.publisher.forward(&batch, Part { offset, length, columns }, None).is_err());
    }
}

#[test]
fn what_is_not_lent_cannot_be_forwarded() {
    let world = World::new();
    let mut chain = Chain::new(&world, 1);
    let own = Batch::copy_of(&numbered(1, 10), Vec::new()).expect("a copy");
    let imported = Batch::from_arrow(&numbered(1, 10), Vec::new()).expect("a batch");
    for batch in [own, imported] {
        assert!(chain.relay.publisher.forward(&batch, whole(&batch), None).expect("no error").is_none());
    }
    chain.producer.send(&numbered(1, 10));
    let batch = chain.arrives();
    chain.relay.publisher.close();
    let refused = chain.relay.publisher.forward(&batch, whole(&batch), None);
    assert_eq!(refused.map(|_| ()).expect_err("it is closed").code(), "ERR_CLOSED");
}

#[test]
fn dictionaries_go_on_once_and_are_replaced_where_they_were_replaced() {
    let world = World::new();
    let mut chain = Chain::new(&world, 1);
    let warm: &[&str] = &["red", "orange"];
    let cold: &[&str] = &["blue", "violet"];
    let before = copied_bytes();
    let sent = [coded(warm, &[0, 1]), coded(warm, &[1]), coded(cold, &[1, 0]), coded(cold, &[0])];
    let packed: Vec<_> = sent.iter().map(|batch| chain.producer.pack(batch)).collect();
    let copied = copied_bytes() - before;
    for out in packed {
        chain.producer.publisher.try_send(&out).expect("sent");
        drop(out);
        let batch = chain.arrives();
        chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
    }
    chain.settle();
    // A second one, which comes late, gets what its first batch needs.
    chain.consumers.push(world.subscribe("down"));
    chain.settle();
    chain.producer.send(&coded(cold, &[1]));
    let batch = chain.arrives();
    let dictionary = batch.dictionaries[0].as_ref().expect("there").body.location();
    chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
    drop(batch);
    chain.settle();
    let late = chain.consumers[1].take().expect("delivered");
    assert_eq!(late.dictionaries[0].as_ref().expect("there").body.location(), dictionary);
    assert_eq!(arrow(&late).column(0).as_ref(), coded(cold, &[1]).column(0).as_ref());
    let got: Vec<_> = std::iter::from_fn(|| chain.consumers[0].take()).collect();
    assert_eq!(got.len(), 5);
    for (got, sent) in got.iter().zip(&sent) {
        assert_eq!(arrow(got).column(0).as_ref(), sent.column(0).as_ref());
    }
    assert!(copied_bytes() - before <= copied + 64, "the producer alone copied");
    drop((got, late));
    chain.settle();
    assert_eq!((chain.up(), chain.down()), (1, 2), "the current dictionary is held");
    chain.consumers.iter_mut().for_each(Consumer::close);
    chain.settle();
    assert_eq!((chain.up(), chain.down()), (1, 0));
    chain.upstream.close();
    chain.settle();
    assert_eq!(chain.up(), 0);
}

#[test]
fn what_the_one_in_the_middle_wrote_into_its_view_is_not_forwarded() {
    let world = World::new();
    let mut chain = Chain::new(&world, 1);
    for number in 0..10 {
        chain.producer.send(&numbered(number, 1000));
        let batch = chain.arrives();
        batch.body.may_be_written();
        for range in batch.body.ranges() {
            // SAFETY: the body is alive, its pages are private to this mapping, and nothing reads it as arrays afterwards.
            unsafe { std::ptr::write_bytes(range.pointer.as_ptr(), 0x5A, range.length) };
        }
        chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
        drop(batch);
        chain.settle();
        assert_numbered(&chain.consumers[0].take().expect("delivered"), number, 1000);
        chain.until("it is given back", |c| c.producer.used() == 0);
    }
}

#[test]
fn a_relay_that_closes_ends_its_streams_and_keeps_the_leases_until_nobody_reads() {
    let world = World::new();
    let mut chain = Chain::new(&world, 2);
    for number in 0..5 {
        chain.producer.send(&numbered(number, 100));
        let batch = chain.arrives();
        chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
    }
    chain.relay.publisher.close();
    chain.settle();
    assert!(chain.consumers.iter().all(|c| c.ended) && !chain.relay.closed);
    assert_eq!(chain.up(), 5, "they are read still");
    chain.consumers[0].batches.clear();
    let last = chain.consumers[1].batches.pop_back();
    chain.consumers[1].batches.clear();
    chain.settle();
    assert_eq!((chain.up(), chain.relay.closed), (1, false));
    assert_numbered(last.as_ref().expect("held"), 4, 100);
    drop(last);
    chain.until("it is closed", |c| c.relay.closed);
    assert_eq!((chain.up(), chain.producer.used()), (0, 0));
}

#[test]
fn a_relay_that_gives_up_gives_its_leases_back_at_once() {
    let world = World::new();
    let mut chain = Chain::new(&world, 1);
    chain.producer.send(&numbered(1, 100));
    let batch = chain.arrives();
    chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
    drop(batch);
    chain.relay.publisher.close();
    chain.settle();
    assert_eq!((chain.up(), chain.relay.closed), (1, false));
    chain.relay.publisher.give_up();
    chain.settle();
    assert_eq!((chain.up(), chain.relay.closed), (0, true));
}

#[test]
fn a_segment_that_ended_upstream_is_given_up_downstream_when_its_last_batch_is() {
    let world = World::new();
    let mut chain = Chain::new(&world, 1);
    chain.producer.send(&numbered(1, 100));
    let batch = chain.arrives();
    chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
    chain.settle();
    let held = chain.consumers[0].take().expect("delivered");
    let mapping = |batch: &Batch| batch.body.location().expect("shared")[1];
    assert_eq!(mapping(&held), mapping(&batch));
    drop(batch);
    let mappings = || std::fs::read_to_string("/proc/self/maps").expect("maps");
    let inode = format!(" {} ", mapping(&held));
    // The producer's own mapping, the one in the middle, and the consumer's.
    let count = |inode: &str| mappings().lines().filter(|line| line.contains(inode)).count();
    assert_eq!(count(&inode), 3);
    let world2 = World::new();
    let gone = std::mem::replace(&mut chain.producer, world2.publish("up", options()));
    drop(gone);
    chain.settle();
    assert!(chain.upstream.failed.is_some());
    assert_numbered(&held, 1, 100);
    assert_eq!(count(&inode), 2, "the one in the middle and the consumer hold it");
    drop(held);
    chain.until("no mapping is left", |_| count(&inode) == 0);
    assert_eq!((chain.down(), chain.consumers[0].failed.is_none()), (0, true));
    // The stream goes on with the segments of the next one, under a number that was used before.
    let mut upstream = Consumer::new(Arc::clone(&world2.folder), "up");
    settle(&mut chain.producer, std::slice::from_mut(&mut upstream));
    std::mem::swap(&mut upstream, &mut chain.upstream);
    for number in 0..3 {
        chain.producer.send(&numbered(number, 100));
        let batch = chain.arrives();
        chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
        drop(batch);
        chain.settle();
        assert_numbered(&chain.consumers[0].take().expect("delivered"), number, 100);
    }
}

#[test]
fn a_relay_of_many_publishers_gives_up_idle_segments_before_it_has_too_many() {
    let world = World::new();
    let relay = world.publish("down", PublisherOptions { memory: 1 << 20, ..options() });
    let mut consumers = vec![world.subscribe("down")];
    let mut relay = relay;
    settle(&mut relay, &mut consumers);
    let small = PublisherOptions { memory: 64 << 10, ..options() };
    let mut publishers = Vec::new();
    let mut copied = 0;
    for number in 0..600 {
        let mut producer = world.publish(&format!("up {number}"), small.clone());
        let mut upstream = world.subscribe(&format!("up {number}"));
        settle(&mut producer, std::slice::from_mut(&mut upstream));
        producer.send(&numbered(number, 10));
        settle(&mut producer, std::slice::from_mut(&mut upstream));
        let batch = upstream.take().expect("delivered");
        match relay.publisher.forward(&batch, whole(&batch), None).expect("it fits") {
            Some(out) => drop(relay.publisher.try_send(&out).expect("sent")),
            None => {
                copied += 1;
                relay.send(&batch.to_arrow().expect("arrays"));
            }
        }
        drop(batch);
        settle(&mut relay, &mut consumers);
        assert_numbered(&consumers[0].take().expect("delivered"), number, 10);
        settle(&mut relay, &mut consumers);
        publishers.push((producer, upstream));
    }
    assert_eq!(copied, 1, "the one that found no number free");
    assert!(consumers[0].failed.is_none());
}

#[test]
fn one_slow_subscriber_of_two_holds_what_it_has_not_read_and_a_queue_bounds_that() {
    let world = World::new();
    let mut chain = Chain::new(&world, 2);
    let queue = Queue { batches: 4, bytes: 1 << 40 };
    chain.relay = world.publish("narrow", PublisherOptions { queue, memory: 1 << 20, ..options() });
    chain.consumers = vec![world.subscribe("narrow"), world.subscribe("narrow")];
    chain.settle();
    let mut waiting = None;
    for number in 0..5 {
        chain.producer.send(&numbered(number, 10));
        let batch = chain.arrives();
        let out = chain.forward(&batch);
        drop(batch);
        match chain.relay.publisher.try_send(&out).expect("open") {
            SendOutcome::Sent(2) => assert!(number < 4),
            SendOutcome::NoRoom => waiting = Some(out),
            other => panic!("{other:?}"),
        }
        chain.settle();
        drop(chain.consumers[0].take());
        chain.settle();
    }
    let waiting = waiting.expect("the slow one had no room");
    assert_eq!((chain.up(), chain.down()), (5, 4), "four in its queue, and the one that waits");
    let rooms = chain.relay.rooms;
    drop(chain.consumers[1].take());
    chain.settle();
    assert!(chain.relay.rooms > rooms);
    assert_eq!(chain.relay.publisher.try_send(&waiting).expect("sent"), SendOutcome::Sent(2));
    drop(waiting);
    chain.settle();
    assert_numbered(&chain.consumers[0].take().expect("delivered"), 4, 10);
    for number in 1..5 {
        assert_numbered(&chain.consumers[1].take().expect("delivered"), number, 10);
    }
    chain.settle();
    assert_eq!((chain.up(), chain.down()), (0, 0));
}
