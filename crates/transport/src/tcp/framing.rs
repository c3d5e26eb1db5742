//! Where messages begin and end on a connection (`docs/wire.md`, "TCP").
//!
//! Untagged: `FF FF FF FF | i32 length | message | zeros to a multiple of 8`, the encapsulated message format without
//! bodies. Tagged: `FE FF FF FF | u32 0 | u64 tag | u64 length | message | zeros to a multiple of 8`. Lengths are without the
//! zeros; all numbers are little-endian.

use crate::TransportError;

/// What an untagged message begins with.
pub(super) const UNTAGGED: [u8; 4] = [0xff; 4];
/// What a tagged message begins with. No length can be mistaken for it: it would be negative.
pub(super) const TAGGED: [u8; 4] = [0xfe, 0xff, 0xff, 0xff];
/// Every message takes a multiple of this.
pub(super) const ALIGN: usize = 8;

/// Length of an untagged message's header.
pub(super) const SHORT_HEADER: usize = 8;
/// Length of a tagged message's header.
pub(super) const LONG_HEADER: usize = 24;

/// A message's header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// So many bytes.
    Untagged(u64),
    /// The tag, and so many bytes.
    Tagged(u64, u64),
}

impl Header {
    /// The header that the bytes begin with, and how long it is; `None` while not all of it is there.
    ///
    /// # Errors
    /// [`TransportError::Framing`] as soon as it cannot be one.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, TransportError> {
        let Some((marker, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        match *marker {
            UNTAGGED => {
                let Some(length) = rest.first_chunk::<4>() else { return Ok(None) };
                let length = i32::from_le_bytes(*length);
                let length = u64::try_from(length)
                    .map_err(|_| TransportError::Framing(format!("a message of {length} bytes cannot be")))?;
                Ok(Some((Self::Untagged(length), SHORT_HEADER)))
            }
            TAGGED => {
                let Some((zero, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
                if *zero != [0; 4] {
                    return Err(TransportError::Framing("reserved bytes of a header are not zero".into()));
                }
                let Some((tag, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
                let Some(length) = rest.first_chunk::<8>() else { return Ok(None) };
                let header = Self::Tagged(u64::from_le_bytes(*tag), u64::from_le_bytes(*length));
                Ok(Some((header, LONG_HEADER)))
            }
            // A record of TLS: the beginning of one, or an alert that says that this is none.
            [0x14..=0x17, 0x03, ..] => Err(TransportError::Framing(
                "this looks like TLS, and the connection was made without it (tls=1)".into(),
            )),
            [a, b, c, d] => Err(TransportError::Framing(format!(
                "{a:02x} {b:02x} {c:02x} {d:02x} is not what a message begins with"
            ))),
        }
    }
}

/// The header of an untagged message. One that is too long for it is announced as the longest, which nobody takes.
pub(super) fn untagged(length: usize) -> [u8; SHORT_HEADER] {
    let mut header = [0xff; SHORT_HEADER];
    header[4..].copy_from_slice(&i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes());
    header
}

/// The header of a tagged message.
pub(super) fn tagged(tag: u64, length: usize) -> [u8; LONG_HEADER] {
    let mut header = [0; LONG_HEADER];
    header[..4].copy_from_slice(&TAGGED);
    header[8..16].copy_from_slice(&tag.to_le_bytes());
    header[16..].copy_from_slice(&(length as u64).to_le_bytes());
    header
}

/// The zeros behind a message of that length.
pub(super) fn padding(length: u64) -> &'static [u8] {
    &[0; ALIGN - 1][..(length.wrapping_neg() % ALIGN as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_as_written_and_every_cut_of_them_is_waited_for() {
        for (bytes, header) in [
            (untagged(5).to_vec(), Header::Untagged(5)),
            (untagged(usize::MAX).to_vec(), Header::Untagged(i32::MAX as u64)),
            (tagged(u64::MAX - 1, 1 << 33).to_vec(), Header::Tagged(u64::MAX - 1, 1 << 33)),
        ] {
            for cut in 0..bytes.len() {
                assert_eq!(Header::decode(&bytes[..cut]).expect("it can still become one"), None, "{cut}");
            }
            assert_eq!(Header::decode(&bytes).expect("valid"), Some((header, bytes.len())));
        }
        assert_eq!(untagged(5), [0xff, 0xff, 0xff, 0xff, 5, 0, 0, 0]);
    }

    #[test]
    fn padding_ends_at_a_multiple_of_eight() {
        for length in 0..64u64 {
            assert_eq!((length + padding(length).len() as u64) % 8, 0);
            assert!(padding(length).len() < 8);
        }
        assert_eq!(padding(u64::MAX).len(), 1);
    }

    #[test]
    fn what_no_message_begins_with_is_refused() {
        for bytes in [
            &[0, 0, 0, 0][..],
            &[0xff, 0xff, 0xff, 0xfe],
            &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0x80],
            &[0xfe, 0xff, 0xff, 0xff, 1, 0, 0, 0],
            b"GET ",
        ] {
            assert!(matches!(Header::decode(bytes), Err(TransportError::Framing(_))), "{bytes:x?}");
        }
        let tls = Header::decode(&[0x16, 0x03, 0x01, 0x02]).expect_err("refused");
        assert!(tls.to_string().contains("TLS"), "{tls}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: [u8; LONG_HEADER], marker in 0..3) {
            let mut bytes = bytes;
            match marker {
                0 => bytes[..4].copy_from_slice(&UNTAGGED),
                1 => bytes[..4].copy_from_slice(&TAGGED),
                _ => {}
            }
            match Header::decode(&bytes) {
                Ok(Some((Header::Untagged(length), _))) => assert_eq!(untagged(length as usize)[..], bytes[..SHORT_HEADER]),
                Ok(Some((Header::Tagged(tag, length), _))) => assert_eq!(tagged(tag, length as usize), bytes),
                Ok(None) => panic!("all of it is there"),
                Err(_) => {}
            }
        }
    }
}
