//! One end of a shared-memory connection.

use std::{collections::HashSet, sync::Arc};

use arrowlane_dissociated::Outbox;
use arrowlane_memory::{
    Block, Pool,
    shared::{Mapping, ReturnPage, ReturnReader},
};
use bytes::Bytes;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{
    input::{Input, Item},
    keeper::{Bereaved, Keeper},
    lent::{Lent, lends_nothing, segment_number},
    listener::check_peer,
    output::{Flushed, Offered, Output},
};
use crate::{
    Endpoint, Inbox, Loan, Progress, TransportError,
    frame::{Kind, MAX_DESCRIPTORS, MAX_PAYLOAD, MAX_REPLY, MAX_REPLY_DESCRIPTORS},
    stream::Read,
};

/// Acknowledgements that may wait because the peer does not read them. Ours come one at a time.
const MAX_REPLIES: usize = 4096;

/// A connected unix socket, the segments we lent over it and those the peer lent.
pub struct ShmEndpoint {
    socket: OwnedFd,
    input: Input,
    output: Output,
    /// Segments that the peer knows, or will know before the next message.
    announced: HashSet<u16>,
    /// Retired and not yet acknowledged: their numbers must not be used again.
    retiring: HashSet<u16>,
    /// Those of a server; a server's end has none.
    lent: Option<Lent>,
    /// A client's page for returns, until it is taken.
    returns: Option<ReturnReader>,
    has_returns: bool,
    stopped: Flushed,
    peer: Option<u32>,
    /// Whether a server's peer gets keepers.
    keeps: bool,
    /// A server's end of this connection's, from the first segment on.
    keeper: Option<Keeper>,
    /// The other end, until it goes with that segment.
    given: Option<Arc<OwnedFd>>,
    /// Once what is queued is out, the peer reads an end.
    ending: bool,
}

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Accepted: lends memory and is lent none.
    Server,
    /// Connected: is lent memory.
    Client,
}

impl ShmEndpoint {
    /// Takes a connected socket and checks whose process is at its other end.
    pub(super) fn new(socket: OwnedFd, side: Side) -> Result<Self, TransportError> {
        let peer = check_peer(&socket)?;
        let (longest, most, lent) = match side {
            Side::Server => (MAX_REPLY, MAX_REPLY_DESCRIPTORS, None),
            Side::Client => (MAX_PAYLOAD, MAX_DESCRIPTORS, Some(Lent::default())),
        };
        Ok(Self {
            socket,
            input: Input::new(longest, most, side == Side::Client),
            output: Output::default(),
            announced: HashSet::new(),
            retiring: HashSet::new(),
            lent,
            returns: None,
            has_returns: false,
            stopped: Flushed::All,
            peer,
            keeps: false,
            keeper: None,
            given: None,
            ending: false,
        })
    }

    /// Two connected endpoints, for tests and for peers in one process.
    pub fn pair() -> Result<(Self, Self), TransportError> {
        let (a, b) = crate::system::stream_pair().map_err(|e| TransportError::io("socketpair", e))?;
        Ok((Self::new(a, Side::Client)?, Self::new(b, Side::Client)?))
    }

    /// Whether the peer has this connection's keeper with what it is lent. Where there are no descriptors left when the first segment is
    /// to go, it never gets one.
    fn is_kept(&mut self) -> bool {
        if self.keeps && self.keeper.is_none() {
            match Keeper::new() {
                Ok((keeper, given)) => (self.keeper, self.given) = (Some(keeper), Some(Arc::new(given))),
                Err(error) => {
                    self.keeps = false;
                    tracing::warn!(%error, "a subscriber gets no keeper: what others lent is copied for it");
                }
            }
        }
        self.keeper.is_some()
    }

