//! Bytes and descriptors from the socket, cut into frames.

use std::{
    collections::VecDeque,
    io::IoSliceMut,
    os::fd::{AsFd, OwnedFd},
};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use crate::{
    TransportError,
    frame::{HEADER, Header},
};

/// First size of the buffer; it grows as the bytes of a longer frame really arrive, never on a peer's word.
const INITIAL: usize = 64 << 10;
/// Most descriptors that may wait for their frame. Ours come one at a time.
const MAX_DESCRIPTORS: usize = 4;

pub(super) struct Input {
    /// Longest payload of a frame.
    longest: usize,
    buffer: Vec<u8>,
    /// Unread bytes are `buffer[start..end]`.
    start: usize,
    end: usize,
    descriptors: VecDeque<OwnedFd>,
}

pub(super) enum Read {
    Some(usize),
    Nothing,
    Ended,
}

impl Input {
    /// Nothing read yet; frames of up to `longest` bytes are taken.
    pub(super) fn new(longest: usize) -> Self {
        Self { longest, buffer: Vec::new(), start: 0, end: 0, descriptors: VecDeque::new() }
    }

    /// Reads once.
    pub(super) fn read(&mut self, socket: impl AsFd) -> Result<Read, TransportError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > 8 * INITIAL {
                self.buffer.truncate(INITIAL);
                self.buffer.shrink_to_fit();
            }
        } else if self.start > 0 && self.buffer.len() - self.end < INITIAL / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.buffer.len() - self.end < INITIAL / 2 {
            self.buffer.resize((self.buffer.len() * 2).max(INITIAL), 0);
        }
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut self.buffer[self.end..])];
            match recvmsg(&socket, &mut parts, &mut control, RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(Read::Nothing),
                Err(rustix::io::Errno::CONNRESET) => return Ok(Read::Ended),
                Err(error) => return Err(TransportError::io("recvmsg", error)),
            }
        };
        let before = self.descriptors.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) && self.descriptors.len() - before < MAX_DESCRIPTORS {
            // There was space for more, but the system could not open what was sent.
            return Err(TransportError::io(
                "receiving memory (raise this process's limit of open files, ulimit -n)",
                Errno::MFILE,
            ));
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(TransportError::Framing("more descriptors came than any frame has".into()));
        }
        if self.descriptors.len() > MAX_DESCRIPTORS {
            return Err(TransportError::Framing("descriptors that no frame asked for".into()));
        }
        self.end += received.bytes;
        Ok(if received.bytes == 0 { Read::Ended } else { Read::Some(received.bytes) })
    }

    /// The next whole frame, and where its payload lies in [`bytes`](Self::bytes).
    pub(super) fn next(&mut self) -> Result<Option<(Header, std::ops::Range<usize>)>, TransportError> {
        let unread = &self.buffer[self.start..self.end];
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
        let payload = self.start + HEADER..self.start + HEADER + header.length;
        self.start = payload.end;
        Ok(Some((header, payload)))
    }

    pub(super) fn bytes(&self, range: std::ops::Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    pub(super) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }
}
