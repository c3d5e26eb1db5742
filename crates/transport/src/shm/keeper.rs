//! Knowing whether somebody reads still, after the connection is gone over which it was lent.
//!
//! A server cannot know to whom its client hands a segment on. So the client gets a *keeper* with the first segment: one end of a pipe that
//! the server made, to be held as long as anything may be read that was lent over this connection, and to be handed on with every
//! segment. The server has the other end, which tells it when the last copy was closed, by whatever process and in
//! whatever way. A keeper can be held and closed, and nothing else: there is nothing to read in it, nobody reads what somebody might
//! write, and a pipe cannot be shut down for others, as a socket can.

use arrowlane_dissociated::Outbox;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
};

use crate::{Endpoint, Inbox, Progress, TransportError, system::liveness};

/// The server's end.
pub(super) struct Keeper(OwnedFd);

impl Keeper {
    /// One, and the end that is given away.
    pub(super) fn new() -> Result<(Self, OwnedFd), Errno> {
        liveness().map(|(ours, theirs)| (Self(ours), theirs))
    }

    /// Whether nobody has a copy of the other end.
    fn is_over(&self) -> bool {
        let mut polled = [PollFd::new(&self.0, PollFlags::empty())];
        loop {
            match poll(&mut polled, Some(&Timespec::default())) {
                Err(Errno::INTR) => {}
                Err(_) => return false,
                Ok(_) => return polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP),
            }
        }
    }
}

/// What is left of an endpoint whose peer is gone, while others read what that one handed on. It sends and brings nothing; its
/// descriptor is to be watched for its end ([`Interest::End`](crate::Interest::End)), and then it is closed.
pub(super) struct Bereaved {
    keeper: Keeper,
    peer: Option<u32>,
}

impl Bereaved {
    pub(super) fn new(keeper: Keeper, peer: Option<u32>) -> Self {
        Self { keeper, peer }
    }
}

impl Outbox for Bereaved {
    fn metadata(&mut self, _parts: &[&[u8]]) {}
    fn tagged(&mut self, _tag: u64, _parts: &[&[u8]]) {}
}

impl Endpoint for Bereaved {
    fn scheme(&self) -> &'static str {
        "shm"
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.keeper.0.as_fd()
    }

    fn receive(&mut self, _budget: usize, _inbox: &mut dyn Inbox) -> Result<Progress, TransportError> {
        if self.keeper.is_over() { Err(TransportError::Closed) } else { Ok(Progress::Drained) }
    }

    fn flush(&mut self) -> Result<bool, TransportError> {
        Ok(true)
    }

    fn queued(&self) -> usize {
        0
    }

    fn wants_write(&self) -> bool {
        false
    }

    fn peer(&self) -> Option<u32> {
        self.peer
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_is_over_when_the_last_copy_was_closed_and_not_for_anything_that_is_done_with_one() {
        let (keeper, given) = Keeper::new().expect("a pipe");
        let copy = given.try_clone().expect("a copy");
        drop(given);
        // Whoever has it may open the other side as well, and write: nobody reads that, and nothing ends.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&copy));
        let writing = std::fs::OpenOptions::new().write(true).open(path).expect("opened");
        std::io::Write::write_all(&mut &writing, b"x").expect("written");
        drop(writing);
        assert!(!keeper.is_over());
        drop(copy);
        assert!(keeper.is_over());
    }
}
