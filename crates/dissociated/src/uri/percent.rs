//! Percent-encoding.

use std::fmt::{Formatter, Result, Write};

/// What stays as it is in a path, besides letters and digits.
pub(super) const PATH: &[u8] = b"-._~/!$&'()*+,;=:@";
/// What stays as it is in a parameter, besides letters and digits. '+' does not: it is read as a space.
pub(super) const QUERY: &[u8] = b"-._~/:@!$*(),";

pub(super) fn encode(text: &str, plain: &[u8], f: &mut Formatter<'_>) -> Result {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            f.write_char(char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

/// None when the bytes are not UTF-8. A '%' that starts no escape stands for itself.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).ok()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}
