//! Shared memory between processes: not on this platform, where every way in says so and none of these can exist.

use std::io;

use rustix::fd::{BorrowedFd, OwnedFd};

mod keepers;

pub use keepers::Keepers;

use crate::error::MemoryError;
use crate::region::Region;

const MISSING: MemoryError = MemoryError::Unsupported { what: "shared memory (memfd)" };

/// Always [`MemoryError::Unsupported`].
pub fn probe() -> Result<&'static str, MemoryError> {
    Err(MISSING)
}

/// A producer's segment.
#[derive(Debug)]
pub enum Segment {}

impl Segment {
    /// Always [`MemoryError::Unsupported`].
    pub fn create(_len: usize) -> Result<Self, MemoryError> {
        Err(MISSING)
    }

    /// Its descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }

    /// The memory.
    pub fn region(&self) -> &Region {
        match *self {}
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        match *self {}
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        match *self {}
    }
}

#[cfg(unix)]
impl rustix::fd::AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}

#[cfg(windows)]
impl rustix::fd::AsSocket for Segment {
    fn as_socket(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}

/// A consumer's mapping.
#[derive(Debug)]
pub enum Mapping {}

impl Mapping {
    /// Always [`MemoryError::Unsupported`].
    pub fn open(_fd: OwnedFd, _expected_len: u64) -> Result<Self, MemoryError> {
        Err(MISSING)
    }

    /// With the keepers that came with it.
    pub fn kept_by(self, _keepers: Keepers) -> Self {
        match self {}
    }

    /// The keepers that came with it.
    pub fn keepers(&self) -> &Keepers {
        match *self {}
    }

    /// Its descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }

    /// The memory.
    pub fn region(&self) -> &Region {
        match *self {}
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        match *self {}
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        match *self {}
    }

    /// Calls `f` when this value is dropped.
    pub fn at_end(&self, _f: impl FnOnce() + Send + 'static) {
        match *self {}
    }

    /// Drops pages that this process wrote.
    pub fn discard_written(&self, _offset: usize, _len: usize) -> io::Result<usize> {
        match *self {}
    }
}

#[cfg(unix)]
impl rustix::fd::AsFd for Mapping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}

#[cfg(windows)]
impl rustix::fd::AsSocket for Mapping {
    fn as_socket(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}

/// A page for returns.
#[derive(Debug)]
pub enum ReturnPage {}

impl ReturnPage {
    /// Always [`MemoryError::Unsupported`].
    pub fn create() -> Result<(Self, OwnedFd), MemoryError> {
        Err(MISSING)
    }

    /// Always [`MemoryError::Unsupported`].
    pub fn open(_fd: &OwnedFd) -> Result<Self, MemoryError> {
        Err(MISSING)
    }
}

/// What became of addresses that were to be noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// They are in the page; the producer will look.
    Quietly,
    /// They are in the page, and the producer waits for them: it is to be woken.
    Wake,
    /// There is no room: they have to be sent.
    Full,
}

/// The consumer's end of a page.
#[derive(Debug)]
pub struct ReturnWriter(ReturnPage);

impl ReturnWriter {
    /// The only writer of `page`.
    pub fn new(page: ReturnPage) -> Self {
        Self(page)
    }

    /// Notes all of `addresses`, or none.
    pub fn note(&mut self, _addresses: &[u64]) -> Noted {
        match self.0 {}
    }
}

/// The consumer claims to have noted more than there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun(pub u64);

/// The producer's end of a page.
#[derive(Debug)]
pub struct ReturnReader(ReturnPage);

impl ReturnReader {
    /// The only reader of `page`.
    pub fn new(page: ReturnPage) -> Self {
        Self(page)
    }

    /// Takes the next address.
    pub fn take(&mut self) -> Result<Option<u64>, Overrun> {
        match self.0 {}
    }

    /// Asks to be woken, or no more.
    pub fn ask(&mut self, _asked: bool) {
        match self.0 {}
    }
}
