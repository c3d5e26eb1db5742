//! What a peer can make a receiver hold, and metadata that overtakes metadata.

use super::*;

fn unordered(limits: Limits) -> Receiver {
    let mut receiver = receiver();
    receiver.config = ReceiverConfig { limits, unordered: true, ..receiver.config };
    receiver
}

#[test]
fn headers_and_addresses_that_wait_are_bounded_and_one_of_any_size_is_not() {
    let limits = Limits { max_pending_metadata: 2000, ..Limits::default() };
    let long = encode_batch(&header(&[8]), &[("k".into(), "v".repeat(5000))]);
    let mut receiver = unordered(limits);
    receiver.metadata(&framed(1, 5, &long)).unwrap();
    let error = receiver.metadata(&framed(1, 6, &batch(&[8]))).unwrap_err();
    assert!(matches!(error, ProtocolError::Limit { limit: 2000, .. }), "{error}");

    let mut receiver = unordered(limits);
    let refused = (1..20).find(|serial| receiver.metadata(&framed(1, *serial, &batch(&[8]))).is_err());
    assert_eq!(refused, Some(7), "each takes 288 bytes");
    let mut receiver = unordered(limits);
    let refused = (1..20).find(|serial| feed(&mut receiver, pairs_body(*serial, &[(1, 8); 20])).is_err());
    assert_eq!(refused, Some(6), "each takes 384 bytes");
}

#[test]
fn what_was_delivered_makes_room_again() {
    let limits = Limits { max_pending_metadata: 2000, ..Limits::default() };
    let mut receiver = started();
    receiver.config.limits = limits;
    for serial in 1..500 {
        receiver.metadata(&framed(1, serial, &batch(&[8]))).unwrap();
        feed(&mut receiver, pairs_body(serial, &[(64, 8)])).unwrap();
        assert!(matches!(receiver.next(), Some(Event::Batch { .. })));
        receiver.free(&[64]);
    }
    assert_eq!((receiver.pending(), receiver.held()), (0, 0));
}

#[test]
fn metadata_that_is_beyond_the_window_or_behind_it_is_refused_though_it_may_overtake() {
    let mut receiver = unordered(Limits { max_pending_messages: 4, ..Limits::default() });
    let refused = receiver.metadata(&framed(1, 4, &batch(&[8]))).unwrap_err();
    assert!(matches!(refused, ProtocolError::BeyondWindow { window: 4, .. }), "{refused}");
    receiver.metadata(&framed(1, 3, &batch(&[0]))).unwrap();
    receiver.metadata(&framed(1, 1, &batch(&[0]))).unwrap();
    assert!(receiver.next().is_none());
    assert_eq!((receiver.pending(), receiver.missing()), (4, Some(ProtocolError::Gap { expected: 0, got: 1 })));
    receiver.metadata(&framed(1, 0, &schema())).unwrap();
    assert!(matches!(receiver.next(), Some(Event::Schema(..))));
    assert!(matches!(receiver.next(), Some(Event::Batch { serial: Serial(1), .. })));
    assert_eq!(receiver.missing(), Some(ProtocolError::Gap { expected: 2, got: 3 }));
    for (serial, before) in [(1, "delivered"), (3, "in its place")] {
        let refused = receiver.metadata(&framed(1, serial, &batch(&[0]))).unwrap_err();
        assert!(matches!(refused, ProtocolError::Duplicate { .. }), "{before}: {refused}");
    }
    let refused = receiver.metadata(&framed(1, 2, &schema())).unwrap_err();
    assert!(matches!(refused, ProtocolError::SchemaPlace { .. }), "{refused}");
}

#[test]
fn a_schema_that_is_overtaken_is_still_number_0_and_nothing_else_is() {
    let refused = unordered(Limits::default()).metadata(&framed(1, 1, &schema())).unwrap_err();
    assert!(matches!(refused, ProtocolError::SchemaPlace { serial: 1, .. }), "{refused}");
    let refused = unordered(Limits::default()).metadata(&framed(1, 0, &batch(&[8]))).unwrap_err();
    assert!(matches!(refused, ProtocolError::SchemaPlace { serial: 0, .. }), "{refused}");
}

