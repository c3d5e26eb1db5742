//! One stream over two connections: metadata over one, bodies over the other (`docs/wire.md`, "Two connections").

use std::{sync::Arc, time::Duration};

use arrowlane_dissociated::{DataUri, Outbox};
use arrowlane_memory::{
    Block, Pool,
    shared::{Mapping, ReturnReader},
};
use bytes::Bytes;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::{
    Endpoint, Inbox, Interest, Loan, Progress, TransportError,
    system::{Poller, Timer},
};

/// When one connection has ended and the other says nothing for so long, the whole has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two connections as one end.
///
/// Untagged messages go over the connection for metadata, tagged ones and lent memory over the one for data; each kind keeps
/// its order, and the two may overtake each other. The owner knows one set of tags, those of the data's URI. The ticket goes
/// over both, each time with that connection's own tag; what a client says afterwards with the tag of the extension goes
/// over the metadata's.
///
/// The descriptor is one for both, and watches for room itself: [`wants_write`](Endpoint::wants_write) is never true.
/// The end is seen when both have ended. When one has, the other is told that nothing more is sent, and has 10 seconds from its last
/// message.
pub struct Split {
    metadata: Half,
    data: Half,
    tags: Rewrite,
    poller: Poller,
    /// Runs while one connection has ended.
    timer: Timer,
}

struct Half {
    end: Box<dyn Endpoint>,
    key: u64,
    interest: Interest,
    ended: bool,
    /// Of a client's: where it led, once that is known.
    uri: Option<DataUri>,
    /// Of a client's: the URI that it was told, whose tags count whatever the server greets with.
    told: Option<DataUri>,
}

/// How tags of the one connection are said on the other.
enum Rewrite {
    /// A client that waits for greetings.
    Unknown,
    /// A client's: tags of the data's URI, and what they are on the metadata's connection.
    Client { want_data: [u64; 2], want_data_ext: Option<[u64; 2]>, asked: bool },
    /// A server's: what a tag on the metadata's connection is to the owner.
    Server { want_data_ext: Option<[u64; 2]> },
}

/// Keys in the poller.
const METADATA: u64 = 0;
const DATA: u64 = 1;
const TIMER: u64 = 2;

