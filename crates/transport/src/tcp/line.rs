//! A connected socket.

use std::{
    io::IoSlice,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use arrowlane_memory::Growing;
use rustix::{
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, Shutdown, recv, send, sendmsg, shutdown},
};

use crate::{
    TransportError,
    stream::{Buffer, Read, SHORT, is_loss, read_body},
    system::QUIETLY,
};

/// Bytes both ways, over a socket that never blocks.
pub(super) struct Line {
    socket: OwnedFd,
}

impl Line {
    pub(super) fn plain(socket: OwnedFd) -> Self {
        Self { socket }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut Buffer) -> Result<Read, TransportError> {
        let read = read_some(&self.socket, buffer.room())?;
        if let Read::Some { bytes, .. } = read {
            buffer.filled(bytes);
        }
        Ok(read)
    }

    /// Reads once, to where a body is to lie.
    pub(super) fn read_body(&mut self, body: &mut Growing) -> Result<Read, TransportError> {
        read_body(body, &self.socket)
    }

    /// Takes as many of the bytes as there is room for. `None` when there is none.
    pub(super) fn write(&mut self, parts: &[IoSlice<'_>]) -> Result<Option<usize>, TransportError> {
        write_some(&self.socket, parts)
    }

    /// Hands over what was taken. `true` when nothing is left.
    pub(super) fn flush(&mut self) -> Result<bool, TransportError> {
        Ok(true)
    }

    /// The peer reads an end.
    pub(super) fn end(&mut self) {
        let _ = shutdown(&self.socket, Shutdown::Write); // a peer that is gone needs no end
    }
}

/// Reads once.
pub(super) fn read_some(socket: impl AsFd, room: &mut [u8]) -> Result<Read, TransportError> {
    loop {
        return match recv(&socket, &mut *room, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Ok(Read::Ended),
            Ok((bytes, _)) => Ok(Read::Some { bytes, emptied: bytes < SHORT }),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(Read::Nothing),
            Err(error) if is_loss(error) => Ok(Read::Ended),
            Err(error) => Err(TransportError::io("recv", error)),
        };
    }
}

/// Writes once; `None` when there is no room.
pub(super) fn write_some(socket: &OwnedFd, parts: &[IoSlice<'_>]) -> Result<Option<usize>, TransportError> {
    loop {
        let sent = match parts {
            [only] => send(socket, only, QUIETLY),
            _ => sendmsg(socket, parts, &mut SendAncillaryBuffer::default(), QUIETLY),
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
