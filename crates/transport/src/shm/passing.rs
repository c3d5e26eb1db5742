//! Bytes to and from the socket, and the descriptors that travel beside them; on Windows there are none.

use std::{collections::VecDeque, io::IoSlice};

use rustix::{
    fd::{AsFd, OwnedFd},
    io::Errno,
    net::send,
};

use super::output::Descriptor;
use crate::{
    TransportError,
    stream::{Read, SHORT},
    system::{QUIETLY, send_parts},
};

/// As many of the bytes as there is room for; the descriptors go with the first of them.
pub(super) fn put(socket: &OwnedFd, parts: &[IoSlice<'_>], descriptors: &[Descriptor]) -> Result<usize, Errno> {
    match parts {
        _ if !descriptors.is_empty() => put_with(socket, parts, descriptors),
        [only] => send(socket, only, QUIETLY),
        _ => send_parts(socket, parts),
    }
}

fn some(bytes: usize) -> Read {
    if bytes == 0 { Read::Ended } else { Read::Some { bytes, emptied: bytes < SHORT } }
}

#[cfg(unix)]
fn put_with(socket: &OwnedFd, parts: &[IoSlice<'_>], descriptors: &[Descriptor]) -> Result<usize, Errno> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};

    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(crate::frame::MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
    let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
    debug_assert!(fits, "the space was sized for all that a frame can have");
    sendmsg(socket, parts, &mut control, QUIETLY)
}

#[cfg(windows)]
fn put_with(_socket: &OwnedFd, _parts: &[IoSlice<'_>], _descriptors: &[Descriptor]) -> Result<usize, Errno> {
    Err(Errno::OPNOTSUPP) // nothing is lent here
}

/// Reads once; what comes beside the bytes is put behind `descriptors`.
#[cfg(unix)]
pub(super) fn get(
    socket: impl AsFd,
    room: &mut [u8],
    descriptors: &mut VecDeque<OwnedFd>,
) -> Result<Read, TransportError> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, ReturnFlags, recvmsg};

    use crate::{
        frame::MAX_DESCRIPTORS,
        system::{RECEIVING, keep_from_children},
    };

    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [std::io::IoSliceMut::new(room)];
        match recvmsg(&socket, &mut parts, &mut control, RECEIVING) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Read::Nothing),
            Err(Errno::CONNRESET) => return Ok(Read::Ended),
            Err(error) => return Err(TransportError::io("recvmsg", error)),
        }
    };
    let before = descriptors.len();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = message {
            descriptors.extend(came.inspect(keep_from_children));
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) && descriptors.len() - before < MAX_DESCRIPTORS {
        // There was space for more, but the system could not open what was sent.
        return Err(TransportError::io(
            "receiving memory (raise this process's limit of open files, ulimit -n)",
            Errno::MFILE,
        ));
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(TransportError::Framing("more descriptors came than any frame has".into()));
    }
    Ok(some(received.bytes))
}

/// Reads once; nothing comes beside the bytes.
#[cfg(windows)]
pub(super) fn get(
    socket: impl AsFd,
    room: &mut [u8],
    _descriptors: &mut VecDeque<OwnedFd>,
) -> Result<Read, TransportError> {
    loop {
        match rustix::net::recv(socket.as_fd(), &mut *room, crate::system::NO_WAIT) {
            Ok((bytes, _)) => return Ok(some(bytes)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Read::Nothing),
            Err(error) if crate::stream::is_loss(error) => return Ok(Read::Ended),
            Err(error) => return Err(TransportError::io("recv", error)),
        }
    }
}
