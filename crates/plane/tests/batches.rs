//! Batches of every type, over arrays of this process, in copies, and through a publisher.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

#[path = "../../arrow-c/tests/samples/mod.rs"]
mod samples;

use arrow_array::{Array, RecordBatch};
use arrowlane_plane::{Batch, PlaneError, SendOutcome};
use support::*;

fn check(name: &str, sent: &RecordBatch, batch: Result<Batch, PlaneError>) {
    let batch = batch.unwrap_or_else(|e| panic!("{name}: {e}"));
    let arrow = batch.to_arrow().unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_same(name, sent, &arrow);
    // The arrays keep what they need.
    drop(batch);
    assert_same(name, sent, &arrow);
}

fn assert_same(name: &str, sent: &RecordBatch, got: &RecordBatch) {
    for column in got.columns() {
        column.to_data().validate_full().unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    assert_eq!(got.schema(), sent.schema(), "{name}");
    assert_eq!(got.num_rows(), sent.num_rows(), "{name}");
    for (a, b) in got.columns().iter().zip(sent.columns()) {
        assert_eq!(&a.to_data(), &b.to_data(), "{name}");
    }
}

#[test]
fn every_type_goes_into_a_batch_and_out_again_without_and_with_a_copy() {
    for (name, sent) in samples::samples() {
        check(&name, &sent, Batch::from_arrow(&sent, Vec::new()));
        check(&name, &sent, Batch::copy_of(&sent, Vec::new()));
    }
}

#[test]
fn every_type_travels_through_a_publisher() {
    for (name, sent) in samples::samples() {
        let world = World::new();
        let (mut producer, mut consumers) = world.connected(options(), 1);
        assert_eq!(producer.send(&sent), SendOutcome::Sent(1), "{name}");
        producer.send(&sent);
        settle(&mut producer, &mut consumers);
        for _ in 0..2 {
            let batch = consumers[0].take().unwrap_or_else(|| panic!("{name}: {:?}", consumers[0].failed));
            assert_same(&name, &sent, &batch.to_arrow().unwrap_or_else(|e| panic!("{name}: {e}")));
        }
        producer.publisher.close();
        settle(&mut producer, &mut consumers);
        assert!(consumers[0].ended, "{name}: {:?}", consumers[0].failed);
    }
}

#[test]
fn a_batch_over_arrays_is_no_copy_and_a_copy_is_one() {
    let sent = numbered(1, 1000);
    let address = sent.column(0).to_data().buffers()[0].as_ptr() as usize;
    let of = |batch: &Batch| batch.to_arrow().expect("arrays").column(0).to_data().buffers()[0].as_ptr() as usize;
    let over = Batch::from_arrow(&sent, Vec::new()).expect("a batch");
    assert_eq!(of(&over), address);
    let copy = Batch::copy_of(&sent, Vec::new()).expect("a batch");
    assert_ne!(of(&copy), address);
    assert_eq!(copy.body.ranges().len(), 1, "one block");
    assert_eq!(copy.body.ranges()[0].pointer.as_ptr() as usize % 64, 0);
    assert!(!copy.body.is_lent() && over.body.is_lent());
}

/// A column that takes no memory though it is longer than any machine has: pages of zeros that nobody ever touched.
fn endless(length: usize) -> RecordBatch {
    use arrow_buffer::{Buffer, ScalarBuffer};
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    // SAFETY: a new mapping that nothing else refers to; it is left to the end of the process.
    let start = unsafe {
        mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::PRIVATE | MapFlags::NORESERVE)
    };
    let start = std::ptr::NonNull::new(start.expect("addresses").cast::<u8>()).expect("not null");
    // SAFETY: the mapping is `length` readable bytes and never goes.
    let buffer = unsafe { Buffer::from_custom_allocation(start, length, std::sync::Arc::new(())) };
    let column = arrow_array::UInt8Array::new(ScalarBuffer::from(buffer), None);
    let field = arrow_schema::Field::new("endless", arrow_schema::DataType::UInt8, false);
    let schema = std::sync::Arc::new(arrow_schema::Schema::new(vec![field]));
    RecordBatch::try_new(schema, vec![std::sync::Arc::new(column)]).expect("a batch")
}

#[test]
fn a_copy_that_is_larger_than_what_is_left_is_an_error_and_takes_nothing() {
    let left = arrowlane_memory::limits::headroom().smallest().expect("Linux says what is left");
    for length in [1 << 44, 1 << 40, left as usize] {
        match Batch::copy_of(&endless(length), Vec::new()) {
            Err(error) => assert_eq!(error.code(), "ERR_OUT_OF_MEMORY", "{length}: {error}"),
            Ok(_) => panic!("{length} bytes were copied"),
        }
    }
    let small = endless(1 << 20);
    check("a copy that fits", &small, Batch::copy_of(&small, Vec::new()));
}
