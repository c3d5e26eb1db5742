//! A connected socket.

use std::io::IoSlice;

use arrowlane_memory::Growing;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
    net::{Shutdown, send, shutdown},
};

use super::tls::Tls;
use crate::{
    TransportError,
    stream::{Buffer, Read, SHORT, is_loss, read_body, read_some},
    system::{QUIETLY, send_parts},
};

/// Bytes both ways, over a socket that never blocks, private or not.
pub(super) struct Line {
    socket: OwnedFd,
    tls: Option<Box<Tls>>,
}

impl Line {
    pub(super) fn new(socket: OwnedFd, tls: Option<Box<Tls>>) -> Self {
        Self { socket, tls }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Goes on with what comes before the first message. `true` when messages can be sent.
    pub(super) fn stand(&mut self) -> Result<bool, TransportError> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while !tls.stands() {
            tls.flush(&self.socket)?;
            if tls.read(&self.socket)? == Read::Nothing {
                return Ok(false);
            }
        }
        tls.flush(&self.socket)?;
        Ok(true)
    }

    /// Reads once, at most so many bytes, [`SHORT`] at least.
    pub(super) fn read(&mut self, buffer: &mut Buffer, most: usize) -> Result<Read, TransportError> {
        let room = buffer.room();
        let most = most.max(SHORT).min(room.len());
        let room = &mut room[..most];
        let Some(tls) = &mut self.tls else {
            let read = read_some(&self.socket, room)?;
            if let Read::Some { bytes, .. } = read {
                buffer.filled(bytes);
            }
            return Ok(read);
        };
        let mut taken = 0;
        let read = pull(tls, &self.socket, |opened| {
            taken = opened.len().min(room.len());
            room[..taken].copy_from_slice(&opened[..taken]);
            Ok(taken)
        })?;
        buffer.filled(taken);
        Ok(read)
    }

    /// Reads once, to where a body is to lie.
    pub(super) fn read_body(&mut self, body: &mut Growing) -> Result<Read, TransportError> {
        match &mut self.tls {
            None => read_body(body, &self.socket),
            Some(tls) => pull(tls, &self.socket, |opened| Ok(body.append(opened)?)),
        }
    }

    /// Whether bytes have arrived that the socket does not tell of any more.
    pub(super) fn holds(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.opened().is_empty())
    }

    /// Takes as many of the bytes as there is room for. `None` when there is none.
    pub(super) fn write(&mut self, parts: &[IoSlice<'_>]) -> Result<Option<usize>, TransportError> {
        match &mut self.tls {
            None => write_some(&self.socket, parts),
            Some(tls) => tls.write(parts, &self.socket),
        }
    }

    /// Hands over what was taken. `true` when nothing is left.
    pub(super) fn flush(&mut self) -> Result<bool, TransportError> {
        self.tls.as_mut().map_or(Ok(true), |tls| tls.flush(&self.socket))
    }

    /// Bytes that were taken and are not with the system.
    pub(super) fn queued(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.sealed())
    }

    /// Whether room in the socket is what it takes to send more: not while the peer is to say who it is first.
    pub(super) fn waits_for_room(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.sealed() > 0)
    }

    /// The peer reads an end. `false` when that is to be tried again.
    pub(super) fn end(&mut self) -> bool {
        // A peer that is gone needs no end.
        let said = self.tls.as_mut().is_none_or(|tls| tls.end(&self.socket).unwrap_or(true));
        if said {
            let _ = shutdown(&self.socket, Shutdown::Write);
        }
        said
    }
}

/// Takes decrypted bytes, and reads once when there are none.
fn pull(
    tls: &mut Tls,
    socket: &OwnedFd,
    mut take: impl FnMut(&[u8]) -> Result<usize, TransportError>,
) -> Result<Read, TransportError> {
    let mut last = false;
    let mut came = 0;
    if tls.opened().is_empty() {
        match tls.read(socket)? {
            Read::Some { bytes, emptied } => (came, last) = (bytes, emptied),
            other => return Ok(other),
        }
    }
    let taken = take(tls.opened())?;
    tls.take(taken);
    // Work that gave no message counts as well.
    Ok(Read::Some { bytes: taken.max(came), emptied: last && tls.opened().is_empty() })
}

/// Writes once; `None` when there is no room.
pub(super) fn write_some(socket: &OwnedFd, parts: &[IoSlice<'_>]) -> Result<Option<usize>, TransportError> {
    loop {
        let sent = match parts {
            [only] => send(socket, only, QUIETLY),
            _ => send_parts(socket, parts),
        };
        return match sent {
            Ok(sent) => Ok(Some(sent)),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(None),
            Err(error) if is_loss(error) => Err(TransportError::Closed),
            Err(error) => Err(TransportError::io("send", error)),
        };
    }
}
