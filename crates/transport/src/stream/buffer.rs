//! Bytes that have arrived and are not read.

use std::ops::Range;

/// First size of the buffer; it grows as the bytes of a longer message really arrive, never on a peer's word.
const INITIAL: usize = 64 << 10;

/// A buffer that is filled behind and read in front.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Unread bytes are `bytes[start..end]`.
    start: usize,
    end: usize,
}

impl Buffer {
    /// Room for what comes next, 32 KiB at least. Spans that were [taken](Self::take) are no longer valid.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > 8 * INITIAL {
                self.bytes.truncate(INITIAL);
                self.bytes.shrink_to_fit();
            }
        } else if self.start > 0 && self.bytes.len() - self.end < INITIAL / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.bytes.len() - self.end < INITIAL / 2 {
            self.bytes.resize((self.bytes.len() * 2).max(INITIAL), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// So many bytes were written to the start of [`room`](Self::room).
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.bytes.len());
    }

    /// What has arrived and was not taken.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Takes the next bytes, as many of them as are there; where they lie until [`room`](Self::room) is called.
    pub(crate) fn take(&mut self, bytes: usize) -> Range<usize> {
        let from = self.start;
        self.start = (from + bytes).min(self.end);
        from..self.start
    }

    /// Bytes that were taken.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }
}
