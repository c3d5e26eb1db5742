//! A page of addresses that go back, shared by a consumer and its producer.
//!
//! A message that says "this address is free again" costs a system call on both sides and wakes the producer, who mostly
//! does not care yet. So the consumer also has a page in which it notes such addresses; the producer looks there before it
//! takes new memory, and asks to be woken only while it waits.
//!
//! Neither side trusts the page: each keeps its own counters and checks what it finds.
//!
//! | Offset | Written by | |
//! |---|---|---|
//! | 0 | producer | `u64` addresses taken so far |
//! | 8 | producer | `u64` not 0: wake me when something is noted |
//! | 64 | consumer | `u64` addresses noted so far |
//! | 128 | consumer | 496 × `u64` addresses; the one numbered n (from 0) is at `n % 496` |

use std::os::fd::OwnedFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use rustix::fs::{FallocateFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate};
use rustix::io::{Errno, retry_on_intr};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::{mapping, segment};
use crate::error::MemoryError;

/// Length of the page in bytes, whatever the machine's pages are.
pub const RETURNS_LENGTH: u64 = 4096;

const TAKEN: usize = 0;
const ASKED: usize = 1;
const NOTED: usize = 8;
const FIRST: usize = 16;
const SLOTS: u64 = RETURNS_LENGTH / 8 - FIRST as u64;

/// What the page has to be sealed with: then no access to it can fail.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

const MAKE: &str = "make a page for returns";
const MAP: &str = "map a received page for returns";

/// The page, mapped shared and writable. Send and Sync.
#[derive(Debug)]
pub struct ReturnPage {
    start: NonNull<AtomicU64>,
}

// SAFETY: the mapping belongs to this value, is accessed as atomics only, and munmap works from any thread.
unsafe impl Send for ReturnPage {}
// SAFETY: as above.
unsafe impl Sync for ReturnPage {}

impl ReturnPage {
    /// Makes the page, on the consumer's side, and the descriptor to hand to the producer.
    pub fn create() -> Result<(Self, OwnedFd), MemoryError> {
        let failed = |errno: Errno| MemoryError::system(MAKE, RETURNS_LENGTH, errno);
        let fd = segment::anonymous_file()?;
        ftruncate(&fd, RETURNS_LENGTH).map_err(failed)?;
        retry_on_intr(|| fallocate(&fd, FallocateFlags::empty(), 0, RETURNS_LENGTH)).map_err(failed)?;
        fcntl_add_seals(&fd, SEALS).map_err(failed)?;
        Ok((Self::map(&fd, MAKE)?, fd))
    }

    /// Maps a page received from a peer, which is taken for hostile: a plain memfd of the right length that cannot shrink.
    pub fn open(fd: &OwnedFd) -> Result<Self, MemoryError> {
        mapping::check(fd, RETURNS_LENGTH, SEALS)?;
        Self::map(fd, MAP)
    }

    fn map(fd: &OwnedFd, doing: &'static str) -> Result<Self, MemoryError> {
        let failed = |errno: Errno| MemoryError::system(doing, RETURNS_LENGTH, errno);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe { mmap(null_mut(), RETURNS_LENGTH as usize, access, MapFlags::SHARED, fd, 0) };
        let start = NonNull::new(start.map_err(failed)?.cast()).ok_or_else(|| failed(Errno::FAULT))?;
        Ok(Self { start })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < RETURNS_LENGTH as usize / 8);
        // SAFETY: the index is a constant or below FIRST + SLOTS, so the word lies in the mapping, aligned to 8, for as
        // long as `self` lives. The file cannot shrink. The other process accesses it by whole words too, or breaks its
        // own protocol, which shows as a wrong value and no worse.
        unsafe { self.start.add(index).as_ref() }
    }

    fn slot(&self, number: u64) -> &AtomicU64 {
        self.word(FIRST + (number % SLOTS) as usize)
    }
}

