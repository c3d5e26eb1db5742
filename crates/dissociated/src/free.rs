//! `free_data` bodies: one or more `u64` addresses, little-endian.

use crate::{ProtocolError, Result};

/// Appends addresses.
pub fn encode_into(addresses: &[u64], out: &mut Vec<u8>) {
    out.reserve(addresses.len() * 8);
    for address in addresses {
        out.extend_from_slice(&address.to_le_bytes());
    }
}

/// Reads a body; an error when it is empty or not a whole number of addresses.
pub fn decode(bytes: &[u8]) -> Result<impl Iterator<Item = u64> + '_> {
    let (addresses, rest) = bytes.as_chunks::<8>();
    if addresses.is_empty() || !rest.is_empty() {
        return Err(ProtocolError::Length {
            what: "free_data",
            expected: (bytes.len().next_multiple_of(8) as u64).max(8),
            got: bytes.len() as u64,
        });
    }
    Ok(addresses.iter().map(|a| u64::from_le_bytes(*a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_little_endian_and_nothing_else() {
        let mut out = vec![];
        encode_into(&[0x0102, u64::MAX], &mut out);
        assert_eq!(out[..8], [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decode(&out).unwrap().collect::<Vec<_>>(), [0x0102, u64::MAX]);
    }

    #[test]
    fn an_empty_or_torn_body_is_refused() {
        assert!(decode(&[]).is_err());
        assert!(decode(&[0; 7]).is_err());
        assert!(decode(&[0; 12]).is_err());
    }
}
