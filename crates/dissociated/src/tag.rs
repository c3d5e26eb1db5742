//! The 64-bit tag of a body: bits 0–31 the serial, 32–55 zero, 56–63 the body type.

use crate::{ProtocolError, Result, Serial};

/// How the buffers of a body travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BodyType {
    /// The bytes themselves, each buffer padded to 8.
    Packed = 0,
    /// Addresses (or offsets) and lengths, read in place and freed afterwards.
    Pairs = 1,
}

/// Reads and writes the tags of data messages.
///
/// The body type is at bit 56: the specification's text and its example's mask say so, though two diagrams say 55.
///
/// ```
/// use arrowlane_dissociated::{BodyType, DataTag, Serial};
/// let tag = DataTag::encode(Serial(7), BodyType::Pairs);
/// assert_eq!(tag, 0x0100_0000_0000_0007);
/// assert_eq!(DataTag::decode(tag).unwrap(), (Serial(7), BodyType::Pairs));
/// ```
pub struct DataTag;

impl DataTag {
    /// The bits a plain client matches a body on.
    pub const SERIAL_MASK: u64 = 0x0000_0000_ffff_ffff;
    const RESERVED: u64 = 0x00ff_ffff_0000_0000;
    const TYPE_SHIFT: u32 = 56;

    /// The tag of the body of message `serial`.
    #[must_use]
    pub const fn encode(serial: Serial, body: BodyType) -> u64 {
        ((body as u64) << Self::TYPE_SHIFT) | serial.0 as u64
    }

    /// Reads a tag; an error when the reserved bits are set or the body type is unknown.
    pub fn decode(tag: u64) -> Result<(Serial, BodyType)> {
        let body = match tag >> Self::TYPE_SHIFT {
            0 => BodyType::Packed,
            1 => BodyType::Pairs,
            _ => return Err(ProtocolError::UnknownTag(tag)),
        };
        if tag & Self::RESERVED != 0 {
            return Err(ProtocolError::UnknownTag(tag));
        }
        Ok((Serial((tag & Self::SERIAL_MASK) as u32), body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_serial_below_and_the_body_type_in_the_top_byte() {
        assert_eq!(DataTag::encode(Serial(u32::MAX), BodyType::Packed), 0xffff_ffff);
        assert_eq!(DataTag::encode(Serial(0x0102_0304), BodyType::Pairs), 0x0100_0000_0102_0304);
    }

    #[test]
    fn reserved_bits_and_unknown_types_are_refused() {
        for bit in 32..56 {
            assert!(DataTag::decode(1 << bit).is_err(), "bit {bit}");
        }
        assert!(DataTag::decode(2 << 56).is_err());
        assert!(DataTag::decode(u64::MAX).is_err());
    }
}
