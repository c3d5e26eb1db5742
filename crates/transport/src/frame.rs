//! The framing of messages on a stream (`docs/wire.md`).
//!
//! Every message is a header of 16 bytes and a payload:
//! `u32 LE payload length | u8 kind | u8 0 | u16 0 | u64 LE tag`.

use arrowlane_memory::shared::Keepers;

use crate::TransportError;

/// Length of a frame's header in bytes.
pub const HEADER: usize = 16;

/// Longest payload that a peer may send: metadata and inline bodies have to fit; lent bodies do not travel.
pub const MAX_PAYLOAD: usize = 64 << 20;

/// Longest body that may follow a [`Kind::Body`] frame. Memory for it is taken as it arrives.
pub const MAX_BODY: u64 = 1 << 40;

/// Most descriptors that come with a publisher's frame: a segment, the connection's keeper and those that the segment came with.
pub const MAX_DESCRIPTORS: usize = 2 + Keepers::MOST;

/// Most descriptors of a subscriber's that may wait for their frame.
pub const MAX_REPLY_DESCRIPTORS: usize = 4;

/// Longest payload that a subscriber may send: a ticket, credits, and addresses that go back.
pub const MAX_REPLY: usize = 8 << 20;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Server to client, first: the server's URI in UTF-8.
    Greeting = 1,
    /// An untagged message.
    Metadata = 2,
    /// A tagged message; the tag is in the header.
    Tagged = 3,
    /// A segment is lent: tag = its number, payload = `u64 LE` length, and for whoever knows of keepers `u32 LE` 0 or 1, this
    /// connection's, and `u32 LE` how many others. Its descriptor and the keepers' travel with the first byte.
    Segment = 4,
    /// The segment (tag) was mapped.
    SegmentAcknowledged = 5,
    /// The segment (tag) will not be used any more.
    Retire = 6,
    /// The retired segment (tag) was unmapped; its number may be used again.
    Retired = 7,
    /// Client to server: a page to note returns in; one descriptor travels with the first byte.
    Returns = 8,
    /// A tagged message too long for a payload: payload = `u64 LE` length, and so many bytes follow the frame.
    Body = 9,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Greeting,
            2 => Self::Metadata,
            3 => Self::Tagged,
            4 => Self::Segment,
            5 => Self::SegmentAcknowledged,
            6 => Self::Retire,
            7 => Self::Retired,
            8 => Self::Returns,
            9 => Self::Body,
            _ => return None,
        })
    }
}

/// A frame's header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Length of the payload in bytes.
    pub length: usize,
    /// What the payload is.
    pub kind: Kind,
    /// The message's tag, or a segment's number.
    pub tag: u64,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&(self.length as u32).to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[8..].copy_from_slice(&self.tag.to_le_bytes());
        bytes
    }

    /// Reads a header and checks all of it.
    ///
    /// # Errors
    /// [`TransportError::Framing`] for an unknown kind, reserved bits that are set, or a payload over the limit.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self, TransportError> {
        let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let kind = Kind::from_byte(bytes[4])
            .ok_or_else(|| TransportError::Framing(format!("unknown frame kind {}", bytes[4])))?;
        if bytes[5..8] != [0, 0, 0] {
            return Err(TransportError::Framing("reserved header bytes are not zero".into()));
        }
        if length > MAX_PAYLOAD {
            return Err(TransportError::Framing(format!(
                "a frame of {length} bytes is over the limit of {MAX_PAYLOAD}"
            )));
        }
        let tag =
            u64::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]]);
        Ok(Self { length, kind, tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_written() {
        let header = Header { length: 0x01020304, kind: Kind::Tagged, tag: u64::MAX - 1 };
        let mut bytes = header.encode();
        assert_eq!(bytes, [4, 3, 2, 1, 3, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(Header::decode(&bytes).expect("valid"), header);
        bytes[6] = 1;
        assert!(Header::decode(&bytes).is_err(), "reserved bits are refused");
    }

    proptest::proptest! {
        #[test]
        fn any_sixteen_bytes_are_read_or_refused(bytes: [u8; HEADER]) {
            if let Ok(header) = Header::decode(&bytes) {
                assert!(header.length <= MAX_PAYLOAD);
                assert_eq!(header.encode(), bytes);
            }
        }
    }
}
