//! Type-1 bodies: `u64 total | u64 count | count × (u64 address, u64 length)`, little-endian.

use crate::{Limits, ProtocolError, Result};

const HEAD: usize = 16;
const PAIR: usize = 16;

/// One buffer that the receiver reads in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Pair {
    /// Address or offset, as the connection's transport defines it; 0 for an empty buffer.
    pub address: u64,
    /// Bytes; a pair of length 0 is never freed.
    pub length: u64,
}

/// Appends a body. `total` is the sum of the lengths.
pub fn encode_into(total: u64, pairs: &[Pair], out: &mut Vec<u8>) {
    out.reserve(HEAD + pairs.len() * PAIR);
    out.extend_from_slice(&total.to_le_bytes());
    out.extend_from_slice(&(pairs.len() as u64).to_le_bytes());
    for pair in pairs {
        out.extend_from_slice(&pair.address.to_le_bytes());
        out.extend_from_slice(&pair.length.to_le_bytes());
    }
}

/// Reads a body of at most `max` pairs: the sender's total (advice, never an allocation size) and the pairs.
///
/// The count must account for every byte. The lengths together must fit a `u64`.
pub fn decode(bytes: &[u8], max: usize) -> Result<(u64, Vec<Pair>)> {
    let wrong = |expected: u64| ProtocolError::Length { what: "body of addresses", expected, got: bytes.len() as u64 };
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or_else(|| wrong(HEAD as u64))?;
    let (total, count) = two(head);
    Limits::check("number of pairs of a body", count, max as u64)?;
    let expected = count.saturating_mul(PAIR as u64);
    if rest.len() as u64 != expected {
        return Err(wrong(expected.saturating_add(HEAD as u64)));
    }
    let mut sum = 0u64;
    let mut pairs = Vec::with_capacity(rest.len() / PAIR);
    for chunk in rest.as_chunks::<PAIR>().0 {
        let (address, length) = two(chunk);
        sum =
            sum.checked_add(length).ok_or_else(|| ProtocolError::malformed("body of addresses", "lengths overflow"))?;
        pairs.push(Pair { address, length });
    }
    Ok((total, pairs))
}

fn two(bytes: &[u8; 16]) -> (u64, u64) {
    // One 16-byte load, split: the low half comes first in little-endian order.
    let both = u128::from_le_bytes(*bytes);
    (both as u64, (both >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_body_is_encoded_to_the_byte() {
        let mut out = vec![];
        let pairs = [Pair { address: 0x0102, length: 3 }, Pair::default()];
        encode_into(3, &pairs, &mut out);
        let mut expected = vec![0u8; 48];
        expected[0] = 3;
        expected[8] = 2;
        expected[16] = 2;
        expected[17] = 1;
        expected[24] = 3;
        assert_eq!(out, expected);
        assert_eq!(decode(&out, 2).unwrap(), (3, pairs.to_vec()));
        assert!(matches!(decode(&out, 1), Err(ProtocolError::Limit { .. })));
    }

    #[test]
    fn a_count_that_lies_is_refused() {
        let mut out = vec![];
        encode_into(0, &[Pair::default()], &mut out);
        for count in [0u64, 2, u64::MAX, u64::MAX / 16 + 1] {
            let mut lie = out.clone();
            lie[8..16].copy_from_slice(&count.to_le_bytes());
            assert!(decode(&lie, usize::MAX).is_err(), "{count}");
        }
        assert!(decode(&out[..31], 9).is_err());
        assert!(decode(&out[..7], 9).is_err());
    }

    #[test]
    fn lengths_that_overflow_are_refused() {
        let mut out = vec![];
        let half = Pair { address: 1, length: u64::MAX };
        encode_into(0, &[half, half], &mut out);
        assert!(decode(&out, 9).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok((total, pairs)) = decode(&bytes, 100) {
                let mut out = vec![];
                encode_into(total, &pairs, &mut out);
                prop_assert_eq!(out, bytes);
            }
        }
    }
}
