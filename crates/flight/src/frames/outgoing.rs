//! Messages on their way out, as pieces.

use std::collections::VecDeque;

use arrow_flight::FlightDescriptor;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::{MAX_MESSAGE, PREFIX, field};
use crate::Part;

/// Pieces up to this are copied together: each piece becomes an HTTP/2 frame of its own, with a system call's worth of work.
const SMALL: usize = 16 << 10;

/// A part as the pieces of one gRPC message, in order; large ones are the part's own memory.
///
/// # Errors
/// Says how long the message would be when that is more than a message can have.
pub(crate) fn frames_of(part: &Part, descriptor: Option<&FlightDescriptor>) -> Result<VecDeque<Bytes>, String> {
    let body = part.body_length();
    let descriptor = descriptor.map(FlightDescriptor::encode_to_vec).unwrap_or_default();
    let length = [
        (field::DESCRIPTOR, descriptor.len()),
        (field::HEADER, part.header.len()),
        (field::APP_METADATA, part.app_metadata.len()),
        (field::BODY, body),
    ]
    .into_iter()
    .filter(|(_, length)| *length > 0)
    .map(|(tag, length)| key_len(tag) + encoded_len_varint(length as u64) + length)
    .sum::<usize>();
    if length > MAX_MESSAGE {
        return Err(format!("a message of {length} bytes; gRPC carries at most {MAX_MESSAGE}. Use smaller batches"));
    }
    let mut gathered = Gathered::default();
    gathered.open.put_u8(0);
    gathered.open.put_u32(length as u32);
    gathered.field(field::DESCRIPTOR, descriptor.len(), [&Bytes::from(descriptor)]);
    gathered.field(field::HEADER, part.header.len(), [&part.header]);
    gathered.field(field::APP_METADATA, part.app_metadata.len(), [&part.app_metadata]);
    gathered.field(field::BODY, body, &part.body);
    gathered.close();
    Ok(gathered.pieces)
}

/// A `PutResult` as one gRPC message.
pub(crate) fn put_result(app_metadata: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX + app_metadata.len() + 8);
    let field = if app_metadata.is_empty() {
        0
    } else {
        key_len(field::DESCRIPTOR) + encoded_len_varint(app_metadata.len() as u64) + app_metadata.len()
    };
    bytes.put_u8(0);
    bytes.put_u32(field as u32);
    if !app_metadata.is_empty() {
        encode_key(field::DESCRIPTOR, WireType::LengthDelimited, &mut bytes);
        encode_varint(app_metadata.len() as u64, &mut bytes);
        bytes.put_slice(app_metadata);
    }
    bytes.freeze()
}

#[derive(Default)]
struct Gathered {
    pieces: VecDeque<Bytes>,
    /// Small things that are not a piece yet.
    open: BytesMut,
}

impl Gathered {
    fn field<'a>(&mut self, tag: u32, length: usize, pieces: impl IntoIterator<Item = &'a Bytes>) {
        if length == 0 {
            return;
        }
        encode_key(tag, WireType::LengthDelimited, &mut self.open);
        encode_varint(length as u64, &mut self.open);
        for piece in pieces {
            if piece.len() <= SMALL {
                self.open.put_slice(piece);
                if self.open.len() >= 4 * SMALL {
                    self.close();
                }
            } else {
                self.close();
                self.pieces.push_back(piece.clone());
            }
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.pieces.push_back(self.open.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_flight::FlightData;

    #[test]
    fn what_is_framed_here_is_what_the_generated_code_reads() {
        let large = Bytes::from(vec![7u8; SMALL + 1]);
        let part = Part {
            header: Bytes::from_static(b"header"),
            body: vec![Bytes::from_static(b"small"), large.clone(), Bytes::from_static(b"tail")],
            app_metadata: Bytes::from_static(b"app"),
        };
        let descriptor = FlightDescriptor::new_path(vec!["a".into(), "b".into()]);
        let pieces = frames_of(&part, Some(&descriptor)).unwrap();
        assert!(pieces.iter().any(|p| p.as_ptr() == large.as_ptr()), "the large piece was copied");
        let all = pieces.iter().flatten().copied().collect::<Vec<u8>>();
        assert_eq!(all[0], 0);
        assert_eq!(u32::from_be_bytes(all[1..5].try_into().unwrap()) as usize, all.len() - PREFIX);
        let read = FlightData::decode(&all[PREFIX..]).unwrap();
        assert_eq!(read.flight_descriptor, Some(descriptor));
        assert_eq!((&read.data_header[..], &read.app_metadata[..]), (&b"header"[..], &b"app"[..]));
        assert_eq!(read.data_body.len(), part.body_length());
        assert_eq!((&read.data_body[..5], &read.data_body[read.data_body.len() - 4..]), (&b"small"[..], &b"tail"[..]));
    }

    #[test]
    fn an_answer_to_a_put_is_what_the_generated_code_reads() {
        for metadata in [&b""[..], b"x", &[9; 300]] {
            let bytes = put_result(metadata);
            let read = arrow_flight::PutResult::decode(&bytes[PREFIX..]).unwrap();
            assert_eq!(&read.app_metadata[..], metadata);
        }
    }
}
