//! Metadata messages: `u8 type | u32 LE serial | payload`.

use crate::{ProtocolError, Result, Serial};

const END: u8 = 0;
const MESSAGE: u8 = 1;
const ERROR: u8 = 0xe0;
const HEARTBEAT: u8 = 0xe1;
const NOTICE: u8 = 0xe2;

/// Bytes before the payload.
pub(crate) const PREFIX: usize = 5;

/// One message of the metadata stream.
///
/// `Error`, `Heartbeat` and `Notice` are our extension: sent only to a client that declared it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata<'a> {
    /// A schema, dictionary or batch.
    Message {
        /// Its number.
        serial: Serial,
        /// A bare `Message` flatbuffer, at any alignment.
        flatbuffer: &'a [u8],
    },
    /// Nothing follows.
    EndOfStream {
        /// The next unused number; any that leaves no gap is accepted.
        serial: Serial,
    },
    /// The stream failed and ends here.
    Error {
        /// The next unused number.
        serial: Serial,
        /// A stable code; empty when the peer gave none.
        code: &'a str,
        /// A sentence for people.
        message: &'a str,
    },
    /// The sender is alive.
    Heartbeat {
        /// The next unused number.
        serial: Serial,
    },
    /// What the sender says about the stream itself, at this place of it.
    Notice {
        /// The next unused number.
        serial: Serial,
        /// Names and values; see [`Fields`](crate::Fields).
        text: &'a str,
    },
}

impl<'a> Metadata<'a> {
    /// Reads a message.
    pub fn decode(bytes: &'a [u8]) -> Result<Self> {
        let Some((&[kind, a, b, c, d], payload)) = bytes.split_first_chunk::<PREFIX>() else {
            return Err(ProtocolError::Length {
                what: "metadata message",
                expected: PREFIX as u64,
                got: bytes.len() as u64,
            });
        };
        let serial = Serial(u32::from_le_bytes([a, b, c, d]));
        let bare = |what| {
            if payload.is_empty() {
                Ok(())
            } else {
                Err(ProtocolError::Length { what, expected: PREFIX as u64, got: bytes.len() as u64 })
            }
        };
        match kind {
            MESSAGE if payload.is_empty() => Err(ProtocolError::Length {
                what: "metadata message without a flatbuffer",
                expected: PREFIX as u64 + 1,
                got: PREFIX as u64,
            }),
            MESSAGE => Ok(Self::Message { serial, flatbuffer: payload }),
            END => bare("end of stream").map(|()| Self::EndOfStream { serial }),
            HEARTBEAT => bare("heartbeat").map(|()| Self::Heartbeat { serial }),
            NOTICE => {
                let text =
                    std::str::from_utf8(payload).map_err(|e| ProtocolError::malformed("notice", e.to_string()))?;
                Ok(Self::Notice { serial, text })
            }
            ERROR => {
                let text = std::str::from_utf8(payload)
                    .map_err(|e| ProtocolError::malformed("error message", e.to_string()))?;
                let (code, message) = text.split_once(": ").unwrap_or(("", text));
                Ok(Self::Error { serial, code, message })
            }
            other => Err(ProtocolError::UnknownMetadataType(other)),
        }
    }

    /// Appends the message.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Message { serial, flatbuffer } => {
                out.extend_from_slice(&prefix(MESSAGE, serial));
                out.extend_from_slice(flatbuffer);
            }
            Self::EndOfStream { serial } => out.extend_from_slice(&prefix(END, serial)),
            Self::Heartbeat { serial } => out.extend_from_slice(&prefix(HEARTBEAT, serial)),
            Self::Notice { serial, text } => {
                out.extend_from_slice(&prefix(NOTICE, serial));
                out.extend_from_slice(text.as_bytes());
            }
            Self::Error { serial, code, message } => {
                out.extend_from_slice(&prefix(ERROR, serial));
                out.extend_from_slice(code.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(message.as_bytes());
            }
        }
    }
}

fn prefix(kind: u8, serial: Serial) -> [u8; PREFIX] {
    let [a, b, c, d] = serial.0.to_le_bytes();
    [kind, a, b, c, d]
}

/// The bytes before the flatbuffer, so that a sender need not copy the flatbuffer behind them.
pub(crate) fn message_prefix(serial: Serial) -> [u8; PREFIX] {
    prefix(MESSAGE, serial)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(message: Metadata<'_>) -> Vec<u8> {
        let mut out = vec![];
        message.encode_into(&mut out);
        out
    }

    #[test]
    fn messages_are_encoded_to_the_byte() {
        let serial = Serial(0x0102_0304);
        assert_eq!(encoded(Metadata::Message { serial, flatbuffer: &[9, 8] }), [1, 4, 3, 2, 1, 9, 8]);
        assert_eq!(encoded(Metadata::EndOfStream { serial }), [0, 4, 3, 2, 1], "end of stream is exactly 5 bytes");
        assert_eq!(encoded(Metadata::Error { serial, code: "E", message: "x: y" }), b"\xe0\x04\x03\x02\x01E: x: y");
        assert_eq!(encoded(Metadata::Heartbeat { serial }), [0xe1, 4, 3, 2, 1]);
        assert_eq!(encoded(Metadata::Notice { serial, text: "a=1" }), b"\xe2\x04\x03\x02\x01a=1");
    }

    #[test]
    fn wrong_lengths_and_types_are_refused() {
        for bytes in [
            &[][..],
            &[1, 0, 0, 0],
            &[1, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 0],
            &[0xe1, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0, 0, 1],
            &[0xe0, 0, 0, 0, 0, 0xff],
            &[0xe2, 0, 0, 0, 0, 0xff],
        ] {
            assert!(Metadata::decode(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_what_decodes_encodes_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(message) = Metadata::decode(&bytes)
                && !matches!(message, Metadata::Error { code: "", .. })
            {
                prop_assert_eq!(encoded(message), bytes);
            }
        }
    }
}
