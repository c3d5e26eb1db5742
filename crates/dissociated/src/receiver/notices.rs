//! What the sender said about the stream, kept until its place in the sequence.

use std::collections::VecDeque;

use crate::{Fields, Limits, Result, Serial};

/// Notices that may wait for the bodies of messages before them.
const MAX_PENDING: u64 = 1 << 14;

#[derive(Debug, Default)]
pub(super) struct Notices(VecDeque<(Serial, Fields)>);

impl Notices {
    /// Comes before the message with number `before`, and behind what was said before; `next` is to be delivered next.
    pub fn add(&mut self, before: Serial, next: Serial, text: &str) -> Result<()> {
        Limits::check("number of pending notices", self.0.len() as u64 + 1, MAX_PENDING)?;
        let fields = Fields::parse(text)?;
        let later = self.0.iter().rev().take_while(|(other, _)| other.since(next) > before.since(next)).count();
        self.0.insert(self.0.len() - later, (before, fields));
        Ok(())
    }

    /// The oldest, when the message with number `next` is the next one.
    pub fn due(&mut self, next: Serial) -> Option<Fields> {
        if self.0.front()?.0 != next {
            return None;
        }
        self.0.pop_front().map(|(_, fields)| fields)
    }
}
