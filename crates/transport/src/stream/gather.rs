//! Bytes on their way to the system, copied and not.

use std::{collections::VecDeque, io::IoSlice, ops::ControlFlow};

use bytes::{Buf, Bytes};

use crate::TransportError;

/// Parts that go to the system at a time.
const PARTS: usize = 64;

/// What is queued, in order: runs of copied bytes, each with parts behind it that lie where they lay. What goes to the
/// system together with a run's first byte is of type `T`.
#[derive(Default)]
pub(crate) struct Gather<T> {
    runs: VecDeque<Run<T>>,
    queued: usize,
    /// Those among `queued` that are parts.
    uncopied: usize,
}

#[derive(Default)]
struct Run<T> {
    bytes: Vec<u8>,
    sent: usize,
    with: T,
    /// What follows the bytes. Each part is let go of as soon as it is with the system.
    parts: VecDeque<Bytes>,
}

impl<T: Default> Gather<T> {
    /// Copies bytes behind what is queued.
    pub(crate) fn copy(&mut self, bytes: &[&[u8]]) {
        if self.runs.back().is_none_or(|run| !run.parts.is_empty()) {
            self.runs.push_back(Run::default());
        }
        let Some(run) = self.runs.back_mut() else { return };
        for part in bytes {
            run.bytes.extend_from_slice(part);
            self.queued += part.len();
        }
    }

    /// Begins a run. Bytes are to be copied into it: `with` goes with the first of them.
    pub(crate) fn begin(&mut self, with: T) {
        self.runs.push_back(Run { with, ..Run::default() });
    }

    /// Queues parts where they lie, behind what is queued.
    pub(crate) fn append(&mut self, parts: impl IntoIterator<Item = Bytes>) {
        if self.runs.is_empty() {
            self.runs.push_back(Run::default());
        }
        let Some(run) = self.runs.back_mut() else { return };
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            self.queued += part.len();
            self.uncopied += part.len();
            run.parts.push_back(part);
        }
    }

    /// Bytes that are not with the system.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// As [`queued`](Self::queued), without those that lie in somebody else's memory.
    pub(crate) fn copied(&self) -> usize {
        self.queued - self.uncopied
    }

    /// Hands over run by run until nothing is left, or `put` stops. It gets one part at least and what goes with the first
    /// byte, which it may take, and returns how many bytes it took.
    pub(crate) fn flush<S>(
        &mut self,
        mut put: impl FnMut(&[IoSlice<'_>], &mut T) -> Result<ControlFlow<S, usize>, TransportError>,
    ) -> Result<Option<S>, TransportError> {
        loop {
            let only = self.runs.len() == 1;
            let Some(run) = self.runs.front_mut() else { return Ok(None) };
            while !run.is_sent() {
                match run.put(&mut put)? {
                    ControlFlow::Continue(sent) => {
                        self.uncopied -= run.advance(sent);
                        self.queued -= sent;
                    }
                    ControlFlow::Break(stopped) => return Ok(Some(stopped)),
                }
            }
            if only {
                // The usual case: keep the buffer, unless a burst made it large.
                run.bytes.clear();
                run.sent = 0;
                if run.bytes.capacity() > 1 << 20 {
                    run.bytes.shrink_to(1 << 16);
                }
                return Ok(None);
            }
            self.runs.pop_front();
        }
    }
}

impl<T> Run<T> {
    fn is_sent(&self) -> bool {
        self.sent == self.bytes.len() && self.parts.is_empty()
    }

    fn put<R>(&mut self, put: &mut impl FnMut(&[IoSlice<'_>], &mut T) -> R) -> R {
        let rest = &self.bytes[self.sent..];
        if self.parts.is_empty() {
            return put(&[IoSlice::new(rest)], &mut self.with);
        }
        let rest = Some(rest).filter(|rest| !rest.is_empty());
        let parts = rest.into_iter().chain(self.parts.iter().map(|part| &part[..]));
        let parts: Vec<_> = parts.take(PARTS).map(IoSlice::new).collect();
        put(&parts, &mut self.with)
    }

    /// Forgets what was handed over; how much of it were parts.
    fn advance(&mut self, sent: usize) -> usize {
        let of_bytes = sent.min(self.bytes.len() - self.sent);
        self.sent += of_bytes;
        let mut left = sent - of_bytes;
        while let Some(part) = self.parts.front_mut().filter(|_| left > 0) {
            let now = left.min(part.len());
            part.advance(now);
            left -= now;
            if part.is_empty() {
                self.parts.pop_front();
            }
        }
        sent - of_bytes
    }
}
