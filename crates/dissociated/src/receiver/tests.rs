use arrow_schema::{DataType, Field, Schema};

use super::*;
use crate::conversation::Wire;
use crate::{BatchHeader, FieldNode, Pair, Span, encode_batch, encode_schema, free};

mod bounds;
mod conversations;
mod link;
mod properties;
mod quirks;

const FREE: u64 = 70;
const EXT: u64 = 80;

fn receiver() -> Receiver {
    Receiver::new(ReceiverConfig { free_tag: Some(FREE), ext_tag: Some(EXT), ..ReceiverConfig::default() })
}

fn schema() -> Vec<u8> {
    encode_schema(&Schema::new(vec![Field::new("a", DataType::Int64, true)]))
}

fn header(lengths: &[u64]) -> BatchHeader {
    let mut offset = 0;
    let buffers = lengths
        .iter()
        .map(|length| {
            let span = Span { offset, length: *length };
            offset += length.next_multiple_of(8);
            span
        })
        .collect();
    BatchHeader {
        rows: 1,
        nodes: vec![FieldNode { length: 1, null_count: 0 }],
        buffers,
        body_length: offset,
        ..BatchHeader::default()
    }
}

fn batch(lengths: &[u64]) -> Vec<u8> {
    encode_batch(&header(lengths), &[])
}

fn framed(kind: u8, serial: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&serial.to_le_bytes());
    out.extend_from_slice(payload);
    out
}

fn packed(serial: u32, length: usize) -> (u64, Bytes) {
    (u64::from(serial), Bytes::from(vec![serial as u8; length]))
}

fn pairs_body(serial: u32, list: &[(u64, u64)]) -> (u64, Bytes) {
    let list: Vec<Pair> = list.iter().map(|(address, length)| Pair { address: *address, length: *length }).collect();
    let mut out = vec![];
    pairs::encode_into(0, &list, &mut out);
    (1 << 56 | u64::from(serial), out.into())
}

fn started() -> Receiver {
    let mut receiver = receiver();
    receiver.metadata(&framed(1, 0, &schema())).unwrap();
    assert!(matches!(receiver.next(), Some(Event::Schema(..))));
    receiver
}

fn feed(receiver: &mut Receiver, (tag, body): (u64, Bytes)) -> Result<()> {
    receiver.tagged(tag, body)
}

#[test]
fn a_body_before_or_after_its_metadata_gives_the_same_event() {
    for body_first in [false, true] {
        let mut receiver = started();
        if body_first {
            feed(&mut receiver, packed(1, 8)).unwrap();
            assert!(receiver.next().is_none());
        }
        receiver.metadata(&framed(1, 1, &batch(&[0, 8]))).unwrap();
        if !body_first {
            assert!(receiver.next().is_none());
            feed(&mut receiver, packed(1, 8)).unwrap();
        }
        let Some(Event::Batch { serial, body, .. }) = receiver.next() else { panic!("no batch") };
        assert_eq!((serial, body), (Serial(1), ReceivedBody::Packed(vec![1; 8].into())));
    }
}

#[test]
fn events_come_in_sequence_though_bodies_do_not() {
    let mut receiver = started();
    for serial in 1..4 {
        receiver.metadata(&framed(1, serial, &batch(&[8]))).unwrap();
    }
    feed(&mut receiver, packed(3, 8)).unwrap();
    feed(&mut receiver, packed(2, 8)).unwrap();
    assert!(receiver.next().is_none());
    feed(&mut receiver, packed(1, 8)).unwrap();
    for expected in 1..4 {
        assert!(matches!(receiver.next(), Some(Event::Batch { serial, .. }) if serial.0 == expected));
    }
}

#[test]
fn a_message_without_bytes_waits_for_no_body_and_tolerates_one() {
    let mut receiver = started();
    receiver.metadata(&framed(1, 1, &batch(&[0, 0]))).unwrap();
    assert!(matches!(receiver.next(), Some(Event::Batch { body: ReceivedBody::None, .. })));
    feed(&mut receiver, packed(1, 0)).unwrap();
    assert!(feed(&mut receiver, packed(1, 0)).is_err(), "but one only");
    feed(&mut receiver, packed(2, 0)).unwrap();
    receiver.metadata(&framed(1, 2, &batch(&[0]))).unwrap();
    assert!(receiver.next().is_some());
    feed(&mut receiver, packed(0, 0)).unwrap();
}

