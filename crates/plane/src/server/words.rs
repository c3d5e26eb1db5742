//! What clients say before they are served.

use arrowlane_transport::{Inbox, TransportError};

/// Messages that may come behind a ticket before its answer.
pub(super) const MOST_BEHIND: usize = 64;

/// What a client says before it is served.
pub(super) struct Words {
    pub(super) first: Option<(u64, Vec<u8>)>,
    pub(super) rest: Vec<(u64, Vec<u8>)>,
    /// It was refused: nothing that it says matters.
    pub(super) refused: bool,
}

impl Words {
    pub(super) fn all(self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        self.first.into_iter().chain(self.rest)
    }
}

impl Inbox for Words {
    fn greeting(&mut self, _uri: &str) -> Result<(), TransportError> {
        Err(TransportError::Framing("a client does not greet".into()))
    }

    fn metadata(&mut self, _bytes: &[u8]) -> Result<(), TransportError> {
        Err(TransportError::Framing("a client sends no metadata".into()))
    }

    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError> {
        if self.refused {
            return Ok(());
        }
        if self.first.is_none() {
            self.first = Some((tag, body.to_vec()));
            return Ok(());
        }
        if self.rest.len() >= MOST_BEHIND {
            return Err(TransportError::Framing("it does not wait for the answer to its ticket".into()));
        }
        self.rest.push((tag, body.to_vec()));
        Ok(())
    }

    fn retired(&mut self, _segment: u16) {}
}
