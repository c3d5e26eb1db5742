//! Bytes and descriptors from the socket, cut into frames.

use std::collections::VecDeque;

use arrowlane_memory::Growing;
use bytes::Bytes;
use rustix::fd::{AsFd, OwnedFd};

use super::passing;
use crate::{
    TransportError,
    frame::{HEADER, Header, Kind, MAX_BODY},
    stream::{Buffer, Read, read_body},
};

pub(super) struct Input {
    /// Longest payload of a frame.
    longest: usize,
    /// Whether bodies may follow frames.
    takes_bodies: bool,
    /// Most descriptors that may wait for their frame.
    most: usize,
    buffer: Buffer,
    descriptors: VecDeque<OwnedFd>,
    /// A body that has not arrived as a whole, and its tag. While there is one, the buffer is read empty.
    body: Option<(u64, Growing)>,
}

/// What arrived as a whole.
pub(super) enum Item {
    /// A frame, and where its payload lies in [`Input::bytes`].
    Frame(Header, std::ops::Range<usize>),
    /// The body with this tag, in memory of its own.
    Body(u64, Bytes),
}

impl Input {
    /// Nothing read yet; frames of up to `longest` bytes are taken, with up to `most` descriptors, and bodies behind them where
    /// `takes_bodies`.
    pub(super) fn new(longest: usize, most: usize, takes_bodies: bool) -> Self {
        Self { longest, takes_bodies, most, buffer: Buffer::default(), descriptors: VecDeque::new(), body: None }
    }

    /// Reads once.
    pub(super) fn read(&mut self, socket: impl AsFd) -> Result<Read, TransportError> {
        if let Some((_, body)) = &mut self.body {
            return read_body(body, socket);
        }
        let read = passing::get(socket, self.buffer.room(), &mut self.descriptors)?;
        if self.descriptors.len() > self.most {
            return Err(TransportError::Framing("descriptors that no frame asked for".into()));
        }
        if let Read::Some { bytes, .. } = read {
            self.buffer.filled(bytes);
        }
        Ok(read)
    }

    /// What arrived next as a whole.
    pub(super) fn next(&mut self) -> Result<Option<Item>, TransportError> {
        if self.body.is_some() {
            return self.next_of_body();
        }
        let unread = self.buffer.unread();
        let Some(header) = unread.first_chunk::<HEADER>() else { return Ok(None) };
        let header = Header::decode(header)?;
        if header.length > self.longest {
            return Err(TransportError::Framing(format!(
                "a frame of {} bytes is over the limit of {} from this side",
                header.length, self.longest
            )));
        }
        if unread.len() < HEADER + header.length {
            return Ok(None);
        }
        self.buffer.take(HEADER);
        let payload = self.buffer.take(header.length);
        if header.kind != Kind::Body {
            return Ok(Some(Item::Frame(header, payload)));
        }
        if !self.takes_bodies {
            return Err(TransportError::Framing("a subscriber sends no bodies".into()));
        }
        self.body = Some((header.tag, Growing::new(announced(self.buffer.bytes(payload))?)));
        self.next_of_body()
    }

    /// Takes what is in the buffer of a body; the body, when that was the rest of it.
    fn next_of_body(&mut self) -> Result<Option<Item>, TransportError> {
        let Some((tag, mut body)) = self.body.take() else { return Ok(None) };
        let taken = body.append(self.buffer.unread())?;
        self.buffer.take(taken);
        if body.missing() > 0 {
            self.body = Some((tag, body));
            return Ok(None);
        }
        Ok(body.finish().map(|arrived| Item::Body(tag, Bytes::from_owner(arrived))))
    }

    pub(super) fn bytes(&self, range: std::ops::Range<usize>) -> &[u8] {
        self.buffer.bytes(range)
    }

    pub(super) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }
}

/// The length of a body, as a frame's payload has it. It is believed as far as bytes follow.
fn announced(payload: &[u8]) -> Result<usize, TransportError> {
    let length = <[u8; 8]>::try_from(payload)
        .map(u64::from_le_bytes)
        .map_err(|_| TransportError::Framing("a body's payload must be its length in 8 bytes".into()))?;
    let fits = usize::try_from(length).ok().filter(|_| length <= MAX_BODY);
    fits.ok_or_else(|| TransportError::Framing(format!("a body of {length} bytes is over the limit of {MAX_BODY}")))
}