impl Drop for ReturnPage {
    fn drop(&mut self) {
        // SAFETY: `map` made exactly this mapping, and nobody can refer to it any more.
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast(), RETURNS_LENGTH as usize) } {
            tracing::error!(%error, "could not unmap a page for returns");
        }
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

/// The consumer's end.
#[derive(Debug)]
pub struct ReturnWriter {
    page: ReturnPage,
    noted: u64,
}

impl ReturnWriter {
    /// The only writer of `page`.
    pub fn new(page: ReturnPage) -> Self {
        Self { page, noted: 0 }
    }

    /// Notes all of `addresses`, or none.
    pub fn note(&mut self, addresses: &[u64]) -> Noted {
        let taken = self.page.word(TAKEN).load(Ordering::Acquire);
        // A producer that writes nonsense there has its returns by messages.
        let waiting = self.noted.wrapping_sub(taken);
        if waiting > SLOTS || SLOTS - waiting < addresses.len() as u64 {
            return Noted::Full;
        }
        for address in addresses {
            self.page.slot(self.noted).store(*address, Ordering::Relaxed);
            self.noted = self.noted.wrapping_add(1);
        }
        self.page.word(NOTED).store(self.noted, Ordering::Release);
        // Pairs with the fence in `ReturnReader::ask`: either the producer sees what was noted, or we see that it asked.
        fence(Ordering::SeqCst);
        if self.page.word(ASKED).load(Ordering::Relaxed) == 0 { Noted::Quietly } else { Noted::Wake }
    }
}

/// The producer's end.
#[derive(Debug)]
pub struct ReturnReader {
    page: ReturnPage,
    taken: u64,
    asked: bool,
}

/// The consumer claims to have noted more than there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun(pub u64);

impl ReturnReader {
    /// The only reader of `page`.
    pub fn new(page: ReturnPage) -> Self {
        Self { page, taken: 0, asked: false }
    }

    /// Takes the next address. What it is worth is for the caller to check.
    ///
    /// # Errors
    /// [`Overrun`] when the consumer's count cannot be true.
    pub fn take(&mut self) -> Result<Option<u64>, Overrun> {
        let noted = self.page.word(NOTED).load(Ordering::Acquire);
        if noted == self.taken {
            return Ok(None);
        }
        let waiting = noted.wrapping_sub(self.taken);
        if waiting > SLOTS {
            return Err(Overrun(waiting));
        }
        let address = self.page.slot(self.taken).load(Ordering::Relaxed);
        self.taken = self.taken.wrapping_add(1);
        self.page.word(TAKEN).store(self.taken, Ordering::Release);
        Ok(Some(address))
    }

