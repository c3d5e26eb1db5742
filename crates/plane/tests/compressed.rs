//! Compressed bodies: decoded on receipt into memory of the subscriber's, whatever way they came.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::{io::Write, sync::Arc};

use arrow_array::{Array, DictionaryArray, Int8Array, RecordBatch, StringArray, cast::AsArray, types::Int8Type};
use arrow_data::ArrayData;
use arrow_schema::Field;
use arrowlane_dissociated::{BatchHeader, Compression, Span, encode_batch, encode_dictionary, flatten, header_of};
use arrowlane_plane::{SubscriptionOptions, copied_bytes};
use support::{by_hand::ByHand, *};

const BOTH: [Compression; 2] = [Compression::Lz4Frame, Compression::Zstd];

/// Each buffer as a compressed body has it; every third is stored as it is.
fn encoded(compression: Compression, index: usize, bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    if index % 3 == 2 {
        return [&(-1i64).to_le_bytes()[..], bytes].concat();
    }
    let data = match compression {
        Compression::Lz4Frame => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(bytes).expect("encoded");
            encoder.finish().expect("encoded")
        }
        Compression::Zstd => zstd::bulk::compress(bytes, 1).expect("encoded"),
    };
    [&(bytes.len() as i64).to_le_bytes()[..], &data].concat()
}

/// A publisher whose bodies are compressed, and lent or in their messages.
struct Compressing {
    by_hand: ByHand,
    lend: bool,
}

impl Compressing {
    fn new(world: &World, lend: bool, strict: bool) -> (Self, Consumer) {
        let (by_hand, consumer) = ByHand::new(world, SubscriptionOptions { strict, ..SubscriptionOptions::default() });
        (Self { by_hand, lend }, consumer)
    }

    fn put(&mut self, columns: &[ArrayData], compression: Compression, message: &dyn Fn(&BatchHeader) -> Vec<u8>) {
        let flat = flatten(columns).expect("flat");
        let header = BatchHeader { compression: Some(compression), ..header_of(&flat, 8) };
        let buffers: Vec<_> =
            flat.buffers.iter().enumerate().map(|(i, bytes)| encoded(compression, i, bytes.as_slice())).collect();
        self.put_encoded(header, &buffers, message);
    }

    fn put_encoded(&mut self, mut header: BatchHeader, buffers: &[Vec<u8>], message: &dyn Fn(&BatchHeader) -> Vec<u8>) {
        let mut body = Vec::new();
        for (span, bytes) in header.buffers.iter_mut().zip(buffers) {
            *span = Span { offset: body.len() as u64, length: bytes.len() as u64 };
            body.extend_from_slice(bytes);
            body.resize(body.len().next_multiple_of(8), 0);
        }
        header.body_length = body.len() as u64;
        let flatbuffer = message(&header);
        if self.lend && !body.is_empty() {
            self.by_hand.lent(&flatbuffer, &header, &body, 0);
        } else {
            self.by_hand.packed(&flatbuffer, &body);
        }
    }

    fn batch(&mut self, batch: &RecordBatch, compression: Compression) {
        let columns: Vec<_> = batch.columns().iter().map(|c| c.to_data()).collect();
        self.put(&columns, compression, &|header| encode_batch(header, &[]));
    }

    fn dictionary(&mut self, values: &StringArray, delta: bool, compression: Compression) {
        self.put(&[values.to_data()], compression, &|header| encode_dictionary(0, delta, header));
    }
}

#[test]
fn a_compressed_batch_is_decoded_and_what_was_lent_for_it_goes_back_at_once() {
    for (lend, compression) in [(false, BOTH[0]), (true, BOTH[0]), (false, BOTH[1]), (true, BOTH[1])] {
        let world = World::new();
        let (mut publisher, mut consumer) = Compressing::new(&world, lend, false);
        publisher.by_hand.schema(&numbered(0, 1));
        for (number, rows) in [(1, 1), (2, 50_000), (3, 0), (4, 777)] {
            publisher.batch(&numbered(number, rows), compression);
        }
        publisher.by_hand.sender.finish(&mut publisher.by_hand.endpoint);
        let before = copied_bytes();
        publisher.by_hand.run(&mut consumer);
        assert!(consumer.ended, "{:?}", consumer.failed);
        assert!(copied_bytes() > before + 50_000 * 8, "it says that it copied");
        assert_eq!(publisher.by_hand.sender.outstanding(), 0, "nothing lent is held, though the batches are");
        if lend {
            assert_eq!(publisher.by_hand.frees.len(), 1, "what one turn freed goes back together");
        }
        for (number, rows) in [(1, 1), (2, 50_000), (3, 0), (4, 777)] {
            let batch = consumer.take().expect("delivered");
            assert!(!batch.body.is_lent() && batch.header.compression.is_none());
            assert!(batch.body.ranges().iter().all(|range| range.pointer.addr().get().is_multiple_of(64)));
            assert_numbered(&batch, number, rows);
        }
    }
}

