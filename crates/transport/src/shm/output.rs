//! Messages on their way to the socket.

use std::{io::IoSlice, ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use rustix::fd::{AsFd, OwnedFd};

use super::passing;
use crate::{
    TransportError,
    frame::{Header, Kind},
    stream::{Gather, SMALL, is_loss},
};

/// Frames in order. A run that begins with a descriptor waits until the one before it was acknowledged: descriptors in
/// flight count against a limit of the user's, not of the process's.
#[derive(Default)]
pub(super) struct Output {
    gather: Gather<Vec<Descriptor>>,
    unacknowledged: usize,
    /// Answers put out since the queue was last empty.
    replies: usize,
}

/// Something whose descriptor travels with a run's first byte, perhaps with others.
pub(super) type Descriptor = Arc<dyn AsFd + Send + Sync>;

/// The keepers that go with a segment.
pub(super) struct Offered {
    pub(super) own: Option<Arc<OwnedFd>>,
    pub(super) passed: Vec<Arc<OwnedFd>>,
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
    /// As many of the bytes as there is room for; the descriptors go with the first of them. There is one part at least.
    fn put(&self, parts: &[IoSlice<'_>], descriptors: &[Descriptor]) -> rustix::io::Result<usize>;
}

impl Output {
    pub(super) fn frame(&mut self, kind: Kind, tag: u64, parts: &[&[u8]]) {
        let length = parts.iter().map(|p| p.len()).sum();
        self.gather.copy(&[&Header { length, kind, tag }.encode()]);
        self.gather.copy(parts);
    }

    /// A tagged message whose parts are not copied, unless they are small.
    pub(super) fn body(&mut self, tag: u64, parts: Vec<Bytes>) {
        let length: usize = parts.iter().map(Bytes::len).sum();
        if length <= SMALL {
            let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
            return self.frame(Kind::Tagged, tag, &parts);
        }
        self.frame(Kind::Body, tag, &[&(length as u64).to_le_bytes()]);
        self.gather.append(parts);
    }

    /// A frame without a payload that answers the peer's.
    pub(super) fn reply(&mut self, kind: Kind, tag: u64) {
        self.replies += 1;
        self.frame(kind, tag, &[]);
    }

    /// Answers that may still be here.
    pub(super) fn replies(&self) -> usize {
        if self.gather.queued() == 0 { 0 } else { self.replies }
    }

    /// Lends a segment of `length` bytes. The peer that knows of keepers gets them as well: this connection's, if it comes with
    /// this segment, and those that the segment came with.
    pub(super) fn segment(&mut self, number: u16, length: usize, segment: Descriptor, keepers: Option<Offered>) {
        let length = (length as u64).to_le_bytes();
        let mut descriptors = vec![segment];
        let counts = keepers.map(|Offered { own, passed }| {
            let counts = [u32::from(own.is_some()).to_le_bytes(), (passed.len() as u32).to_le_bytes()].concat();
            descriptors.extend(own.into_iter().chain(passed).map(|keeper| keeper as Descriptor));
            counts
        });
        self.gather.begin(descriptors);
        self.frame(Kind::Segment, u64::from(number), &[&length, &counts.unwrap_or_default()]);
    }

    pub(super) fn returns(&mut self, page: OwnedFd) {
        self.gather.begin(vec![Arc::new(page)]);
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
        self.gather.queued()
    }

    /// As [`queued`](Self::queued), without bodies that lie in somebody else's memory.
    pub(super) fn copied(&self) -> usize {
        self.gather.copied()
    }

    pub(super) fn flush(&mut self, outlet: &impl Outlet) -> Result<Flushed, TransportError> {
        let unacknowledged = &mut self.unacknowledged;
        let stopped = self.gather.flush(|parts, descriptors| {
            if !descriptors.is_empty() && *unacknowledged > 0 {
                return Ok(ControlFlow::Break(Flushed::Acknowledgement));
            }
            loop {
                match outlet.put(parts, descriptors) {
                    Ok(sent) => {
                        if !std::mem::take(descriptors).is_empty() {
                            *unacknowledged += 1;
                        }
                        return Ok(ControlFlow::Continue(sent));
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => return Ok(ControlFlow::Break(Flushed::SocketFull)),
                    // They become fewer as peers, perhaps of other processes, read theirs.
                    Err(rustix::io::Errno::TOOMANYREFS) => return Ok(ControlFlow::Break(Flushed::InFlight)),
                    Err(error) if is_loss(error) => return Err(TransportError::Closed),
                    Err(error) => return Err(TransportError::io("send", error)),
                }
            }
        })?;
        if stopped.is_none() {
            self.replies = 0;
        }
        Ok(stopped.unwrap_or(Flushed::All))
    }
}

impl Outlet for OwnedFd {
    fn put(&self, parts: &[IoSlice<'_>], descriptors: &[Descriptor]) -> rustix::io::Result<usize> {
        passing::put(self, parts, descriptors)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::system::Alarm;

    /// Refuses descriptors so many times, and counts how often it was asked.
    struct Crowded {
        refusals: Cell<usize>,
        asked: Cell<usize>,
    }

    impl Outlet for Crowded {
        fn put(&self, parts: &[IoSlice<'_>], descriptors: &[Descriptor]) -> rustix::io::Result<usize> {
            self.asked.set(self.asked.get() + 1);
            if !descriptors.is_empty() && self.refusals.get() > 0 {
                self.refusals.set(self.refusals.get() - 1);
                return Err(rustix::io::Errno::TOOMANYREFS);
            }
            Ok(parts.iter().map(|part| part.len()).sum())
        }
    }

    #[test]
    fn too_many_descriptors_in_flight_are_asked_about_once_a_flush_and_nothing_is_lost() {
        let mut output = Output::default();
        let outlet = Crowded { refusals: Cell::new(2), asked: Cell::new(0) };
        output.frame(Kind::Metadata, 0, &[b"before"]);
        output.segment(1, 4096, Arc::new(Alarm::new().unwrap()), None);
        output.frame(Kind::Metadata, 0, &[b"after"]);
        assert_eq!(output.flush(&outlet).unwrap(), Flushed::InFlight);
        assert_eq!(outlet.asked.get(), 2, "for what comes before, and for the descriptor");
        assert_eq!(output.flush(&outlet).unwrap(), Flushed::InFlight);
        assert_eq!(outlet.asked.get(), 3);
        assert_eq!(output.flush(&outlet).unwrap(), Flushed::All);
        assert_eq!((output.queued(), outlet.asked.get()), (0, 4));
    }

    /// Takes so many bytes at a time, and keeps them.
    struct Narrow(usize, std::cell::RefCell<Vec<u8>>);

    impl Outlet for Narrow {
        fn put(&self, parts: &[IoSlice<'_>], _descriptors: &[Descriptor]) -> rustix::io::Result<usize> {
            let all = parts.iter().map(|part| &part[..]).collect::<Vec<_>>().concat();
            let taken = all.len().min(self.0);
            self.1.borrow_mut().extend_from_slice(&all[..taken]);
            Ok(taken)
        }
    }

    #[test]
    fn bodies_and_frames_keep_their_order_however_little_the_socket_takes() {
        let large: Vec<u8> = (0..20_000u32).map(|n| n as u8).collect();
        for width in [1, 7, 16, 4096, usize::MAX] {
            let mut output = Output::default();
            output.frame(Kind::Metadata, 0, &[b"before"]);
            let parts = vec![Bytes::from(large.clone()), Bytes::new(), Bytes::from_static(&[9; 3])];
            output.body(5, parts);
            output.body(6, vec![Bytes::from_static(b"small")]);
            output.body(7, vec![Bytes::from(large.clone())]);
            assert_eq!(output.queued() - output.copied(), 40_003, "what is large is not copied");
            let narrow = Narrow(width, Default::default());
            assert_eq!(output.flush(&narrow).unwrap(), Flushed::All);
            assert_eq!((output.queued(), output.copied()), (0, 0));
            let header = |length, kind, tag| Header { length, kind, tag }.encode();
            let expected: [&[u8]; 10] = [
                &header(6, Kind::Metadata, 0),
                b"before",
                &header(8, Kind::Body, 5),
                &20_003u64.to_le_bytes(),
                &large,
                &[9; 3],
                &[&header(5, Kind::Tagged, 6)[..], b"small"].concat(),
                &header(8, Kind::Body, 7),
                &20_000u64.to_le_bytes(),
                &large,
            ];
            assert!(*narrow.1.borrow() == expected.concat(), "{width} bytes at a time");
        }
    }

    #[test]
    fn a_part_is_let_go_of_as_soon_as_it_is_with_the_system() {
        struct Kept(Vec<u8>, #[expect(dead_code, reason = "counts")] Arc<()>);
        impl AsRef<[u8]> for Kept {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let (kept, mut output) = (Arc::new(()), Output::default());
        output.body(1, vec![Bytes::from_owner(Kept(vec![1; 10_000], Arc::clone(&kept)))]);
        output.frame(Kind::Metadata, 0, &[b"after"]);
        assert_eq!(Arc::strong_count(&kept), 2);
        assert_eq!(output.flush(&Narrow(usize::MAX, Default::default())).unwrap(), Flushed::All);
        assert_eq!(Arc::strong_count(&kept), 1);
    }
}
