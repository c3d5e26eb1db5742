//! Bytes from a connection, cut into messages.

use std::ops::Range;

use arrowlane_memory::Growing;
use bytes::Bytes;

use super::{
    framing::{Header, padding},
    line::Line,
};
use crate::{
    TransportError,
    frame::{MAX_BODY, MAX_REPLY},
    stream::{Buffer, Read, SHORT, SMALL},
};

/// Longest untagged message of a server.
const MAX_METADATA: u64 = 16 << 20;

/// The longest messages that the other side may send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Longest {
    untagged: u64,
    tagged: u64,
}

impl Longest {
    /// From a server: metadata and bodies.
    pub(super) const OF_SERVERS: Self = Self { untagged: MAX_METADATA, tagged: MAX_BODY };
    /// From a client: a ticket, credits, and addresses that go back.
    pub(super) const OF_CLIENTS: Self = Self { untagged: MAX_REPLY as u64, tagged: MAX_REPLY as u64 };
}

pub(super) struct Input {
    longest: Longest,
    buffer: Buffer,
    /// Zeros that have to come before the next message.
    padding: usize,
    /// A message with this tag that has not arrived as a whole. While there is one, the buffer is read empty.
    body: Option<(u64, Growing)>,
    /// A body came last, so another is likely to follow: only what comes before it is to be read to the buffer.
    expects_body: bool,
}

/// A message that arrived as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Untagged, and where it lies in [`Input::bytes`].
    Metadata(Range<usize>),
    /// Tagged, and where it lies in [`Input::bytes`].
    Tagged(u64, Range<usize>),
    /// Tagged, in memory of its own.
    Body(u64, Bytes),
}

impl Input {
    /// Nothing read yet.
    pub(super) fn new(longest: Longest) -> Self {
        Self { longest, buffer: Buffer::default(), padding: 0, body: None, expects_body: false }
    }

    /// Reads once.
    pub(super) fn read(&mut self, line: &mut Line) -> Result<Read, TransportError> {
        match &mut self.body {
            Some((_, body)) => line.read_body(body),
            None if std::mem::take(&mut self.expects_body) => line.read(&mut self.buffer, SHORT),
            None => line.read(&mut self.buffer, usize::MAX),
        }
    }

    /// What arrived next as a whole.
    pub(super) fn next(&mut self) -> Result<Option<Item>, TransportError> {
        if self.body.is_some() {
            return self.next_of_body();
        }
        self.skip_padding()?;
        let unread = self.buffer.unread();
        let Some((header, header_length)) = Header::decode(unread)? else { return Ok(None) };
        let (length, longest) = match header {
            Header::Untagged(length) => (length, self.longest.untagged),
            Header::Tagged(_, length) => (length, self.longest.tagged),
        };
        let fits = usize::try_from(length).ok().filter(|_| length <= longest);
        let Some(here) = fits else {
            return Err(TransportError::Framing(format!(
                "a message of {length} bytes is over the limit of {longest} from this side"
            )));
        };
        match header {
            Header::Tagged(tag, _) if here > SMALL => {
                self.buffer.take(header_length);
                self.body = Some((tag, Growing::new(here)));
                self.next_of_body()
            }
            _ if unread.len() - header_length < here => Ok(None),
            _ => {
                self.buffer.take(header_length);
                let message = self.buffer.take(here);
                self.padding = padding(length).len();
                Ok(Some(match header {
                    Header::Untagged(_) => Item::Metadata(message),
                    Header::Tagged(tag, _) => Item::Tagged(tag, message),
                }))
            }
        }
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
        self.expects_body = true;
        Ok(body.finish().map(|arrived| {
            self.padding = padding(arrived.as_ref().len() as u64).len();
            Item::Body(tag, Bytes::from_owner(arrived))
        }))
    }

    fn skip_padding(&mut self) -> Result<(), TransportError> {
        let unread = self.buffer.unread();
        let here = &unread[..self.padding.min(unread.len())];
        if here.iter().any(|byte| *byte != 0) {
            return Err(TransportError::Framing("what fills a message up to a multiple of 8 bytes is not zero".into()));
        }
        let skipped = here.len();
        self.buffer.take(skipped);
        self.padding -= skipped;
        Ok(())
    }

    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.bytes(range)
    }
}
