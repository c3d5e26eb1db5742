//! One end of a connection.

use arrowlane_dissociated::Outbox;
use bytes::Bytes;
use rustix::fd::BorrowedFd;

use super::{
    address::SCHEME,
    connecting::{Connecting, Watch},
    input::{Input, Item, Longest},
    line::Line,
    output::Output,
};
use crate::{Endpoint, Inbox, Progress, TransportError, linger, stream::Read};

/// A connection over the internet protocols, made or in the making.
///
/// A client's end watches its socket itself: its descriptor polls readable also when the connection stands, when it
/// failed, and when there is room again for what could not be sent; [`receive`](Endpoint::receive) goes on with all of
/// that, and [`wants_write`](Endpoint::wants_write) is never true.
pub struct TcpEndpoint {
    end: End,
    input: Input,
    output: Output,
    /// What is queued waits for room.
    full: bool,
    /// Once what is queued is out, the peer reads an end.
    ending: bool,
    /// Something was handed to the system.
    has_sent: bool,
}

enum End {
    Server(Line),
    Client {
        watch: Watch,
        stage: Stage,
        /// What the owner is told as soon as the connection stands: the URI that it connected to.
        greeting: Option<String>,
    },
}

enum Stage {
    Connecting(Connecting),
    Connected(Line),
    Failed,
}

impl Stage {
    /// `true` when the connection stands.
    fn turn(&mut self, watch: &mut Watch) -> Result<bool, TransportError> {
        if let Self::Connecting(connecting) = self {
            let Some(line) = connecting.turn(watch)? else { return Ok(false) };
            *self = Self::Connected(line);
        }
        let Self::Connected(line) = self else { return Err(TransportError::Closed) };
        let stands = line.stand()?;
        watch.wait_for_room(line.socket(), line.queued() > 0)?;
        if !stands {
            watch.check()?;
        }
        Ok(stands)
    }
}

impl End {
    fn line(&mut self) -> Option<&mut Line> {
        match self {
            Self::Server(line) | Self::Client { stage: Stage::Connected(line), .. } => Some(line),
            Self::Client { .. } => None,
        }
    }

    /// Bytes that were taken from the queue and are not with the system.
    fn held(&self) -> usize {
        match self {
            Self::Server(line) | Self::Client { stage: Stage::Connected(line), .. } => line.queued(),
            Self::Client { .. } => 0,
        }
    }
}

impl TcpEndpoint {
    /// A server's end of a connection that was accepted.
    pub(super) fn accepted(line: Line) -> Self {
        Self::new(End::Server(line), Longest::OF_CLIENTS)
    }

    /// A client's end of a connection that is in the making.
    pub(super) fn connecting(connecting: Connecting, watch: Watch, uri: String) -> Self {
        let end = End::Client { watch, stage: Stage::Connecting(connecting), greeting: Some(uri) };
        Self::new(end, Longest::OF_SERVERS)
    }

    fn new(end: End, longest: Longest) -> Self {
        Self { end, input: Input::new(longest), output: Output::default(), full: false, ending: false, has_sent: false }
    }

    /// Goes on connecting. `false` while the connection does not stand.
    fn connect(&mut self, inbox: &mut dyn Inbox) -> Result<bool, TransportError> {
        let End::Client { watch, stage, greeting } = &mut self.end else { return Ok(true) };
        if greeting.is_none() {
            return Ok(true);
        }
        match stage.turn(watch) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => {
                *stage = Stage::Failed;
                return Err(error);
            }
        }
        watch.stands();
        if let Some(uri) = greeting.take() {
            inbox.greeting(&uri)?;
        }
        Ok(true)
    }

    fn dispatch(&mut self, inbox: &mut dyn Inbox) -> Result<(), TransportError> {
        while let Some(item) = self.input.next()? {
            match item {
                Item::Metadata(range) => inbox.metadata(self.input.bytes(range))?,
                Item::Tagged(tag, range) => inbox.tagged(tag, self.input.bytes(range))?,
                Item::Body(tag, body) => inbox.body(tag, body)?,
            }
        }
        Ok(())
    }

    fn read(&mut self, budget: usize, inbox: &mut dyn Inbox) -> Result<Progress, TransportError> {
        let mut read = 0;
        loop {
            let line = self.end.line().ok_or(TransportError::Closed)?;
            match self.input.read(line)? {
                Read::Nothing => return Ok(Progress::Drained),
                // Also within a message: a peer that is killed while it sends leaves half of one.
                Read::Ended => return Err(TransportError::Closed),
                Read::Some { bytes, emptied } => {
                    read += bytes;
                    self.dispatch(inbox)?;
                    // A short read has emptied the socket; what arrives from now on makes the descriptor readable again.
                    if emptied {
                        return Ok(Progress::Drained);
                    }
                    if read >= budget && self.end.line().is_none_or(|line| !line.holds()) {
                        return Ok(Progress::More);
                    }
                }
            }
        }
    }
}

impl Outbox for TcpEndpoint {
    fn metadata(&mut self, parts: &[&[u8]]) {
        self.output.metadata(parts);
    }

    fn tagged(&mut self, tag: u64, parts: &[&[u8]]) {
        self.output.tagged(tag, parts);
    }
}

impl Endpoint for TcpEndpoint {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.end {
            End::Server(line) => line.socket(),
            End::Client { watch, .. } => watch.descriptor(),
        }
    }

    fn receive(&mut self, budget: usize, inbox: &mut dyn Inbox) -> Result<Progress, TransportError> {
        if !self.connect(inbox)? {
            return Ok(Progress::Drained);
        }
        let progress = self.read(budget, inbox)?;
        match self.flush() {
            // It reads no more, but what it sent before it closed is still to be read; then the socket reports its end.
            Ok(_) | Err(TransportError::Closed) => Ok(progress),
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> Result<bool, TransportError> {
        if let End::Client { stage: Stage::Connecting(_) | Stage::Connected(_), greeting: Some(_), .. } = self.end {
            return Ok(self.output.queued() == 0);
        }
        let line = self.end.line().ok_or(TransportError::Closed)?;
        self.has_sent |= self.output.queued() > 0;
        let flushed = self.output.flush(line);
        self.full = matches!(flushed, Ok(false)) && line.waits_for_room();
        let mut flushed = flushed?;
        if self.ending && flushed {
            flushed = line.end();
            self.full = !flushed;
            self.ending = !flushed;
        }
        if let End::Client { watch, stage: Stage::Connected(line), .. } = &mut self.end {
            watch.wait_for_room(line.socket(), self.full)?;
        }
        Ok(flushed)
    }

    fn queued(&self) -> usize {
        self.output.queued() + self.end.held()
    }

    fn copied(&self) -> usize {
        self.output.copied() + self.end.held()
    }

    fn wants_write(&self) -> bool {
        self.full && matches!(self.end, End::Server(_))
    }

    fn stop_sending(&mut self) {
        self.ending = true;
    }

    fn body(&mut self, tag: u64, parts: Vec<Bytes>) {
        self.output.body(tag, parts);
    }
}

impl Drop for TcpEndpoint {
    fn drop(&mut self) {
        if let Some(line) = self.end.line().filter(|_| self.has_sent) {
            line.end(); // as far as there is room
            linger::close(line.socket());
        }
    }
}
