use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{ArrayRef, DictionaryArray, Int64Array, ListArray, StringArray, StringViewArray};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use bytes::Bytes;

use super::*;
use crate::Encoder;

fn sample() -> RecordBatch {
    let words: DictionaryArray<Int8Type> = ["a", "b", "a"].into_iter().collect();
    let lists = ListArray::from_iter_primitive::<arrow_array::types::Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let columns: [(&str, ArrayRef); 5] = [
        ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
        ("s", Arc::new(StringArray::from(vec![Some("x"), None, Some("yy")]))),
        ("v", Arc::new(StringViewArray::from(vec!["short", "a text that is longer than twelve", "z"]))),
        ("l", Arc::new(lists)),
        ("d", Arc::new(words)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// The messages of a stream of one batch, with packed bodies.
fn messages() -> Vec<Message> {
    let mut encoder = Encoder::new(sample().schema());
    let mut parts = vec![encoder.schema()];
    parts.extend(encoder.batch(&sample()).unwrap());
    let message = |part: crate::Part| Message {
        header: Buffer::from(&part.header[..]),
        body: Buffer::from_vec(part.body.concat()),
        app_metadata: Bytes::new(),
        first: Bytes::new(),
    };
    parts.into_iter().map(message).collect()
}

fn compressed() -> Vec<Message> {
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
    let (generator, mut tracker) = (IpcDataGenerator::default(), DictionaryTracker::new(false));
    let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![7; 10_000])) as ArrayRef)]).unwrap();
    let schema = generator.schema_to_bytes_with_dictionary_tracker(&batch.schema(), &mut tracker, &options);
    let (_, data) = generator.encode(&batch, &mut tracker, &options, &mut IpcWriteContext::default()).unwrap();
    [schema, data]
        .into_iter()
        .map(|data| Message {
            header: Buffer::from_vec(data.ipc_message),
            body: Buffer::from_vec(data.arrow_data),
            ..Message::default()
        })
        .collect()
}

fn decode(messages: &[Message], largest: u64) -> Result<Vec<RecordBatch>, FlightError> {
    let mut decoder = BatchDecoder::new(largest);
    messages.iter().filter_map(|message| decoder.message(message).transpose()).collect()
}

#[test]
fn batches_come_back_as_they_were_over_the_memory_that_arrived() {
    let messages = messages();
    let batches = decode(&messages, 1 << 20).unwrap();
    assert_eq!(batches, [sample()]);
    let body = messages.last().unwrap().body.as_ptr_range();
    let data = batches[0].column(0).to_data();
    assert!(body.contains(&data.buffers()[0].as_ptr()), "it was copied");
}

#[test]
fn what_is_out_of_order_is_refused() {
    let [schema, dictionary, batch] = &messages()[..] else { panic!() };
    let of = |messages: &[&Message]| decode(&messages.iter().map(|m| (*m).clone()).collect::<Vec<_>>(), 1 << 20);
    assert!(of(&[schema, dictionary, batch]).is_ok());
    for wrong in [&[batch][..], &[dictionary], &[schema, schema], &[schema, batch]] {
        assert!(of(wrong).is_err());
    }
}

#[test]
fn a_body_that_is_shorter_than_its_header_says_is_refused() {
    for cut in [0, 1, 8, 64] {
        let mut messages = messages();
        let body = &mut messages[2].body;
        *body = body.slice_with_length(0, cut);
        assert!(matches!(decode(&messages, 1 << 20), Err(FlightError::Protocol(_))));
    }
}

#[test]
fn text_that_is_none_is_refused() {
    let mut messages = messages();
    let mut body = messages[2].body.to_vec();
    let at = body.windows(3).position(|bytes| bytes == b"xyy").unwrap();
    body[at] = 0xFF;
    messages[2].body = Buffer::from_vec(body);
    assert!(decode(&messages, 1 << 20).is_err());
}

#[test]
fn a_compressed_body_may_not_become_more_than_a_message_may_have() {
    let messages = compressed();
    assert_eq!(decode(&messages, 1 << 20).unwrap()[0].num_rows(), 10_000);
    let error = decode(&messages, 50_000).unwrap_err();
    assert!(error.to_string().contains("becomes 80000 bytes"), "{error}");
    let mut lying = compressed();
    let mut body = lying[1].body.to_vec();
    for claim in [i64::MAX, 1 << 40, -2, 0, 79_999] {
        body[..8].copy_from_slice(&claim.to_le_bytes());
        lying[1].body = Buffer::from_vec(body.clone());
        assert!(decode(&lying, 1 << 20).is_err(), "{claim}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 2000, ..Default::default() })]

    #[test]
    fn changed_bytes_are_an_error_or_a_valid_batch(
        which in 0usize..3, in_header: bool, at in 0usize..10_000, to: u8, packed: bool
    ) {
        let mut all = if packed { compressed() } else { messages() };
        let which = which % all.len();
        let message = &mut all[which];
        let buffer = if in_header || message.body.is_empty() { &mut message.header } else { &mut message.body };
        let mut bytes = buffer.to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        *buffer = Buffer::from_vec(bytes);
        for batch in decode(&all, 1 << 20).unwrap_or_default() {
            for column in batch.columns() {
                proptest::prop_assert!(column.to_data().validate_full().is_ok());
            }
        }
    }
}
