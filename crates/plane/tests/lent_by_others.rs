//! Bodies that another implementation lends: at any address, and given back in messages.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, IntervalMonthDayNanoArray,
    LargeStringArray, ListArray, RecordBatch, StringArray, StringViewArray, UInt16Array,
    types::{Int32Type, IntervalMonthDayNano},
};
use arrowlane_dissociated::{BatchHeader, encode_batch, flatten, header_of, packed_parts};
use arrowlane_plane::SubscriptionOptions;
use support::{by_hand::ByHand, *};

fn many_types() -> RecordBatch {
    let rows = 50;
    let text = |row: usize| format!("a text that is no inline view, number {row}");
    let days = |row: usize| IntervalMonthDayNano::new(row as i32, 2, row as i64 * 3);
    let lists = (0..rows).map(|row| (row % 4 != 1).then(|| (0..row as i32 % 3).map(Some).collect::<Vec<_>>()));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("bool", Arc::new(BooleanArray::from_iter((0..rows).map(|row| (row % 3 > 0).then_some(row % 2 == 0))))),
        ("u16", Arc::new(UInt16Array::from_iter((0..rows).map(|row| (row % 5 > 0).then_some(row as u16))))),
        ("i32", Arc::new(Int32Array::from_iter_values(0..rows as i32))),
        ("f64", Arc::new(Float64Array::from_iter_values((0..rows).map(|row| row as f64 / 3.0)))),
        ("decimal", Arc::new(Decimal128Array::from_iter_values((0..rows).map(|row| (row as i128) << 70)))),
        ("interval", Arc::new(IntervalMonthDayNanoArray::from_iter_values((0..rows).map(days)))),
        ("utf8", Arc::new(StringArray::from_iter_values((0..rows).map(text)))),
        ("large", Arc::new(LargeStringArray::from_iter_values((0..rows).map(text)))),
        ("view", Arc::new(StringViewArray::from_iter_values((0..rows).map(text)))),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))),
    ];
    RecordBatch::try_from_iter(columns).expect("a batch")
}

/// Header and body of a batch, its buffers one behind the other as in a message.
fn body_of(batch: &RecordBatch) -> (BatchHeader, Vec<u8>) {
    let columns: Vec<_> = batch.columns().iter().map(|c| c.to_data()).collect();
    let flat = flatten(&columns).expect("flat");
    (header_of(&flat, 8), packed_parts(&flat, 8).concat())
}

#[test]
fn buffers_at_any_address_are_read_and_only_those_that_are_not_aligned_are_copied() {
    let world = World::new();
    let (mut publisher, mut consumer) = ByHand::new(&world, SubscriptionOptions::default());
    let batch = many_types();
    let (header, body) = body_of(&batch);
    publisher.schema(&batch);
    for shift in 0..17 {
        publisher.lent(&encode_batch(&header, &[]), &header, &body, shift);
        publisher.run(&mut consumer);
        assert!(consumer.failed.is_none(), "{shift}: {:?}", consumer.failed);
        let received = consumer.take().expect("delivered");
        assert!(received.body.is_lent());
        let arrow = received.to_arrow().expect("arrays");
        for column in arrow.columns() {
            column.to_data().validate_full().expect("valid arrays");
        }
        assert_eq!(arrow, batch, "{shift}");
        let range = received.body.ranges()[0];
        let start = range.pointer.as_ptr() as usize;
        let lies_in_place = |index: usize| {
            let data = arrow.column(index).to_data();
            let at = data.buffers()[0].as_ptr() as usize;
            (start..start + range.length).contains(&at)
        };
        assert_eq!(lies_in_place(2), shift % 4 == 0, "32-bit integers, {shift}");
        assert_eq!(lies_in_place(3), shift % 8 == 0, "doubles, {shift}");
        // The arrays keep the lease, copied or not, until the batch itself goes.
        drop(arrow);
        drop(received);
        publisher.run(&mut consumer);
        assert_eq!(publisher.sender.outstanding(), 0, "{shift}");
    }
}

#[test]
fn what_one_turn_lets_go_of_goes_back_in_one_message_before_the_loop_sleeps() {
    let world = World::new();
    let (mut publisher, mut consumer) = ByHand::new(&world, SubscriptionOptions::default());
    let batch = numbered(1, 10);
    let (header, body) = body_of(&batch);
    let addresses = header.buffers.iter().filter(|span| span.length > 0).count();
    publisher.schema(&batch);
    for _ in 0..30 {
        publisher.lent(&encode_batch(&header, &[]), &header, &body, 0);
    }
    publisher.run(&mut consumer);
    let mut held: Vec<_> = std::iter::from_fn(|| consumer.take()).collect();
    assert_eq!(held.len(), 30);
    held.truncate(20);
    publisher.turn();
    assert!(publisher.frees.is_empty(), "the turn is not over");
    consumer.turn();
    publisher.turn();
    assert_eq!(publisher.frees, [10 * addresses]);
    // On another thread there is no turn to wait for.
    let one = held.pop().expect("held");
    std::thread::spawn(move || drop(one)).join().expect("dropped");
    publisher.turn();
    assert_eq!(publisher.frees, [10 * addresses, addresses]);
    drop(held);
    publisher.run(&mut consumer);
    assert_eq!(publisher.frees, [10 * addresses, addresses, 19 * addresses]);
    assert_eq!(publisher.sender.outstanding(), 0);
}

#[test]
fn many_addresses_do_not_wait_for_the_end_of_the_turn() {
    let world = World::new();
    let (mut publisher, mut consumer) = ByHand::new(&world, SubscriptionOptions::default());
    let batch = numbered(1, 10);
    let (header, body) = body_of(&batch);
    publisher.schema(&batch);
    for _ in 0..200 {
        publisher.lent(&encode_batch(&header, &[]), &header, &body, 0);
    }
    publisher.run(&mut consumer);
    // They come to rest here: neither loop turns.
    while consumer.take().is_some() {}
    publisher.turn();
    assert!(!publisher.frees.is_empty() && publisher.frees.iter().all(|count| *count >= 256), "{:?}", publisher.frees);
    publisher.run(&mut consumer);
    assert_eq!(publisher.sender.outstanding(), 0);
}
