//! Sender and receiver talking to each other, for tests.
#![cfg(test)]

use crate::Outbox;

/// Keeps what was sent.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    pub metadata: Vec<Vec<u8>>,
    pub tagged: Vec<(u64, Vec<u8>)>,
}

impl Outbox for Wire {
    fn metadata(&mut self, parts: &[&[u8]]) {
        self.metadata.push(parts.concat());
    }

    fn tagged(&mut self, tag: u64, parts: &[&[u8]]) {
        self.tagged.push((tag, parts.concat()));
    }
}
