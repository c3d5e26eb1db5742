//! Messages on their way to the socket.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};

use crate::{
    TransportError,
    frame::{Header, Kind},
};

/// Frames in order. A run that begins with a descriptor waits until the one before it was acknowledged: descriptors in
/// flight count against a limit of the user's, not of the process's.
#[derive(Default)]
pub(super) struct Output {
    runs: VecDeque<Run>,
    queued: usize,
    unacknowledged: usize,
    /// Answers put out since the queue was last empty.
    replies: usize,
}

/// Something whose descriptor travels with a run's first byte.
pub(super) type Descriptor = Arc<dyn AsFd + Send + Sync>;

#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    sent: usize,
    descriptor: Option<Descriptor>,
}

/// What stopped [`Output::flush`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Nothing: all is with the system.
    All,
    /// The socket is full.
    SocketFull,
    /// A descriptor waits for the acknowledgement of the one before it.
    Acknowledgement,
    /// Too many descriptors of this user are in flight. The socket says nothing of when they are fewer.
    InFlight,
}

/// Where bytes go, with a descriptor or without.
pub(super) trait Outlet {
    /// As many of the bytes as there is room for; the descriptor goes with the first of them.
    fn put(&self, bytes: &[u8], descriptor: Option<&Descriptor>) -> rustix::io::Result<usize>;
}

impl Output {
    pub(super) fn frame(&mut self, kind: Kind, tag: u64, parts: &[&[u8]]) {
        if self.runs.is_empty() {
            self.runs.push_back(Run::default());
        }
        let Some(run) = self.runs.back_mut() else { return };
        let length = parts.iter().map(|p| p.len()).sum();
        run.bytes.extend_from_slice(&Header { length, kind, tag }.encode());
        for part in parts {
            run.bytes.extend_from_slice(part);
        }
        self.queued += crate::frame::HEADER + length;
    }

    /// A frame without a payload that answers the peer's.
    pub(super) fn reply(&mut self, kind: Kind, tag: u64) {
        self.replies += 1;
        self.frame(kind, tag, &[]);
    }

    /// Answers that may still be here.
    pub(super) fn replies(&self) -> usize {
        if self.queued == 0 { 0 } else { self.replies }
    }

    /// Lends a segment of `length` bytes.
    pub(super) fn segment(&mut self, number: u16, length: usize, segment: Descriptor) {
        self.runs.push_back(Run { descriptor: Some(segment), ..Run::default() });
        self.frame(Kind::Segment, u64::from(number), &[&(length as u64).to_le_bytes()]);
    }

    pub(super) fn returns(&mut self, page: OwnedFd) {
        self.runs.push_back(Run { descriptor: Some(Arc::new(page)), ..Run::default() });
        self.frame(Kind::Returns, 0, &[]);
    }

    /// The peer acknowledged one descriptor. `false` when none was waiting for that.
    pub(super) fn acknowledged(&mut self) -> bool {
        if self.unacknowledged == 0 {
            return false;
        }
        self.unacknowledged -= 1;
        true
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    pub(super) fn flush(&mut self, outlet: &impl Outlet) -> Result<Flushed, TransportError> {
        loop {
            let only = self.runs.len() == 1;
            let Some(run) = self.runs.front_mut() else { return Ok(Flushed::All) };
            if run.descriptor.is_some() && self.unacknowledged > 0 {
                return Ok(Flushed::Acknowledgement);
            }
            while run.sent < run.bytes.len() {
                match outlet.put(&run.bytes[run.sent..], run.descriptor.as_ref()) {
                    Ok(sent) => {
                        run.sent += sent;
                        self.queued -= sent;
                        if run.descriptor.take().is_some() {
                            self.unacknowledged += 1;
                        }
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => return Ok(Flushed::SocketFull),
                    // They become fewer as peers, perhaps of other processes, read theirs.
                    Err(rustix::io::Errno::TOOMANYREFS) => return Ok(Flushed::InFlight),
                    Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => return Err(TransportError::Closed),
                    Err(error) => return Err(TransportError::io("send", error)),
                }
            }
            if only {
                // The usual case: keep the buffer, unless a burst made it large.
                run.bytes.clear();
                run.sent = 0;
                if run.bytes.capacity() > 1 << 20 {
                    run.bytes.shrink_to(1 << 16);
                }
                self.replies = 0;
                return Ok(Flushed::All);
            }
            self.runs.pop_front();
        }
    }
}

impl Outlet for OwnedFd {
    fn put(&self, bytes: &[u8], descriptor: Option<&Descriptor>) -> rustix::io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let Some(descriptor) = descriptor else { return send(self, bytes, flags) };
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor.as_fd()];
        let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
        debug_assert!(fits, "the space was sized for one descriptor");
        sendmsg(self, &[std::io::IoSlice::new(bytes)], &mut control, flags)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use arrowlane_memory::shared::Segment;

    use super::*;

    /// Refuses descriptors so many times, and counts how often it was asked.
    struct Crowded {
        refusals: Cell<usize>,
        asked: Cell<usize>,
    }

    impl Outlet for Crowded {
        fn put(&self, bytes: &[u8], descriptor: Option<&Descriptor>) -> rustix::io::Result<usize> {
            self.asked.set(self.asked.get() + 1);
            if descriptor.is_some() && self.refusals.get() > 0 {
                self.refusals.set(self.refusals.get() - 1);
                return Err(rustix::io::Errno::TOOMANYREFS);
            }
            Ok(bytes.len())
        }
    }

    #[test]
    fn too_many_descriptors_in_flight_are_asked_about_once_a_flush_and_nothing_is_lost() {
        let mut output = Output::default();
        let outlet = Crowded { refusals: Cell::new(2), asked: Cell::new(0) };
        output.frame(Kind::Metadata, 0, &[b"before"]);
        output.segment(1, 4096, Arc::new(Segment::create(1).unwrap()));
        output.frame(Kind::Metadata, 0, &[b"after"]);
        assert_eq!(output.flush(&outlet).unwrap(), Flushed::InFlight);
        assert_eq!(outlet.asked.get(), 2, "for what comes before, and for the descriptor");
        assert_eq!(output.flush(&outlet).unwrap(), Flushed::InFlight);
        assert_eq!(outlet.asked.get(), 3);
        assert_eq!(output.flush(&outlet).unwrap(), Flushed::All);
        assert_eq!((output.queued(), outlet.asked.get()), (0, 4));
    }
}