#[test]
fn a_gap_is_named_and_a_repetition_refused() {
    let mut receiver = started();
    assert_eq!(receiver.metadata(&framed(1, 3, &batch(&[8]))), Err(ProtocolError::Gap { expected: 1, got: 3 }));
    receiver.metadata(&framed(1, 1, &batch(&[8]))).unwrap();
    assert!(matches!(receiver.metadata(&framed(1, 1, &batch(&[8]))), Err(ProtocolError::Duplicate { serial: 1, .. })));
    feed(&mut receiver, packed(1, 8)).unwrap();
    assert!(feed(&mut receiver, packed(1, 8)).is_err(), "before delivery");
    assert!(receiver.next().is_some());
    assert!(feed(&mut receiver, packed(1, 8)).is_err(), "and after");
}

#[test]
fn an_end_of_stream_that_leaves_no_gap_is_accepted_and_no_other() {
    for (number, fine) in [(3, true), (2, true), (0, true), (4, false), (1 << 31, false)] {
        let mut receiver = started();
        for serial in 1..3 {
            receiver.metadata(&framed(1, serial, &batch(&[8]))).unwrap();
        }
        let result = receiver.metadata(&framed(0, number, &[]));
        if !fine {
            assert_eq!(result, Err(ProtocolError::Gap { expected: 3, got: number }));
            continue;
        }
        result.unwrap();
        assert!(receiver.next().is_none(), "bodies are still missing");
        feed(&mut receiver, packed(1, 8)).unwrap();
        feed(&mut receiver, packed(2, 8)).unwrap();
        assert!(feed(&mut receiver, packed(3, 8)).is_err());
        assert!(matches!(receiver.next(), Some(Event::Batch { .. })));
        assert!(matches!(receiver.next(), Some(Event::Batch { .. })));
        assert!(matches!(receiver.next(), Some(Event::End)));
        assert!(receiver.next().is_none());
        assert!(receiver.metadata(&framed(1, 3, &batch(&[8]))).is_err());
        assert!(receiver.metadata(&framed(0, 3, &[])).is_err());
    }
}

#[test]
fn a_body_whose_metadata_never_came_is_a_gap_at_the_end() {
    let mut receiver = started();
    feed(&mut receiver, packed(1, 8)).unwrap();
    assert!(matches!(receiver.metadata(&framed(0, 1, &[])), Err(ProtocolError::Gap { expected: 1, .. })));
}

#[test]
fn the_schema_is_first_and_there_is_one() {
    assert!(receiver().metadata(&framed(1, 0, &batch(&[8]))).is_err());
    assert!(receiver().metadata(&framed(1, 1, &schema())).is_err());
    assert!(started().metadata(&framed(1, 1, &schema())).is_err());
}

#[test]
fn numbers_go_on_after_the_wrap() {
    let mut receiver = started();
    receiver.window = Window::starting_at(Serial(u32::MAX));
    for serial in [u32::MAX, 0, 1] {
        receiver.metadata(&framed(1, serial, &batch(&[8]))).unwrap();
        feed(&mut receiver, packed(serial, 8)).unwrap();
    }
    for expected in [u32::MAX, 0, 1] {
        assert!(matches!(receiver.next(), Some(Event::Batch { serial, .. }) if serial.0 == expected));
    }
    receiver.metadata(&framed(0, 2, &[])).unwrap();
    assert!(matches!(receiver.next(), Some(Event::End)));
}

