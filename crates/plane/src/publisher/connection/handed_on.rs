//! What a subscriber may have handed on, and what is handed on to it.
//!
//! A subscriber that dies may have forwarded what it was lent, and those behind it read still. The connection knows of them
//! by its keeper (`transport/shm/keeper`), and stays until the last of them has let go: an *orphan*. All that was out then is kept
//! until then, as nobody can say any more which of it is read.

use arrowlane_transport::Interest;
use bytes::Bytes;

use super::Connection;
use crate::{
    Lane, Memory, Relayed, copied,
    outgoing::ALIGN,
    publisher::{ledger::Lent, lending::PADDING, talk::Phase},
};

impl Connection {
    /// The subscriber holds keepers.
    pub(in crate::publisher) fn keep(&mut self) {
        self.endpoint.keep();
    }

    /// The subscriber is gone. Whether this has to stay, as somebody reads what was lent to it.
    pub(in crate::publisher) fn outlives(&mut self, lane: &Lane) -> bool {
        if self.orphaned {
            return self.receive().is_ok();
        }
        // What it noted before it went. Where it noted nonsense, all of it is still out.
        let _ = self.collect();
        let holds = matches!(&self.talk.phase, Phase::Streaming(s) | Phase::Ended(s) if s.outstanding() > 0);
        let Some(rest) = self.endpoint.outlive().filter(|_| holds) else { return false };
        let gone = std::mem::replace(&mut self.endpoint, rest);
        let watched = lane.reactor().replace(self.key, gone.descriptor(), self.endpoint.descriptor(), Interest::End);
        if let Err(error) = watched {
            // It is looked at whenever memory is needed.
            tracing::warn!(%error, "what a subscriber left behind cannot be watched");
        }
        // With what was queued for it, and a keeper among that.
        drop(gone);
        self.finish(None);
        (self.orphaned, self.writing, self.returns) = (true, false, None);
        self.receive().is_ok()
    }

    /// This process stops, while subscribers may read what is somebody else's: that does not go back with these connections.
    /// Its owner sees this process's own connection close, and waits for its keepers.
    pub(in crate::publisher) fn abandon(&self) {
        let (Phase::Streaming(sender) | Phase::Ended(sender)) = &self.talk.phase else { return };
        for lent in sender.kept() {
            if let Memory::Relayed(relayed) = lent.memory() {
                relayed.body.abandon();
            }
        }
    }
}

/// The bytes of a received body for a subscriber to whom it cannot be lent, each buffer padded as in its header: as this process
/// sees them.
pub(super) fn parts(relayed: &Relayed, lent: &Lent) -> Vec<Bytes> {
    let mut parts = Vec::with_capacity(2 * relayed.buffers.len());
    for &(start, length) in relayed.buffers.iter().filter(|(_, length)| *length > 0) {
        copied::count(length as u64);
        parts.push(Bytes::from_owner(Piece { _lent: lent.clone(), start, length }));
        match length.next_multiple_of(ALIGN) - length {
            0 => {}
            missing => parts.push(Bytes::from_static(&PADDING[..missing])),
        }
    }
    parts
}

/// One buffer of a received body.
struct Piece {
    _lent: Lent,
    start: usize,
    length: usize,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `Publisher::memory_of` found these bytes in the received body, which `_lent` keeps mapped. Its owner does not
        // write there while the lease lasts. JavaScript of this process may, through its own handle, on the thread that
        // hands these bytes to the system and never during that.
        unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(self.start), self.length) }
    }
}
