//! Rights to keep what somebody lent, beyond the connection that it was lent over.

use std::sync::Arc;

use rustix::fd::OwnedFd;

/// The keepers that come with a lent segment.
///
/// A keeper is a descriptor that does nothing but be open: whoever lends has the other end, and takes nothing back that was
/// lent over a connection while a copy of its keeper is open anywhere. So a process that hands a segment on hands its keepers on as
/// well, and the memory behind it is safe however many of those in between are gone. They are closed when this is dropped.
#[derive(Debug, Default, Clone)]
pub struct Keepers {
    own: Option<Arc<OwnedFd>>,
    passed: Vec<Arc<OwnedFd>>,
}

impl Keepers {
    /// Most that one segment may have: one for each process that it came through.
    pub const MOST: usize = 8;

    /// `own` is that of the connection that the segment was lent over, `passed` those that its lender was given with it.
    pub fn new(own: Option<Arc<OwnedFd>>, passed: Vec<Arc<OwnedFd>>) -> Self {
        Self { own, passed }
    }

    /// All that the next process has to hold when the segment is handed on; `None` when it must not be, as nobody would
    /// know of that process if this one died.
    pub fn onward(&self) -> Option<Vec<Arc<OwnedFd>>> {
        let own = self.own.as_ref().filter(|_| self.passed.len() < Self::MOST)?;
        Some(self.passed.iter().chain([own]).cloned().collect())
    }
}
