//! Messages as they arrive, in chunks of any size.

use arrow_buffer::{Buffer, MutableBuffer};
use bytes::{Buf, Bytes};

use super::{MAX_MESSAGE, PREFIX, field};

/// What memory is taken for at once; beyond it, memory grows as bytes come. Memory that nobody wrote to costs nothing.
const TRUSTED: usize = 64 << 20;

/// The longest descriptor.
const MAX_DESCRIPTOR: usize = 64 << 10;

/// A `FlightData` that arrived whole.
///
/// Its bytes lie in memory of this process that is aligned to 64 and freed with the last clone of each buffer.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The bare `Message` flatbuffer of the IPC format; empty where the message has application metadata only.
    pub header: Buffer,
    /// The body; empty where there is none.
    pub body: Buffer,
    /// What the application added.
    pub app_metadata: Bytes,
    /// The encoded descriptor, as the first message of an upload has it; of a `PutResult`, its metadata.
    pub(crate) first: Bytes,
}

/// What one message may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageLimits {
    /// Bytes in all.
    pub message: usize,
    /// Bytes of the header, and of the application's metadata.
    pub metadata: usize,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { message: MAX_MESSAGE, metadata: 16 << 20 }
    }
}

/// Bytes that are no `FlightData`, or more of them than allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("{0}")]
    Wire(&'static str),
    #[error("{what} of {length} bytes, the limit is {limit}")]
    TooLong { what: &'static str, length: u64, limit: u64 },
    #[error("a message was cut off")]
    CutOff,
}

/// Makes messages out of chunks. A message that arrived in part holds the memory of what arrived, and no more than was announced.
pub(crate) struct Decoder {
    limits: MessageLimits,
    state: State,
    /// Bytes of the current message that have not arrived.
    left: usize,
    message: Message,
}

enum State {
    Prefix { bytes: [u8; PREFIX], filled: usize },
    Key(Varint),
    Length { tag: u32, value: Varint },
    Number(Varint),
    Payload { tag: u32, into: MutableBuffer, left: usize },
    Skip { left: usize },
}

#[derive(Default)]
struct Varint {
    value: u64,
    shift: u32,
}

impl Varint {
    /// The number, when this was its last byte.
    fn push(&mut self, byte: u8) -> Result<Option<u64>, Malformed> {
        if self.shift > 63 || (self.shift == 63 && byte > 1) {
            return Err(Malformed::Wire("a number of more than 64 bits"));
        }
        self.value |= u64::from(byte & 0x7F) << self.shift;
        self.shift += 7;
        Ok((byte & 0x80 == 0).then_some(self.value))
    }
}

const START: State = State::Prefix { bytes: [0; PREFIX], filled: 0 };

impl Decoder {
    pub fn new(limits: MessageLimits) -> Self {
        Self { limits, state: START, left: 0, message: Message::default() }
    }

    /// Whether nothing of a message has arrived.
    pub fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Prefix { filled: 0, .. })
    }

    /// Takes bytes from the chunk up to the end of a message, which is returned, or all of them.
    pub fn take(&mut self, chunk: &mut Bytes) -> Result<Option<Message>, Malformed> {
        while !chunk.is_empty() {
            if let State::Prefix { bytes, filled } = &mut self.state {
                let now = chunk.len().min(PREFIX - *filled);
                chunk.copy_to_slice(&mut bytes[*filled..*filled + now]);
                *filled += now;
                if *filled < PREFIX {
                    return Ok(None);
                }
                let [compressed, length @ ..] = *bytes;
                if compressed != 0 {
                    return Err(Malformed::Wire("a compressed message, which nobody offered to read"));
                }
                self.left = within("a message", u64::from(u32::from_be_bytes(length)), self.limits.message)?;
                self.state = State::Key(Varint::default());
            } else {
                self.inside(chunk)?;
            }
            if self.left == 0 && !matches!(self.state, State::Prefix { .. }) {
                return self.end().map(Some);
            }
        }
        Ok(None)
    }

    fn end(&mut self) -> Result<Message, Malformed> {
        match std::mem::replace(&mut self.state, START) {
            State::Key(Varint { shift: 0, .. }) => Ok(std::mem::take(&mut self.message)),
            _ => Err(Malformed::Wire("a field that ends after its message")),
        }
    }

    /// Takes bytes of the current message, at least one of which is missing.
    fn inside(&mut self, chunk: &mut Bytes) -> Result<(), Malformed> {
        match &mut self.state {
            State::Key(value) => {
                let Some(key) = value.push(next(chunk, &mut self.left))? else { return Ok(()) };
                let tag = u32::try_from(key >> 3).ok().filter(|tag| *tag != 0);
                let tag = tag.ok_or(Malformed::Wire("a field without a number"))?;
                self.state = match key & 7 {
                    0 => State::Number(Varint::default()),
                    1 => skip(8, self.left)?,
                    2 => State::Length { tag, value: Varint::default() },
                    5 => skip(4, self.left)?,
                    _ => return Err(Malformed::Wire("a field of a kind that there is not")),
                };
            }
            State::Number(value) => {
                if value.push(next(chunk, &mut self.left))?.is_some() {
                    self.state = State::Key(Varint::default());
                }
            }
            State::Length { tag, value } => {
                let Some(length) = value.push(next(chunk, &mut self.left))? else { return Ok(()) };
                let tag = *tag;
                if length > self.left as u64 {
                    return Err(Malformed::Wire("a field that is longer than its message"));
                }
                let limits = self.limits;
                self.state = match tag {
                    field::DESCRIPTOR => payload(tag, within("a descriptor", length, MAX_DESCRIPTOR)?),
                    field::HEADER => payload(tag, within("a header", length, limits.metadata)?),
                    field::APP_METADATA => payload(tag, within("application metadata", length, limits.metadata)?),
                    field::BODY => payload(tag, within("a body", length, limits.message)?),
                    _ => skip(length, self.left)?,
                };
                self.settle();
            }
            State::Payload { into, left, .. } => {
                let now = chunk.len().min(*left);
                into.extend_from_slice(&chunk[..now]);
                chunk.advance(now);
                *left -= now;
                self.left -= now;
                self.settle();
            }
            State::Skip { left } => {
                let now = chunk.len().min(*left);
                chunk.advance(now);
                *left -= now;
                self.left -= now;
                self.settle();
            }
            State::Prefix { .. } => {}
        }
        Ok(())
    }

    /// Puts a field that is whole to where it belongs.
    fn settle(&mut self) {
        match &mut self.state {
            State::Payload { tag, into, left: 0 } => {
                let buffer = Buffer::from(std::mem::take(into));
                match *tag {
                    field::HEADER => self.message.header = buffer,
                    field::BODY => self.message.body = buffer,
                    field::APP_METADATA => self.message.app_metadata = Bytes::copy_from_slice(&buffer),
                    _ => self.message.first = Bytes::copy_from_slice(&buffer),
                }
                self.state = State::Key(Varint::default());
            }
            State::Skip { left: 0 } => self.state = State::Key(Varint::default()),
            _ => {}
        }
    }
}

fn next(chunk: &mut Bytes, left: &mut usize) -> u8 {
    *left -= 1;
    chunk.get_u8()
}

fn payload(tag: u32, length: usize) -> State {
    State::Payload { tag, into: MutableBuffer::with_capacity(length.min(TRUSTED)), left: length }
}

fn skip(length: u64, left: usize) -> Result<State, Malformed> {
    match usize::try_from(length) {
        Ok(length) if length <= left => Ok(State::Skip { left: length }),
        _ => Err(Malformed::Wire("a field that is longer than its message")),
    }
}

pub(super) fn within(what: &'static str, length: u64, limit: usize) -> Result<usize, Malformed> {
    match usize::try_from(length) {
        Ok(length) if length <= limit => Ok(length),
        _ => Err(Malformed::TooLong { what, length, limit: limit as u64 }),
    }
}

#[cfg(test)]
mod tests;
