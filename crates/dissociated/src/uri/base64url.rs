//! Base64: written in the URL alphabet without padding, read in both alphabets, padded or not.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for digit in 0..=chunk.len() {
            let six = (word >> (18 - 6 * digit)) & 63;
            out.push(char::from(ALPHABET[six as usize]));
        }
    }
    out
}

/// None when it is not base64. Bits beyond the last whole byte are ignored, as writers differ on them.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    if text.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        let mut word = 0;
        for (at, byte) in chunk.iter().enumerate() {
            word |= u32::from(six_bits(*byte)?) << (18 - 6 * at);
        }
        out.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}

fn six_bits(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        // A bare '+' in a query was read as a space.
        b'-' | b'+' | b' ' => 62,
        b'_' | b'/' => 63,
        _ => return None,
    })
}
