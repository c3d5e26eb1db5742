use arrow_flight::{FlightData, FlightDescriptor};
use prost::Message as _;

use super::*;

/// As gRPC sends it.
fn framed(encoded: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&(encoded.len() as u32).to_be_bytes());
    bytes.extend_from_slice(encoded);
    bytes
}

fn read_in_chunks(bytes: &[u8], size: usize, limits: MessageLimits) -> Result<Vec<Message>, Malformed> {
    let mut decoder = Decoder::new(limits);
    let mut messages = Vec::new();
    for chunk in bytes.chunks(size) {
        let mut chunk = Bytes::copy_from_slice(chunk);
        while let Some(message) = decoder.take(&mut chunk)? {
            messages.push(message);
        }
    }
    if decoder.is_between_messages() { Ok(messages) } else { Err(Malformed::CutOff) }
}

fn sample() -> FlightData {
    FlightData::new()
        .with_descriptor(FlightDescriptor::new_path(vec!["name".into()]))
        .with_data_header(vec![1u8; 200])
        .with_app_metadata(vec![2u8; 3])
        .with_data_body((0..5000u32).map(|n| n as u8).collect::<Vec<_>>())
}

#[test]
fn messages_of_the_generated_code_are_read_in_chunks_of_any_size() {
    let data = sample();
    let mut bytes = framed(&data.encode_to_vec());
    bytes.extend(framed(&[]));
    bytes.extend(framed(&data.encode_to_vec()));
    for size in [1, 2, 3, 7, 64, 4096, bytes.len()] {
        let messages = read_in_chunks(&bytes, size, MessageLimits::default()).unwrap();
        assert_eq!(messages.len(), 3);
        for read in [&messages[0], &messages[2]] {
            assert_eq!(&read.header[..], &data.data_header[..]);
            assert_eq!(&read.body[..], &data.data_body[..]);
            assert_eq!(read.body.as_ptr() as usize % 64, 0);
            assert_eq!(read.app_metadata, data.app_metadata);
            assert_eq!(FlightDescriptor::decode(&read.first[..]).ok(), data.flight_descriptor);
        }
        assert!(messages[1].header.is_empty() && messages[1].body.is_empty());
    }
}

#[test]
fn fields_that_nobody_knows_are_passed_over() {
    let mut encoded = vec![];
    for (tag, wire, payload) in
        [(9u32, 0u8, &[0xFF, 0x01][..]), (10, 1, &[0; 8]), (11, 5, &[0; 4]), (12, 2, &[3, 1, 2, 3])]
    {
        encoded.push((tag << 3) as u8 | wire);
        encoded.extend_from_slice(payload);
    }
    encoded.extend(sample().encode_to_vec());
    for size in [1, 5, encoded.len() + 5] {
        let messages = read_in_chunks(&framed(&encoded), size, MessageLimits::default()).unwrap();
        assert_eq!(messages[0].body.len(), 5000);
    }
}

#[test]
fn a_length_that_is_announced_takes_no_memory_beyond_what_is_trusted() {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&(MAX_MESSAGE as u32).to_be_bytes());
    prost::encoding::encode_key(field::BODY, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(MAX_MESSAGE as u64 - 100, &mut bytes);
    let mut decoder = Decoder::new(MessageLimits::default());
    assert!(decoder.take(&mut Bytes::from(bytes)).unwrap().is_none());
    let State::Payload { into, .. } = &decoder.state else { panic!("not in the body") };
    assert!(into.capacity() <= TRUSTED);
}

#[test]
fn what_is_too_long_is_refused_before_it_arrives() {
    let limits = MessageLimits { message: 10_000, metadata: 100 };
    let whole = framed(&sample().encode_to_vec());
    let error = read_in_chunks(&whole, 64, limits).unwrap_err();
    assert!(matches!(error, Malformed::TooLong { what: "a header", length: 200, limit: 100 }), "{error}");
    let limits = MessageLimits { message: 1000, metadata: 1000 };
    let error = read_in_chunks(&whole[..PREFIX], 64, limits).unwrap_err();
    assert!(matches!(error, Malformed::TooLong { what: "a message", .. }), "{error}");
}

#[test]
fn what_is_no_message_is_an_error() {
    let body_of = |length: u8| framed(&[0xC2, 0x3E, length, 1, 2]);
    for bytes in [
        vec![1, 0, 0, 0, 0],
        framed(&[0x00]),
        framed(&[0x0B]),
        framed(&[0xFF; 11]),
        body_of(100),
        framed(&[0x12]),
        framed(&[0x09, 1]),
    ] {
        for size in [1, 100] {
            assert!(read_in_chunks(&bytes, size, MessageLimits::default()).is_err(), "{bytes:?}");
        }
    }
    assert_eq!(
        read_in_chunks(&framed(&sample().encode_to_vec())[..300], 100, MessageLimits::default()).unwrap_err(),
        Malformed::CutOff
    );
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), size in 1usize..50) {
        let _ = read_in_chunks(&framed(&bytes), size, MessageLimits::default());
        let _ = read_in_chunks(&bytes, size, MessageLimits::default());
    }

    #[test]
    fn a_changed_byte_never_panics(at in 0usize..5000, to in proptest::num::u8::ANY, size in 1usize..500) {
        let mut bytes = framed(&sample().encode_to_vec());
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = read_in_chunks(&bytes, size, MessageLimits::default());
    }
}
