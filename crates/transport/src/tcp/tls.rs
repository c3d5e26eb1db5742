//! TLS on a connection: bytes in, bytes out, no socket of its own.

use std::io::{IoSlice, Read as _, Write as _};

use rustix::fd::OwnedFd;
use rustls::Connection;

use super::line::write_some;
use crate::{
    TransportError,
    stream::{Read, read_some},
};

/// Most that is read at a time.
const CHUNK: usize = 64 << 10;

/// A session, and what of it is on the way. All that arrived is decrypted at once, so that what the descriptor says stays true: nothing
/// that is complete is left in the session.
pub(super) struct Tls {
    session: Connection,
    /// Whom it is with, for messages.
    peer: String,
    arrived: Vec<u8>,
    /// Decrypted, and taken so far.
    opened: Vec<u8>,
    taken: usize,
    /// Encrypted, and sent so far.
    sealed: Vec<u8>,
    sent: usize,
    /// The peer said that nothing follows.
    ended: bool,
    has_ended: bool,
}

impl Tls {
    pub(super) fn new(session: impl Into<Connection>, peer: String) -> Self {
        Self {
            session: session.into(),
            peer,
            arrived: Vec::new(),
            opened: Vec::new(),
            taken: 0,
            sealed: Vec::new(),
            sent: 0,
            ended: false,
            has_ended: false,
        }
    }

    /// Whether both sides know who the other is, and messages can be sent.
    pub(super) fn stands(&self) -> bool {
        !self.session.is_handshaking()
    }

    /// Decrypted bytes that no descriptor tells of.
    pub(super) fn opened(&self) -> &[u8] {
        &self.opened[self.taken..]
    }

    /// So many of [`opened`](Self::opened) were taken.
    pub(super) fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        if self.taken >= self.opened.len() {
            self.opened.clear();
            self.taken = 0;
        }
    }

    /// Encrypted bytes that are not with the system.
    pub(super) fn sealed(&self) -> usize {
        self.sealed.len() - self.sent
    }

    /// Reads once and decrypts all that came.
    ///
    /// # Errors
    /// When what came is not TLS, or says that the peer is not whom it should be; the peer is told.
    pub(super) fn read(&mut self, socket: &OwnedFd) -> Result<Read, TransportError> {
        if self.ended {
            return Ok(Read::Ended);
        }
        self.arrived.resize(CHUNK, 0);
        let read = read_some(socket, &mut self.arrived)?;
        match read {
            Read::Some { bytes, .. } => self.open(bytes, socket)?,
            Read::Ended if !self.stands() => {
                return Err(self.failed("the peer closed the connection before it stood: does it speak TLS?"));
            }
            Read::Ended | Read::Nothing => {}
        }
        Ok(read)
    }

    fn open(&mut self, bytes: usize, socket: &OwnedFd) -> Result<(), TransportError> {
        let arrived = std::mem::take(&mut self.arrived);
        let mut rest = &arrived[..bytes];
        while !rest.is_empty() && !self.ended {
            let failed = |e: std::io::Error| TransportError::io("reading TLS", e);
            self.session.read_tls(&mut rest).map_err(failed)?;
            match self.session.process_new_packets() {
                Ok(state) => {
                    let from = self.opened.len();
                    self.opened.resize(from + state.plaintext_bytes_to_read(), 0);
                    self.session.reader().read_exact(&mut self.opened[from..]).map_err(failed)?;
                    self.ended = state.peer_has_closed();
                }
                Err(error) => {
                    let _ = self.flush(socket); // the alert; a peer that is gone needs none
                    return Err(self.failed(&error.to_string()));
                }
            }
        }
        self.arrived = arrived;
        Ok(())
    }

    fn failed(&self, reason: &str) -> TransportError {
        TransportError::Tls { peer: self.peer.clone(), reason: reason.into() }
    }

    /// Encrypts as much as there is room for. `None` when there is none, or the peer is not known yet.
    pub(super) fn write(&mut self, parts: &[IoSlice<'_>], socket: &OwnedFd) -> Result<Option<usize>, TransportError> {
        if !self.stands() || !self.flush(socket)? {
            return Ok(None);
        }
        let taken = self.session.writer().write_vectored(parts).map_err(|e| TransportError::io("writing TLS", e))?;
        self.flush(socket)?;
        Ok(Some(taken).filter(|taken| *taken > 0))
    }

    /// Hands over what is encrypted. `true` when nothing is left.
    pub(super) fn flush(&mut self, socket: &OwnedFd) -> Result<bool, TransportError> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.sealed).map_err(|e| TransportError::io("writing TLS", e))?;
        }
        while self.sealed() > 0 {
            match write_some(socket, &[IoSlice::new(&self.sealed[self.sent..])])? {
                Some(sent) => self.sent += sent,
                None => return Ok(false),
            }
        }
        self.sealed.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Tells the peer that nothing follows. `true` when that is with the system.
    pub(super) fn end(&mut self, socket: &OwnedFd) -> Result<bool, TransportError> {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.session.send_close_notify();
        }
        self.flush(socket)
    }
}
