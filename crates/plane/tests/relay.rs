//! A received batch that is sent on goes on from where it lies.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

#[path = "../../arrow-c/tests/samples/mod.rs"]
mod samples;

use std::sync::Arc;

use arrow_array::{
    Array, BooleanArray, DictionaryArray, Int8Array, Int64Array, RecordBatch, StringArray, types::Int8Type,
};
use arrow_schema::{DataType, Field, Schema};
use arrowlane_plane::{Batch, Part, SendOutcome, copied_bytes};
use support::{chain::*, *};

/// Name, rows from and how many, columns, and whether they go on from where they lie.
type Case<'a> = (&'a str, usize, usize, Option<&'a [u32]>, bool);

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

/// Bytes copied are counted for the whole process: one test at a time.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn a_forwarded_batch_lies_where_its_producer_wrote_it_and_its_lease_ends_with_the_last_one_downstream() {
    let _alone = alone();
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
    let _alone = alone();
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
    let _alone = alone();
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
    let cases: [Case<'_>; 11] = [
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
    let _alone = alone();
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
    let _alone = alone();
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