#[test]
fn what_is_pending_is_bounded() {
    let mut receiver = Receiver::new(ReceiverConfig {
        limits: Limits {
            max_pending_messages: 4,
            max_pending_bytes: 24,
            max_body: 16,
            max_pairs: 2,
            ..Limits::default()
        },
        ..ReceiverConfig::default()
    });
    let mut refused = |body, code| {
        assert_eq!(feed(&mut receiver, body).unwrap_err().code(), code);
    };
    refused(packed(4, 1), "ERR_LIMIT");
    refused(packed(u32::MAX, 1), "ERR_PROTOCOL");
    refused(packed(0, 17), "ERR_LIMIT");
    refused(pairs_body(0, &[(1, 17)]), "ERR_LIMIT");
    refused(pairs_body(0, &[(1, 1); 3]), "ERR_LIMIT");
    feed(&mut receiver, packed(1, 16)).unwrap();
    assert!(feed(&mut receiver, packed(2, 9)).is_err());
    feed(&mut receiver, packed(2, 8)).unwrap();
    receiver.metadata(&framed(1, 0, &schema())).unwrap();
    for serial in 1..4 {
        receiver.metadata(&framed(1, serial, &batch(&[4]))).unwrap();
    }
    assert!(matches!(receiver.metadata(&framed(1, 4, &batch(&[8]))), Err(ProtocolError::BeyondWindow { .. })));
}

#[test]
fn a_packed_body_shorter_than_its_header_says_is_refused() {
    let mut receiver = started();
    receiver.metadata(&framed(1, 1, &batch(&[9]))).unwrap();
    assert!(feed(&mut receiver, packed(1, 15)).is_err());
    let mut receiver = started();
    feed(&mut receiver, packed(1, 15)).unwrap();
    assert!(receiver.metadata(&framed(1, 1, &batch(&[9]))).is_err());
}

#[test]
fn pairs_are_read_one_per_buffer_one_per_filled_buffer_or_one_for_all() {
    let header = header(&[0, 4, 0, 24]);
    let expected = vec![None, Some((0x1000, 4)), None, Some((0x1008, 24))];
    let spans = |list: &[(u64, u64)]| {
        let pairs = list.iter().map(|(address, length)| Pair { address: *address, length: *length }).collect();
        ReceivedBody::Pairs { total: 0, pairs }.spans(&header)
    };
    assert_eq!(spans(&[(0, 0), (0x1000, 4), (0, 0), (0x1008, 24)]), Ok(expected.clone()));
    assert_eq!(spans(&[(0x1000, 64), (0x1008, 24)]), Ok(expected.clone()));
    assert_eq!(spans(&[(0x1000, 32)]), Ok(expected));
    assert!(spans(&[(0x1000, 31)]).is_err(), "shorter than bodyLength");
    assert!(spans(&[(0x1000, 3), (0x1008, 24)]).is_err(), "shorter than its buffer");
    assert!(spans(&[(0, 0), (0x1000, 4), (0x1008, 24)]).is_err(), "no reading fits");
    assert!(spans(&[]).is_err());
    assert!(spans(&[(u64::MAX, 32)]).is_err(), "a range that overflows");
}

#[test]
fn each_delivered_address_goes_back_once_and_frees_are_coalesced() {
    let mut receiver = started();
    for serial in 1..3 {
        receiver.metadata(&framed(1, serial, &batch(&[0, 8]))).unwrap();
        feed(&mut receiver, pairs_body(serial, &[(0, 0), (0x40, 8)])).unwrap();
        assert!(receiver.next().is_some());
    }
    assert_eq!(receiver.held(), 2);
    receiver.free(&[0, 0x40]);
    receiver.free(&[0x40]);
    receiver.free(&[0x40, 0x99]);
    assert_eq!((receiver.pending_free(), receiver.held()), (2, 0));
    let mut wire = Wire::default();
    assert!(receiver.flush(&mut wire));
    let mut expected = vec![];
    free::encode_into(&[0x40, 0x40], &mut expected);
    assert_eq!(wire.tagged, [(FREE, expected)]);
    assert!(!receiver.flush(&mut wire));
}

