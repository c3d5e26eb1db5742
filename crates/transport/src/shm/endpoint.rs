//! One end of a shared-memory connection.

use std::{
    collections::HashSet,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use arrowlane_dissociated::Outbox;
use arrowlane_memory::{Block, Pool};

use super::{
    input::{Input, Read},
    lent::{Lent, segment_number},
    listener::check_peer,
    output::{Flushed, Output},
};
use crate::{Endpoint, Inbox, Loan, Progress, TransportError, frame::Kind};

/// A connected unix socket, the segments we lent over it and those the peer lent.
pub struct ShmEndpoint {
    socket: OwnedFd,
    input: Input,
    output: Output,
    /// Segments that the peer knows, or will know before the next message.
    announced: HashSet<u16>,
    /// Retired and not yet acknowledged: their numbers must not be used again.
    retiring: HashSet<u16>,
    lent: Lent,
    stopped: Flushed,
}

impl ShmEndpoint {
    /// Takes a connected socket and checks whose process is at its other end.
    pub(super) fn new(socket: OwnedFd) -> Result<Self, TransportError> {
        check_peer(&socket)?;
        Ok(Self {
            socket,
            input: Input::default(),
            output: Output::default(),
            announced: HashSet::new(),
            retiring: HashSet::new(),
            lent: Lent::default(),
            stopped: Flushed::All,
        })
    }

    /// Two connected endpoints, for tests and for peers in one process.
    pub fn pair() -> Result<(Self, Self), TransportError> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|e| TransportError::io("socketpair", e))?;
        Ok((Self::new(a)?, Self::new(b)?))
    }

    /// Queues the server's first message.
    pub fn greet(&mut self, uri: &str) {
        self.output.frame(Kind::Greeting, 0, &[uri.as_bytes()]);
    }

    fn dispatch(&mut self, inbox: &mut dyn Inbox) -> Result<(), TransportError> {
        while let Some((header, payload)) = self.input.next()? {
            match header.kind {
                Kind::Metadata => inbox.metadata(self.input.bytes(payload))?,
                Kind::Tagged => inbox.tagged(header.tag, self.input.bytes(payload))?,
                Kind::Greeting => {
                    let uri = std::str::from_utf8(self.input.bytes(payload))
                        .map_err(|_| TransportError::Framing("the greeting is not UTF-8".into()))?;
                    inbox.greeting(uri)?;
                }
                Kind::Segment => {
                    let descriptor = self.input.take_descriptor();
                    self.lent.map(header.tag, self.input.bytes(payload), descriptor)?;
                    self.output.frame(Kind::SegmentAcknowledged, header.tag, &[]);
                }
                Kind::SegmentAcknowledged => {
                    let number = segment_number(header.tag)?;
                    if !self.announced.contains(&number) && !self.retiring.contains(&number)
                        || !self.output.acknowledged()
                    {
                        return Err(TransportError::Framing(format!("segment {number} was not lent to this peer")));
                    }
                }
                Kind::Retire => {
                    self.lent.retire(header.tag)?;
                    self.output.frame(Kind::Retired, header.tag, &[]);
                }
                Kind::Retired => {
                    let number = segment_number(header.tag)?;
                    if !self.retiring.remove(&number) {
                        return Err(TransportError::Framing(format!("segment {number} was not being retired")));
                    }
                    inbox.retired(number);
                }
            }
        }
        Ok(())
    }
}

impl Outbox for ShmEndpoint {
    fn metadata(&mut self, parts: &[&[u8]]) {
        self.output.frame(Kind::Metadata, 0, parts);
    }

    fn tagged(&mut self, tag: u64, parts: &[&[u8]]) {
        self.output.frame(Kind::Tagged, tag, parts);
    }
}

impl Endpoint for ShmEndpoint {
    fn scheme(&self) -> &'static str {
        "shm"
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn receive(&mut self, budget: usize, inbox: &mut dyn Inbox) -> Result<Progress, TransportError> {
        let mut read = 0;
        let progress = loop {
            match self.input.read(&self.socket)? {
                Read::Nothing => break Progress::Drained,
                Read::Ended if self.input.is_cut_short() => {
                    return Err(TransportError::Framing("the connection ended within a message".into()));
                }
                Read::Ended => return Err(TransportError::Closed),
                Read::Some(bytes) => {
                    read += bytes;
                    self.dispatch(inbox)?;
                    // A short read has emptied the socket; asking again would cost a call to hear so. What arrives
                    // from now on makes the descriptor readable again.
                    if bytes < 4096 {
                        break Progress::Drained;
                    }
                    if read >= budget {
                        break Progress::More;
                    }
                }
            }
        };
        // Acknowledgements go out at once: a sender may be waiting for them.
        self.flush()?;
        Ok(progress)
    }

    fn flush(&mut self) -> Result<bool, TransportError> {
        if self.output.queued() == 0 {
            self.stopped = Flushed::All;
            return Ok(true);
        }
        self.stopped = self.output.flush(&self.socket)?;
        Ok(self.stopped == Flushed::All)
    }

    fn queued(&self) -> usize {
        self.output.queued()
    }

    fn wants_write(&self) -> bool {
        self.stopped == Flushed::SocketFull
    }

    fn lend(&mut self, pool: &Pool, block: &Block) -> Result<(), TransportError> {
        let number = block.segment();
        if self.announced.contains(&number) {
            return Ok(());
        }
        let segment = pool.segment(number).ok_or_else(|| {
            TransportError::io("lending a block", std::io::Error::other("it does not lie in shared memory"))
        })?;
        self.announced.insert(number);
        self.output.segment(number, segment);
        Ok(())
    }

    fn retire(&mut self, segment: u16) -> bool {
        let known = self.announced.remove(&segment);
        if known {
            self.retiring.insert(segment);
            self.output.frame(Kind::Retire, u64::from(segment), &[]);
        }
        known
    }

    fn resolve(&self, address: u64, length: u64) -> Result<Loan, TransportError> {
        self.lent.resolve(address, length)
    }
}