    /// Asks to be woken, or no more. After asking, [`take`](Self::take) is to be called once more before waiting.
    pub fn ask(&mut self, asked: bool) {
        if std::mem::replace(&mut self.asked, asked) != asked {
            self.page.word(ASKED).store(u64::from(asked), Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (ReturnWriter, ReturnReader) {
        let (page, fd) = ReturnPage::create().unwrap();
        (ReturnWriter::new(page), ReturnReader::new(ReturnPage::open(&fd).unwrap()))
    }

    fn all(reader: &mut ReturnReader) -> Vec<u64> {
        std::iter::from_fn(|| reader.take().unwrap()).collect()
    }

    #[test]
    fn what_is_noted_is_taken_once_and_in_order() {
        let (mut writer, mut reader) = ends();
        for round in 0..3 * SLOTS {
            assert_eq!(writer.note(&[round, round + 1]), Noted::Quietly);
            assert_eq!(all(&mut reader), [round, round + 1]);
        }
        assert_eq!(reader.take(), Ok(None));
    }

    #[test]
    fn what_does_not_fit_is_not_noted_at_all() {
        let (mut writer, mut reader) = ends();
        let many: Vec<u64> = (0..SLOTS - 1).collect();
        assert_eq!(writer.note(&many), Noted::Quietly);
        assert_eq!(writer.note(&[1, 2]), Noted::Full);
        assert_eq!(writer.note(&[3]), Noted::Quietly);
        assert_eq!(writer.note(&[4]), Noted::Full);
        assert_eq!(all(&mut reader).len() as u64, SLOTS);
        assert_eq!(writer.note(&[5]), Noted::Quietly);
        assert_eq!(all(&mut reader), [5]);
    }

    #[test]
    fn a_producer_that_asked_is_woken_until_it_asks_no_more() {
        let (mut writer, mut reader) = ends();
        reader.ask(true);
        assert_eq!(writer.note(&[1]), Noted::Wake);
        assert_eq!(writer.note(&[2]), Noted::Wake);
        reader.ask(false);
        assert_eq!(writer.note(&[3]), Noted::Quietly);
        assert_eq!(all(&mut reader), [1, 2, 3]);
    }

    #[test]
    fn a_producer_that_asks_misses_nothing_whatever_the_other_thread_does_meanwhile() {
        let (mut writer, mut reader) = ends();
        let (wake, woken) = std::sync::mpsc::channel();
        const ROUNDS: u64 = 20_000;
        let consumer = std::thread::spawn(move || {
            for round in 0..ROUNDS {
                loop {
                    match writer.note(&[round]) {
                        Noted::Wake => break wake.send(()).unwrap(),
                        Noted::Quietly => break,
                        Noted::Full => std::thread::yield_now(),
                    }
                }
            }
        });
        let mut next = 0;
        while next < ROUNDS {
            let mut found = all(&mut reader);
            if found.is_empty() {
                reader.ask(true);
                found = all(&mut reader);
                if found.is_empty() {
                    woken.recv_timeout(std::time::Duration::from_secs(60)).expect("a wake-up was lost");
                }
                reader.ask(false);
                while woken.try_recv().is_ok() {}
                found.extend(all(&mut reader));
            }
            for address in found {
                assert_eq!(address, next);
                next += 1;
            }
        }
        consumer.join().unwrap();
    }

    #[test]
    fn a_consumer_that_writes_nonsense_is_found_out() {
        let (page, fd) = ReturnPage::create().unwrap();
        let mut reader = ReturnReader::new(ReturnPage::open(&fd).unwrap());
        page.word(NOTED).store(SLOTS + 1, Ordering::Release);
        assert_eq!(reader.take(), Err(Overrun(SLOTS + 1)));
        page.word(NOTED).store(u64::MAX, Ordering::Release);
        assert_eq!(reader.take(), Err(Overrun(u64::MAX)));
    }

    #[test]
    fn a_producer_that_writes_nonsense_gets_messages() {
        let (page, fd) = ReturnPage::create().unwrap();
        let mut writer = ReturnWriter::new(ReturnPage::open(&fd).unwrap());
        for taken in [1, u64::MAX / 2] {
            page.word(TAKEN).store(taken, Ordering::Release);
            assert_eq!(writer.note(&[1]), Noted::Full);
        }
    }

    #[test]
    fn a_page_that_could_shrink_or_has_another_length_is_refused() {
        let unsealed = segment::anonymous_file().unwrap();
        ftruncate(&unsealed, RETURNS_LENGTH).unwrap();
        fallocate(&unsealed, FallocateFlags::empty(), 0, RETURNS_LENGTH).unwrap();
        assert!(matches!(ReturnPage::open(&unsealed), Err(MemoryError::NotSealed { .. })));
        let long = segment::anonymous_file().unwrap();
        fallocate(&long, FallocateFlags::empty(), 0, 2 * RETURNS_LENGTH).unwrap();
        fcntl_add_seals(&long, SEALS).unwrap();
        assert!(matches!(ReturnPage::open(&long), Err(MemoryError::WrongSize { .. })));
        let holes = segment::anonymous_file().unwrap();
        ftruncate(&holes, RETURNS_LENGTH).unwrap();
        fcntl_add_seals(&holes, SEALS).unwrap();
        assert!(matches!(ReturnPage::open(&holes), Err(MemoryError::NotPlainMemory { .. })));
    }
}