#[test]
fn an_end_that_overtakes_waits_for_what_it_overtook_and_takes_nothing_behind_it() {
    // The next unused number, and the last used one of what came.
    for number in [4, 2] {
        let mut receiver = unordered(Limits::default());
        receiver.metadata(&framed(1, 2, &batch(&[0]))).unwrap();
        feed(&mut receiver, packed(3, 8)).unwrap();
        receiver.metadata(&framed(0, number, &[])).unwrap();
        assert!(receiver.metadata(&framed(1, 4, &batch(&[0]))).is_err());
        assert!(feed(&mut receiver, packed(4, 8)).is_err());
        assert!(receiver.metadata(&framed(0, number, &[])).is_err(), "and not twice");
        for (serial, payload) in [(3, batch(&[8])), (1, batch(&[0])), (0, schema())] {
            assert!(receiver.next().is_none());
            assert!(matches!(receiver.missing(), Some(ProtocolError::Gap { expected: 0, .. })));
            receiver.metadata(&framed(1, serial, &payload)).unwrap();
        }
        for _ in 0..4 {
            assert!(matches!(receiver.next(), Some(Event::Schema(..) | Event::Batch { .. })));
        }
        assert!(matches!(receiver.next(), Some(Event::End)));
    }
    let mut receiver = unordered(Limits { max_pending_messages: 4, ..Limits::default() });
    let gap = receiver.metadata(&framed(0, 5, &[])).unwrap_err();
    assert_eq!(gap, ProtocolError::Gap { expected: 0, got: 5 }, "so many cannot be on their way");
    assert!(gap.to_string().contains("messages 0 to 4 never came, and 5 did"), "{gap}");
}

#[test]
fn notices_that_overtake_stand_where_their_numbers_say() {
    let mut receiver = unordered(Limits::default());
    receiver.metadata(&framed(0xe2, 3, b"at=3")).unwrap();
    receiver.metadata(&framed(0xe2, 1, b"at=1")).unwrap();
    receiver.metadata(&framed(0xe2, 1, b"at=2")).unwrap();
    receiver.metadata(&framed(1, 2, &batch(&[0]))).unwrap();
    receiver.metadata(&framed(1, 1, &batch(&[0]))).unwrap();
    receiver.metadata(&framed(1, 0, &schema())).unwrap();
    let mut told = vec![];
    while let Some(event) = receiver.next() {
        told.push(match event {
            Event::Notice(fields) => fields.as_str().to_owned(),
            Event::Batch { serial, .. } => serial.0.to_string(),
            _ => "schema".into(),
        });
    }
    assert_eq!(told, ["schema", "at=1", "at=2", "1", "2", "at=3"]);
    // One that its place has passed comes at once, and none is kept for ever.
    receiver.metadata(&framed(0xe2, 1, b"late=1")).unwrap();
    assert!(matches!(receiver.next(), Some(Event::Notice(_))));
}

#[test]
fn nothing_is_missing_of_a_stream_of_which_nothing_shows_that_there_was_more() {
    let mut receiver = started();
    assert_eq!(receiver.missing(), None);
    receiver.metadata(&framed(1, 1, &batch(&[8]))).unwrap();
    let missing = receiver.missing().unwrap();
    assert_eq!((missing.code(), &missing), ("ERR_GAP", &ProtocolError::BodyMissing { serial: 1 }));
    feed(&mut receiver, packed(1, 8)).unwrap();
    receiver.next().unwrap();
    assert_eq!(receiver.missing(), None);
    receiver.metadata(&framed(0xe0, 2, b"E: x")).unwrap();
    assert_eq!(receiver.missing(), None, "an error says enough");
}

#[test]
fn what_is_left_out_is_known_by_the_end_alone() {
    let mut receiver = started();
    receiver.metadata(&framed(1, 1, &batch(&[8]))).unwrap();
    assert_eq!((receiver.missing().is_some(), receiver.left_out()), (true, None), "the sender may have died");
    receiver.metadata(&framed(0, 2, b"")).unwrap();
    assert_eq!(receiver.left_out(), Some(ProtocolError::BodyMissing { serial: 1 }));
    feed(&mut receiver, packed(1, 8)).unwrap();
    receiver.next().unwrap();
    assert_eq!(receiver.left_out(), None);
    assert!(matches!(receiver.next(), Some(Event::End)));
}