impl Split {
    /// A client's end. The greeting is handed on when both have come: the data's URI, which offers the extension only
    /// where both do.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn client(metadata: Box<dyn Endpoint>, data: Box<dyn Endpoint>) -> Result<Self, TransportError> {
        Self::new(metadata, data, Rewrite::Unknown)
    }

    /// As [`client`](Self::client), where each connection was made by a URI that says with which tags: a server that serves
    /// both shapes at one address greets with the tags of the other.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn client_told(
        metadata: (Box<dyn Endpoint>, DataUri),
        data: (Box<dyn Endpoint>, DataUri),
    ) -> Result<Self, TransportError> {
        let mut this = Self::client(metadata.0, data.0)?;
        this.metadata.told = Some(metadata.1);
        this.data.told = Some(data.1);
        Ok(this)
    }

    /// A server's end, of two connections that were accepted, greeted, and whose tickets were read and belong together. The
    /// URIs are those under which clients reached each of them.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn server(
        metadata: (Box<dyn Endpoint>, &DataUri),
        data: (Box<dyn Endpoint>, &DataUri),
    ) -> Result<Self, TransportError> {
        let want_data_ext = metadata.1.want_data_ext.zip(data.1.want_data_ext).map(|(m, d)| [m, d]);
        Self::new(metadata.0, data.0, Rewrite::Server { want_data_ext })
    }

    fn new(metadata: Box<dyn Endpoint>, data: Box<dyn Endpoint>, tags: Rewrite) -> Result<Self, TransportError> {
        let (poller, timer) = (Poller::new()?, Timer::new()?);
        poller.add(timer.as_fd(), TIMER, Interest::Read)?;
        let half = |end: Box<dyn Endpoint>, key| {
            poller.add(end.descriptor(), key, Interest::Read)?;
            Ok::<_, TransportError>(Half { end, key, interest: Interest::Read, ended: false, uri: None, told: None })
        };
        let (metadata, data) = (half(metadata, METADATA)?, half(data, DATA)?);
        let mut this = Self { metadata, data, tags, poller, timer };
        this.watch()?;
        Ok(this)
    }

    /// Watches for what each waits for.
    fn watch(&mut self) -> Result<(), TransportError> {
        for half in [&mut self.metadata, &mut self.data] {
            let interest = if half.end.wants_write() { Interest::ReadWrite } else { Interest::Read };
            if interest != half.interest && !half.ended {
                self.poller.change(half.end.descriptor(), half.key, interest)?;
                half.interest = interest;
            }
        }
        Ok(())
    }

    /// Both connections stand: what the owner is told of them, once.
    fn greeting(&mut self) -> Result<Option<String>, TransportError> {
        let (Rewrite::Unknown, Some(metadata), Some(data)) = (&self.tags, &self.metadata.uri, &self.data.uri) else {
            return Ok(None);
        };
        let want_data_ext = data.want_data_ext.zip(metadata.want_data_ext).map(|(d, m)| [d, m]);
        let mut whole = data.clone();
        whole.want_data_ext = want_data_ext.map(|[data, _]| data);
        self.tags = Rewrite::Client { want_data: [data.want_data, metadata.want_data], want_data_ext, asked: false };
        Ok(Some(whole.to_string()))
    }

    /// Reads from one; how far that got.
    fn receive_from(&mut self, key: u64, budget: usize, inbox: &mut dyn Inbox) -> Result<Progress, TransportError> {
        let half = if key == METADATA { &mut self.metadata } else { &mut self.data };
        if half.ended {
            return Ok(Progress::Drained);
        }
        let Half { end, uri, told, .. } = &mut *half;
        let mut own = From { key, tags: &self.tags, uri, told: told.as_ref(), inbox, any: false };
        let result = end.receive(budget, &mut own);
        let any = own.any;
        let progress = match result {
            Err(TransportError::Closed) => {
                half.ended = true;
                self.poller.delete(half.end.descriptor());
                let other = if key == METADATA { &mut self.data } else { &mut self.metadata };
                other.end.stop_sending();
                self.timer.once(PATIENCE)?;
                Progress::Drained
            }
            other => other?,
        };
        if any && (self.metadata.ended || self.data.ended) {
            self.timer.once(PATIENCE)?;
        }
        Ok(progress)
    }

    /// Whether the connection that is left has been silent for too long.
    fn is_late(&self) -> Result<bool, TransportError> {
        let mut late = false;
        self.poller.wait(Some(Duration::ZERO), |key, _| late |= key == TIMER)?;
        Ok(late)
    }
}

/// Hands on what comes over one of the connections.
struct From<'a> {
    key: u64,
    tags: &'a Rewrite,
    uri: &'a mut Option<DataUri>,
    told: Option<&'a DataUri>,
    inbox: &'a mut dyn Inbox,
    any: bool,
}

impl From<'_> {
    /// A tag as the owner knows it.
    fn tag(&mut self, tag: u64) -> Result<u64, TransportError> {
        self.any = true;
        match self.tags {
            _ if self.key == DATA => Ok(tag),
            Rewrite::Server { want_data_ext: Some([metadata, data]) } if *metadata == tag => Ok(*data),
            _ => Err(TransportError::Framing(format!(
                "a message with the tag {tag} came over the connection for metadata"
            ))),
        }
    }
}

impl Inbox for From<'_> {
    fn greeting(&mut self, uri: &str) -> Result<(), TransportError> {
        self.any = true;
        let mut parsed =
            DataUri::parse(uri).map_err(|e| TransportError::BadUri { address: uri.into(), reason: e.to_string() })?;
        if let Some(told) = self.told {
            parsed.want_data = told.want_data;
            parsed.want_data_ext = told.want_data_ext;
            parsed.free_data = told.free_data;
        }
        match self.uri.replace(parsed) {
            None => Ok(()),
            Some(_) => Err(TransportError::Framing("a second greeting came".into())),
        }
    }

    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.any = true;
        if self.key == DATA {
            return Err(TransportError::Framing("metadata came over the connection for data".into()));
        }
        self.inbox.metadata(bytes)
    }

    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError> {
        let tag = self.tag(tag)?;
        self.inbox.tagged(tag, body)
    }

    fn body(&mut self, tag: u64, body: Bytes) -> Result<(), TransportError> {
        let tag = self.tag(tag)?;
        self.inbox.body(tag, body)
    }

    fn retired(&mut self, segment: u16) {
        self.any = true;
        if self.key == DATA {
            self.inbox.retired(segment);
        }
    }
}

