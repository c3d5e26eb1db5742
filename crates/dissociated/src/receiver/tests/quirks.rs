//! What other implementations do, above all the C++ example, and what the protocol leaves open.

use super::*;

fn plain() -> Receiver {
    Receiver::new(ReceiverConfig { free_tag: Some(FREE), ..ReceiverConfig::default() })
}

fn rows(receiver: &mut Receiver) -> Vec<u32> {
    let mut all = vec![];
    while let Some(event) = receiver.next() {
        match event {
            Event::Batch { serial, .. } => all.push(serial.0),
            Event::Schema(..) | Event::End => {}
            other => panic!("{other:?}"),
        }
    }
    all
}

#[test]
fn an_empty_body_for_a_message_without_bytes_is_read_over_of_either_type_and_however_late() {
    const MANY: u32 = 3000;
    let mut receiver = plain();
    receiver.metadata(&framed(1, 0, &schema())).unwrap();
    for serial in 1..=MANY {
        receiver.metadata(&framed(1, serial, &batch(&[0]))).unwrap();
        // In order, as a client that waits for no body hands them out at once.
        assert!(receiver.next().is_some());
    }
    while receiver.next().is_some() {}
    for serial in 0..=MANY {
        let kind = u64::from(serial % 2) << 56;
        receiver.tagged(kind | u64::from(serial), Bytes::new()).unwrap();
    }
    receiver.metadata(&framed(0, MANY + 1, &[])).unwrap();
    assert!(matches!(receiver.next(), Some(Event::End)));
    assert_eq!(receiver.bodyless.len(), 0, "and each is forgotten when its body came");
}

#[test]
fn an_empty_body_of_a_message_that_has_bytes_is_refused_of_either_type() {
    for kind in [0, 1 << 56] {
        let mut receiver = started();
        receiver.metadata(&framed(1, 1, &batch(&[8]))).unwrap();
        assert!(matches!(
            receiver.tagged(kind | 1, Bytes::new()),
            Err(ProtocolError::Length { expected: 8, got: 0, .. })
        ));
    }
}

#[test]
fn all_metadata_may_come_before_any_body_and_all_bodies_before_any_metadata() {
    for bodies_first in [false, true] {
        let mut receiver = plain();
        let bodies = |receiver: &mut Receiver| {
            for serial in 1..=100 {
                feed(receiver, packed(serial, 8)).unwrap();
            }
        };
        if bodies_first {
            bodies(&mut receiver);
            assert!(receiver.next().is_none(), "not even the schema came");
        }
        receiver.metadata(&framed(1, 0, &schema())).unwrap();
        for serial in 1..=100 {
            receiver.metadata(&framed(1, serial, &batch(&[8]))).unwrap();
        }
        receiver.metadata(&framed(0, 101, &[])).unwrap();
        if !bodies_first {
            assert!(rows(&mut receiver).is_empty());
            bodies(&mut receiver);
        }
        assert_eq!(rows(&mut receiver), (1..=100).collect::<Vec<_>>(), "the end waits for the last body");
        assert_eq!((receiver.state == State::Over, receiver.pending()), (true, 0));
    }
}

#[test]
fn bytes_behind_a_flatbuffer_and_behind_a_body_are_not_looked_at() {
    let mut receiver = plain();
    receiver.metadata(&framed(1, 0, &[schema(), vec![0; 7]].concat())).unwrap();
    receiver.metadata(&framed(1, 1, &[batch(&[8]), vec![0; 3]].concat())).unwrap();
    feed(&mut receiver, packed(1, 64)).unwrap();
    assert_eq!(rows(&mut receiver), [1]);
}

#[test]
fn an_end_without_any_message_but_the_schema_is_an_end() {
    for number in [0, 1] {
        let mut receiver = plain();
        receiver.metadata(&framed(1, 0, &schema())).unwrap();
        receiver.metadata(&framed(0, number, &[])).unwrap();
        assert!(matches!(receiver.next(), Some(Event::Schema(..))));
        assert!(matches!(receiver.next(), Some(Event::End)));
    }
}

#[test]
fn a_pair_longer_than_its_buffer_is_freed_once_by_its_address() {
    let mut receiver = plain();
    receiver.metadata(&framed(1, 0, &schema())).unwrap();
    receiver.metadata(&framed(1, 1, &batch(&[8, 0]))).unwrap();
    feed(&mut receiver, pairs_body(1, &[(0x40, 4096)])).unwrap();
    receiver.next().unwrap();
    let Some(Event::Batch { header, body, .. }) = receiver.next() else { panic!("no batch") };
    assert_eq!(body.spans(&header), Ok(vec![Some((0x40, 8)), None]));
    receiver.free(&[0x40, 0x40]);
    assert_eq!((receiver.pending_free(), receiver.held()), (1, 0));
}
