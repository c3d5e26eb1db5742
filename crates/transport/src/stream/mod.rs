//! What every transport on a stream socket needs: a queue that sends bodies from where they lie, and a buffer that takes
//! memory as bytes arrive.

mod buffer;
mod gather;

use arrowlane_memory::Growing;
use rustix::{fd::AsFd, io::Errno, net::recv};

pub(crate) use buffer::Buffer;
pub(crate) use gather::Gather;

use crate::{TransportError, system};

/// Bodies up to this are copied behind what is queued before them: that costs less than a system call.
pub(crate) const SMALL: usize = 8 << 10;

/// Fewer bytes than this came because there were no more.
pub(crate) const SHORT: usize = 4096;

/// What one read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes, and whether they may be all that there were.
    Some { bytes: usize, emptied: bool },
    /// Nothing has arrived.
    Nothing,
    /// Nothing will.
    Ended,
}

/// Reads once, straight to where a body is to lie.
pub(crate) fn read_body(body: &mut Growing, socket: impl AsFd) -> Result<Read, TransportError> {
    let room = body.spare()?;
    let asked = room.len();
    loop {
        match recv(socket.as_fd(), &mut *room, system::NO_WAIT) {
            Ok((_, 0)) => return Ok(Read::Ended),
            Ok((_, bytes)) => {
                // SAFETY: the system wrote so many bytes to the start of `room`, which is what `spare` returned last.
                unsafe { body.advance(bytes) };
                return Ok(Read::Some { bytes, emptied: bytes < asked.min(SHORT) });
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Read::Nothing),
            Err(error) if is_loss(error) => return Ok(Read::Ended),
            Err(error) => return Err(TransportError::io("recv", error)),
        }
    }
}

/// Reads once.
pub(crate) fn read_some(socket: impl AsFd, room: &mut [u8]) -> Result<Read, TransportError> {
    loop {
        return match recv(socket.as_fd(), &mut *room, system::NO_WAIT) {
            Ok((0, _)) => Ok(Read::Ended),
            Ok((bytes, _)) => Ok(Read::Some { bytes, emptied: bytes < SHORT }),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(Read::Nothing),
            Err(error) if is_loss(error) => Ok(Read::Ended),
            Err(error) => Err(TransportError::io("recv", error)),
        };
    }
}

/// Whether an error says that the peer, or the way to it, is gone.
pub(crate) fn is_loss(error: Errno) -> bool {
    let lost = matches!(
        error,
        Errno::CONNRESET
            | Errno::CONNABORTED
            | Errno::TIMEDOUT
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::NETRESET
    );
    lost || system::is_gone(error)
}