#[test]
fn a_credit_goes_out_only_when_frees_do_not_say_as_much() {
    let mut receiver = started();
    for serial in 1..3 {
        receiver.metadata(&framed(1, serial, &batch(&[8]))).unwrap();
        feed(&mut receiver, pairs_body(serial, &[(u64::from(serial), 8)])).unwrap();
        receiver.next().unwrap();
        receiver.consumed(8);
    }
    receiver.free(&[1, 2]);
    let mut wire = Wire::default();
    assert!(receiver.flush(&mut wire));
    assert_eq!(wire.tagged.len(), 1, "both were freed: no credit");
    receiver.consumed(5);
    assert!(receiver.flush(&mut wire));
    assert_eq!(wire.tagged[1], (EXT, 21u64.to_le_bytes().to_vec()));
    assert!(!receiver.flush(&mut wire));
    receiver.heartbeat(&mut wire);
    assert_eq!(wire.tagged[2], wire.tagged[1], "a heartbeat repeats the last credit");
    receiver.cancel(&mut wire);
    assert_eq!(wire.tagged[3], (EXT, vec![]));
}

#[test]
fn a_failure_comes_after_what_is_complete_and_returns_what_is_not() {
    let mut receiver = started();
    receiver.metadata(&framed(1, 1, &batch(&[8]))).unwrap();
    receiver.metadata(&framed(1, 2, &batch(&[8]))).unwrap();
    feed(&mut receiver, pairs_body(1, &[(0x40, 8)])).unwrap();
    feed(&mut receiver, pairs_body(3, &[(0x80, 8)])).unwrap();
    receiver.metadata(&framed(0xe1, 3, &[])).unwrap();
    receiver.metadata(&framed(0xe0, 3, b"ERR_X: it broke: badly")).unwrap();
    assert!(matches!(receiver.next(), Some(Event::Heartbeat)));
    assert!(matches!(receiver.next(), Some(Event::Batch { .. })));
    let Some(Event::Error { code, message }) = receiver.next() else { panic!("no error") };
    assert_eq!((&*code, &*message), ("ERR_X", "it broke: badly"));
    assert!(receiver.next().is_none());
    assert_eq!(receiver.pending_free(), 1, "0x80 was never shown to anybody");
    feed(&mut receiver, pairs_body(2, &[(0xc0, 8)])).unwrap();
    assert_eq!(receiver.pending_free(), 2, "nor was what comes later");
}

#[test]
fn a_notice_stands_between_the_messages_where_it_was_said() {
    let mut receiver = started();
    receiver.metadata(&framed(0xe2, 1, b"dropped=1")).unwrap();
    receiver.metadata(&framed(1, 1, &batch(&[8]))).unwrap();
    receiver.metadata(&framed(0xe2, 2, b"dropped=2")).unwrap();
    receiver.metadata(&framed(1, 2, &batch(&[8]))).unwrap();
    receiver.metadata(&framed(0xe2, 3, b"dropped=3")).unwrap();
    receiver.metadata(&framed(0, 3, &[])).unwrap();
    let dropped = |event: Option<Event>| match event {
        Some(Event::Notice(fields)) => fields.number("dropped").unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(dropped(receiver.next()), Some(1));
    assert!(receiver.next().is_none(), "the body of what comes next is not there yet");
    feed(&mut receiver, pairs_body(2, &[(0x80, 8)])).unwrap();
    feed(&mut receiver, pairs_body(1, &[(0x40, 8)])).unwrap();
    assert!(matches!(receiver.next(), Some(Event::Batch { .. })));
    assert_eq!(dropped(receiver.next()), Some(2));
    assert!(matches!(receiver.next(), Some(Event::Batch { .. })));
    assert_eq!(dropped(receiver.next()), Some(3));
    assert!(matches!(receiver.next(), Some(Event::End)));
    assert!(started().metadata(&framed(0xe2, 1, b"no pair")).is_err());
}

#[test]
fn extension_messages_need_the_extension() {
    let mut receiver = Receiver::new(ReceiverConfig::default());
    receiver.metadata(&framed(1, 0, &schema())).unwrap();
    assert!(receiver.metadata(&framed(0xe0, 1, b"E: x")).is_err());
    assert!(receiver.metadata(&framed(0xe1, 1, &[])).is_err());
    assert!(receiver.metadata(&framed(0xe2, 1, b"a=1")).is_err());
    receiver.consumed(1);
    let mut wire = Wire::default();
    receiver.cancel(&mut wire);
    receiver.heartbeat(&mut wire);
    assert!(!receiver.flush(&mut wire) && wire.tagged.is_empty());
}