impl Outbox for Split {
    fn metadata(&mut self, parts: &[&[u8]]) {
        self.metadata.end.metadata(parts);
    }

    fn tagged(&mut self, tag: u64, parts: &[&[u8]]) {
        if let Rewrite::Client { want_data, want_data_ext, asked } = &mut self.tags {
            let known = [Some(*want_data), *want_data_ext].into_iter().flatten().find(|[data, _]| *data == tag);
            if let Some([_, on_metadata]) = known {
                self.metadata.end.tagged(on_metadata, parts);
                if std::mem::replace(asked, true) {
                    return;
                }
            }
        }
        self.data.end.tagged(tag, parts);
    }
}

impl Endpoint for Split {
    fn scheme(&self) -> &'static str {
        self.data.end.scheme()
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.poller.descriptor()
    }

    fn receive(&mut self, budget: usize, inbox: &mut dyn Inbox) -> Result<Progress, TransportError> {
        let budget = (budget / 2).max(1);
        let mut progress = Progress::Drained;
        for key in [METADATA, DATA] {
            if self.receive_from(key, budget, inbox)? == Progress::More {
                progress = Progress::More;
            }
        }
        if let Some(uri) = self.greeting()? {
            inbox.greeting(&uri)?;
        }
        let one = self.metadata.ended || self.data.ended;
        let both = self.metadata.ended && self.data.ended;
        if both || one && progress == Progress::Drained && self.is_late()? {
            return Err(TransportError::Closed);
        }
        match self.flush() {
            Ok(_) | Err(TransportError::Closed) => Ok(progress),
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> Result<bool, TransportError> {
        // Bodies first: a peer may stop reading them when it sees the end of the metadata.
        let data = self.data.end.flush();
        let metadata = self.metadata.end.flush();
        self.watch()?;
        Ok(data? & metadata?)
    }

    fn queued(&self) -> usize {
        self.metadata.end.queued() + self.data.end.queued()
    }

    fn copied(&self) -> usize {
        self.metadata.end.copied() + self.data.end.copied()
    }

    fn wants_write(&self) -> bool {
        false
    }

    fn wants_pause(&self) -> bool {
        self.metadata.end.wants_pause() || self.data.end.wants_pause()
    }

    fn peer(&self) -> Option<u32> {
        self.data.end.peer().or_else(|| self.metadata.end.peer())
    }

    fn stop_sending(&mut self) {
        self.metadata.end.stop_sending();
        self.data.end.stop_sending();
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn lends(&self) -> bool {
        self.data.end.lends()
    }

    fn body(&mut self, tag: u64, parts: Vec<Bytes>) {
        self.data.end.body(tag, parts);
    }

    fn lend(&mut self, pool: &Pool, block: &Block) -> Result<(), TransportError> {
        self.data.end.lend(pool, block)
    }

    fn lend_on(&mut self, number: u16, segment: &Arc<Mapping>) -> Result<(), TransportError> {
        self.data.end.lend_on(number, segment)
    }

    fn retire(&mut self, segment: u16) -> bool {
        self.data.end.retire(segment)
    }

    fn offer_returns(&mut self, page: OwnedFd) -> bool {
        self.data.end.offer_returns(page)
    }

    fn take_returns(&mut self) -> Option<ReturnReader> {
        self.data.end.take_returns()
    }

    fn resolve(&self, address: u64, length: u64) -> Result<Loan, TransportError> {
        self.data.end.resolve(address, length)
    }
}