    fn map_returns(&mut self) -> Result<(), TransportError> {
        let framing = |why: &str| Err(TransportError::Framing(why.into()));
        if self.lent.is_some() {
            return framing("a publisher returns nothing");
        }
        if std::mem::replace(&mut self.has_returns, true) {
            return framing("a second page for returns came");
        }
        let Some(descriptor) = self.input.take_descriptor() else {
            return framing("a page for returns came without its descriptor");
        };
        self.returns = Some(ReturnReader::new(ReturnPage::open(&descriptor)?));
        Ok(())
    }

    fn dispatch(&mut self, inbox: &mut dyn Inbox) -> Result<(), TransportError> {
        while let Some(item) = self.input.next()? {
            let (header, payload) = match item {
                Item::Frame(header, payload) => (header, payload),
                Item::Body(tag, body) => {
                    inbox.body(tag, body)?;
                    continue;
                }
            };
            match header.kind {
                Kind::Metadata => inbox.metadata(self.input.bytes(payload))?,
                Kind::Tagged => inbox.tagged(header.tag, self.input.bytes(payload))?,
                Kind::Greeting => {
                    let uri = std::str::from_utf8(self.input.bytes(payload))
                        .map_err(|_| TransportError::Framing("the greeting is not UTF-8".into()))?;
                    inbox.greeting(uri)?;
                }
                Kind::Segment => {
                    let lent = self.lent.as_mut().ok_or_else(lends_nothing)?;
                    let payload = self.input.bytes(payload).to_vec();
                    lent.map(header.tag, &payload, || self.input.take_descriptor())?;
                    self.output.reply(Kind::SegmentAcknowledged, header.tag);
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
                    self.lent.as_mut().ok_or_else(lends_nothing)?.retire(header.tag)?;
                    self.output.reply(Kind::Retired, header.tag);
                }
                Kind::Retired => {
                    let number = segment_number(header.tag)?;
                    if !self.retiring.remove(&number) {
                        return Err(TransportError::Framing(format!("segment {number} was not being retired")));
                    }
                    inbox.retired(number);
                }
                Kind::Returns => self.map_returns()?,
                // Those come as bodies.
                Kind::Body => {}
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
                // Also within a message: a peer that is killed while it sends leaves half of one.
                Read::Ended => return Err(TransportError::Closed),
                Read::Some { bytes, emptied } => {
                    read += bytes;
                    self.dispatch(inbox)?;
                    // A short read has emptied the socket; asking again would cost a call to hear so. What arrives
                    // from now on makes the descriptor readable again.
                    if emptied {
                        break Progress::Drained;
                    }
                    if read >= budget {
                        break Progress::More;
                    }
                }
            }
        };
        if self.output.replies() > MAX_REPLIES {
            return Err(TransportError::Framing(format!(
                "more than {MAX_REPLIES} answers wait for the peer to read them"
            )));
        }
        // Acknowledgements go out at once: a sender may be waiting for them.
        match self.flush() {
            // It reads no more, but what it sent before it closed is still to be read; then the socket reports its end.
            Ok(_) | Err(TransportError::Closed) => Ok(progress),
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> Result<bool, TransportError> {
        self.stopped = match self.output.queued() {
            0 => Flushed::All,
            _ => self.output.flush(&self.socket)?,
        };
        if self.ending && self.stopped == Flushed::All {
            self.ending = false;
            let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write); // a peer that is gone needs no end
        }
        Ok(self.stopped == Flushed::All)
    }

    fn queued(&self) -> usize {
        self.output.queued()
    }

    fn copied(&self) -> usize {
        self.output.copied()
    }

    fn greet(&mut self, uri: &str) {
        self.output.frame(Kind::Greeting, 0, &[uri.as_bytes()]);
    }

    fn peer(&self) -> Option<u32> {
        self.peer
    }

    fn stop_sending(&mut self) {
        self.ending = true;
    }

    fn lends(&self) -> bool {
        true
    }

    fn wants_write(&self) -> bool {
        self.stopped == Flushed::SocketFull
    }

    fn wants_pause(&self) -> bool {
        self.stopped == Flushed::InFlight
    }

    fn body(&mut self, tag: u64, parts: Vec<Bytes>) {
        self.output.body(tag, parts);
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
        let keepers = self.is_kept().then(|| Offered { own: self.given.take(), passed: Vec::new() });
        self.output.segment(number, segment.len(), segment, keepers);
        Ok(())
    }

    fn lend_on(&mut self, number: u16, segment: &Arc<Mapping>) -> Result<(), TransportError> {
        let passed = segment.keepers().onward().filter(|_| self.is_kept());
        let passed = passed.ok_or(TransportError::Unsupported { scheme: "shm", what: "handing on this segment" })?;
        if self.announced.insert(number) {
            let keepers = Offered { own: self.given.take(), passed };
            self.output.segment(number, segment.len(), segment.clone(), Some(keepers));
        }
        Ok(())
    }

    fn keep(&mut self) {
        self.keeps = true;
    }

    fn lends_on(&mut self) -> bool {
        self.is_kept()
    }

    fn outlive(&mut self) -> Option<Box<dyn Endpoint>> {
        Some(Box::new(Bereaved::new(self.keeper.take()?, self.peer)))
    }

    fn retire(&mut self, segment: u16) -> bool {
        let known = self.announced.remove(&segment);
        if known {
            self.retiring.insert(segment);
            self.output.frame(Kind::Retire, u64::from(segment), &[]);
        }
        known
    }

    fn offer_returns(&mut self, page: OwnedFd) -> bool {
        self.output.returns(page);
        true
    }

    fn take_returns(&mut self) -> Option<ReturnReader> {
        self.returns.take()
    }

    fn resolve(&self, address: u64, length: u64) -> Result<Loan, TransportError> {
        self.lent.as_ref().ok_or(TransportError::BadAddress { address, length })?.resolve(address, length)
    }
}

/// A publisher that goes may not take back what a subscriber has not read yet.
#[cfg(windows)]
impl Drop for ShmEndpoint {
    fn drop(&mut self) {
        if self.lent.is_none() {
            crate::linger::close(self.socket.as_fd());
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use arrowlane_memory::{Kind, PoolConfig};

    use super::*;

    #[derive(Default)]
    struct Seen(Vec<Vec<u8>>);

    impl Inbox for Seen {
        fn greeting(&mut self, _uri: &str) -> Result<(), TransportError> {
            Ok(())
        }
        fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
            self.0.push(bytes.to_vec());
            Ok(())
        }
        fn tagged(&mut self, _tag: u64, _body: &[u8]) -> Result<(), TransportError> {
            Ok(())
        }
        fn retired(&mut self, _segment: u16) {}
    }

    #[test]
    fn everything_that_was_sent_before_the_peer_closed_is_received() {
        let pool =
            Pool::new(PoolConfig { kind: Kind::Shared, limit: 1 << 20, segment: 1 << 20, ..PoolConfig::default() })
                .expect("pool");
        pool.grow(1).expect("memory");
        let block = pool.try_allocate(1).expect("block");
        let (mut sender, mut receiver) = ShmEndpoint::pair().expect("socketpair");
        sender.metadata(&[b"first"]);
        sender.lend(&pool, &block).expect("lent");
        assert!(sender.flush().expect("sent"));
        // Reading stops behind a descriptor. The segment is acknowledged then, to a peer that has gone: that must not hide
        // what follows.
        sender.metadata(&[b"second"]);
        assert!(sender.flush().expect("sent"));
        drop(sender);
        let mut seen = Seen::default();
        let ended = loop {
            if let Err(error) = receiver.receive(1 << 20, &mut seen) {
                break error;
            }
        };
        assert!(matches!(ended, TransportError::Closed), "{ended}");
        assert_eq!(seen.0, [b"first".to_vec(), b"second".to_vec()]);
    }
}
