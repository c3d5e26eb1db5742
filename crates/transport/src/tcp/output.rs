//! Messages on their way to a connection.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{
    framing::{padding, tagged, untagged},
    line::Line,
};
use crate::{
    TransportError,
    stream::{Gather, SMALL},
};

/// Messages in order, framed.
#[derive(Default)]
pub(super) struct Output(Gather<()>);

impl Output {
    pub(super) fn metadata(&mut self, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum();
        self.0.copy(&[&untagged(length)]);
        self.copy(parts, length);
    }

    pub(super) fn tagged(&mut self, tag: u64, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum();
        self.0.copy(&[&tagged(tag, length)]);
        self.copy(parts, length);
    }

    fn copy(&mut self, parts: &[&[u8]], length: usize) {
        self.0.copy(parts);
        self.0.copy(&[padding(length as u64)]);
    }

    /// A tagged message whose parts are not copied, unless they are small.
    pub(super) fn body(&mut self, tag: u64, parts: Vec<Bytes>) {
        let length = parts.iter().map(Bytes::len).sum();
        if length <= SMALL {
            return self.tagged(tag, &parts.iter().map(|part| &part[..]).collect::<Vec<_>>());
        }
        self.0.copy(&[&tagged(tag, length)]);
        self.0.append(parts);
        self.0.append([Bytes::from_static(padding(length as u64))]);
    }

    pub(super) fn queued(&self) -> usize {
        self.0.queued()
    }

    /// As [`queued`](Self::queued), without bodies that lie in somebody else's memory.
    pub(super) fn copied(&self) -> usize {
        self.0.copied()
    }

    /// Hands over as much as there is room for. `true` when nothing is left.
    pub(super) fn flush(&mut self, line: &mut Line) -> Result<bool, TransportError> {
        let stopped =
            self.0.flush(|parts, ()| Ok(line.write(parts)?.map_or(ControlFlow::Break(()), ControlFlow::Continue)))?;
        Ok(line.flush()? && stopped.is_none())
    }
}