#[test]
fn compressed_dictionaries_are_decoded_extended_and_replaced() {
    for (lend, compression) in [(false, BOTH[0]), (true, BOTH[1])] {
        let world = World::new();
        let (mut publisher, mut consumer) = Compressing::new(&world, lend, false);
        let coded = |values: &[&str], keys: &[i8]| {
            let values = Arc::new(StringArray::from(values.to_vec()));
            let array = DictionaryArray::<Int8Type>::new(Int8Array::from(keys.to_vec()), values);
            let field = Field::new("d", array.data_type().clone(), true);
            RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(vec![field])), vec![Arc::new(array)])
                .expect("a batch")
        };
        publisher.by_hand.schema(&coded(&["a"], &[0]));
        publisher.dictionary(&StringArray::from(vec!["a", "b"]), false, compression);
        publisher.batch(&coded(&["a", "b"], &[1, 0]), compression);
        publisher.dictionary(&StringArray::from(vec!["c"]), true, compression);
        publisher.batch(&coded(&["a", "b", "c"], &[2, 0]), compression);
        publisher.dictionary(&StringArray::from(vec!["z"]), false, compression);
        publisher.batch(&coded(&["z"], &[0]), compression);
        publisher.by_hand.run(&mut consumer);
        assert!(consumer.failed.is_none(), "{:?}", consumer.failed);
        let texts = |batch: &RecordBatch| {
            let array = batch.column(0).as_dictionary::<Int8Type>().downcast_dict::<StringArray>().expect("texts");
            array.into_iter().map(|text| text.expect("a text").to_owned()).collect::<Vec<_>>()
        };
        let all: Vec<_> =
            std::iter::from_fn(|| consumer.take()).map(|b| texts(&b.to_arrow().expect("arrays"))).collect();
        assert_eq!(all, [vec!["b", "a"], vec!["c", "a"], vec!["z"]]);
        assert_eq!(publisher.by_hand.sender.outstanding(), 0);
    }
}

#[test]
fn where_copies_are_forbidden_a_compressed_batch_is_an_error_that_says_so() {
    for lend in [false, true] {
        let world = World::new();
        let (mut publisher, mut consumer) = Compressing::new(&world, lend, true);
        publisher.by_hand.schema(&numbered(0, 1));
        publisher.batch(&numbered(1, 100), Compression::Zstd);
        publisher.by_hand.run(&mut consumer);
        let failure = consumer.failed.as_ref().expect("it failed");
        assert_eq!(failure.code(), "ERR_COPY_REQUIRED", "{failure}");
        assert!(failure.to_string().contains("compressed"), "{failure}");
        assert_eq!(publisher.by_hand.sender.outstanding(), 0, "and what was lent went back");
    }
}

#[test]
fn a_buffer_that_lies_about_its_plain_length_costs_an_error_and_no_memory() {
    for (lend, compression) in [(false, BOTH[0]), (true, BOTH[1])] {
        for lie in [i64::MAX, 1 << 40, 801, 799, -2] {
            let world = World::new();
            let (mut publisher, mut consumer) = Compressing::new(&world, lend, false);
            publisher.by_hand.schema(&numbered(0, 1));
            let batch = numbered(1, 100);
            let columns: Vec<_> = batch.columns().iter().map(|c| c.to_data()).collect();
            let flat = flatten(&columns).expect("flat");
            let header = BatchHeader { compression: Some(compression), ..header_of(&flat, 8) };
            // The numbers, 800 bytes, are the first buffer that has any.
            let mut buffers: Vec<_> = flat.buffers.iter().map(|b| encoded(compression, 0, b.as_slice())).collect();
            assert_eq!(buffers[1][..8], 800i64.to_le_bytes());
            buffers[1][..8].copy_from_slice(&lie.to_le_bytes());
            publisher.put_encoded(header, &buffers, &|header| encode_batch(header, &[]));
            publisher.by_hand.run(&mut consumer);
            let failure = consumer.failed.as_ref().expect("it failed");
            assert_eq!(failure.code(), "ERR_PROTOCOL", "{lie}: {failure}");
            assert!(failure.to_string().contains("compressed body"), "{lie}: {failure}");
            assert_eq!(publisher.by_hand.sender.outstanding(), 0);
        }
    }
}

#[test]
fn a_body_that_would_be_larger_than_the_limit_is_refused_before_it_is_decoded() {
    let world = World::new();
    let (mut publisher, mut consumer) = Compressing::new(&world, false, false);
    publisher.by_hand.schema(&numbered(0, 1));
    let columns: Vec<_> = numbered(1, 100).columns().iter().map(|c| c.to_data()).collect();
    let header =
        BatchHeader { compression: Some(Compression::Zstd), ..header_of(&flatten(&columns).expect("flat"), 8) };
    let mut buffers = vec![Vec::new(); header.buffers.len()];
    // So many bytes could hold as much, as far as the codec goes.
    buffers[1] = [&(5i64 << 30).to_le_bytes()[..], &vec![0; 200 << 10]].concat();
    publisher.put_encoded(header, &buffers, &|header| encode_batch(header, &[]));
    let before = copied_bytes();
    publisher.by_hand.run(&mut consumer);
    let failure = consumer.failed.as_ref().expect("it failed").to_string();
    assert!(failure.contains("decompressed") && failure.contains("4294967296"), "{failure}");
    assert!(copied_bytes() - before < 64 << 20, "nothing of it was decoded");
}
