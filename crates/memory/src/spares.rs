//! Mapped memory that was let go of, kept for a moment for whoever needs as much next.
//!
//! The system hands out memory page by page and clears each: for bodies that are received and soon let go of, that costs about as much
//! as a copy of them. So mappings wait here, as they are, for the next body of about that length. They are bounded in bytes, and what
//! nobody took for a while goes back to the system: a thread sees to that, which lives as long as something waits.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::{NonNull, null_mut};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};

use crate::page::{bytes_in, pages_for};

/// Most bytes that wait, of the whole process.
const MOST: usize = 128 << 20;
/// What nobody took for so long goes back to the system.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many of those that came last are looked at.
const NEAR: usize = 64;

/// [`Pages`] that wait here for the next who needs them when they are let go of.
#[derive(Debug)]
pub(crate) struct Mapping(ManuallyDrop<Pages>);

impl Mapping {
    /// At least `size` bytes, not 0, among those that wait if it is there; `None` where the system refuses.
    pub(crate) fn new(size: usize) -> Option<Self> {
        let size = whole_pages(size)?;
        let waiting = SHELF.lock().take(size);
        waiting.or_else(|| Pages::new(size)).map(|pages| Self(ManuallyDrop::new(pages)))
    }
}

impl Deref for Mapping {
    type Target = Pages;

    fn deref(&self) -> &Pages {
        &self.0
    }
}

impl DerefMut for Mapping {
    fn deref_mut(&mut self) -> &mut Pages {
        &mut self.0
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: taken here only, and `self` is not used after it.
        let pages = unsafe { ManuallyDrop::take(&mut self.0) };
        let unwanted = keep(pages, &SHELF);
        drop(unwanted);
    }
}

/// Private memory of this process, not taken from the system until it is written to.
#[derive(Debug)]
pub(crate) struct Pages {
    start: NonNull<u8>,
    size: usize,
    written: usize,
}

// SAFETY: the memory belongs to this value alone and can be unmapped from any thread.
unsafe impl Send for Pages {}
// SAFETY: nothing can be written through a shared reference to it.
unsafe impl Sync for Pages {}

impl Pages {
    fn new(size: usize) -> Option<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the system's choice touches nothing that exists.
        let start = unsafe { mmap_anonymous(null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, flags) }.ok()?;
        Some(Self { start: NonNull::new(start.cast())?, size, written: 0 })
    }

    /// Makes it longer; it may move, its pages with it. `false` where the system refuses, and then nothing has changed.
    pub(crate) fn grow(&mut self, size: usize) -> bool {
        let Some(size) = whole_pages(size) else { return false };
        // SAFETY: the mapping is this value's alone; slices of it are borrowed from its owner, who is borrowed mutably here.
        let moved = unsafe { mremap(self.start.as_ptr().cast(), self.size, size, MremapFlags::MAYMOVE) };
        let Some(start) = moved.ok().and_then(|start| NonNull::new(start.cast())) else { return false };
        (self.start, self.size) = (start, size);
        true
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// So many bytes from the start were written to since the system gave it.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.written = self.written.max(bytes);
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: `start` and `size` are a mapping of this value's alone, to which nothing refers any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
    }
}

fn whole_pages(size: usize) -> Option<usize> {
    usize::try_from(bytes_in(pages_for(size as u64))).ok().filter(|whole| *whole >= size)
}

static SHELF: Mutex<Shelf> = Mutex::new(Shelf { waiting: Vec::new(), bytes: 0, watched: false });

/// What waits, in the order in which it came.
struct Shelf {
    waiting: Vec<(Pages, Instant)>,
    bytes: usize,
    /// Whether there is a thread that gives back what waits for long.
    watched: bool,
}

impl Shelf {
    /// The one of at least that size that came last, unless it is so much longer that it would be wasted.
    fn take(&mut self, size: usize) -> Option<Pages> {
        let fits = |(pages, _): &(Pages, Instant)| (size..=size + size / 4).contains(&pages.size);
        let from = self.waiting.len().saturating_sub(NEAR);
        let place = from + self.waiting[from..].iter().rposition(fits)?;
        let (pages, _) = self.waiting.remove(place);
        self.bytes -= pages.size;
        Some(pages)
    }

    /// What nobody took since then.
    fn old(&mut self, since: Instant) -> Vec<(Pages, Instant)> {
        let young = self.waiting.iter().position(|(_, came)| *came > since).unwrap_or(self.waiting.len());
        let old: Vec<_> = self.waiting.drain(..young).collect();
        self.bytes -= old.iter().map(|(pages, _)| pages.size).sum::<usize>();
        old
    }
}

/// Has it wait on that shelf; it comes back where there is no room, or too little of it is memory to be worth it.
fn keep(pages: Pages, shelf: &'static Mutex<Shelf>) -> Option<Pages> {
    if pages.written < pages.size / 2 || pages.size > MOST {
        return Some(pages);
    }
    let mut locked = shelf.lock();
    if locked.bytes + pages.size > MOST {
        return Some(pages);
    }
    if !locked.watched {
        let named = thread::Builder::new().name("arrowlane-spares".into());
        if named.spawn(|| watch(shelf)).is_err() {
            return Some(pages);
        }
        locked.watched = true;
    }
    locked.bytes += pages.size;
    locked.waiting.push((pages, Instant::now()));
    None
}

fn watch(shelf: &Mutex<Shelf>) {
    loop {
        thread::sleep(PATIENCE / 2);
        let Some(since) = Instant::now().checked_sub(PATIENCE) else { continue };
        let mut locked = shelf.lock();
        let old = locked.old(since);
        locked.watched = !locked.waiting.is_empty();
        let goes_on = locked.watched;
        drop(locked);
        drop(old); // without the lock: that takes a while
        if !goes_on {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shelf of its own: the process's is used by other tests.
    fn shelf() -> &'static Mutex<Shelf> {
        Box::leak(Box::new(Mutex::new(Shelf { waiting: Vec::new(), bytes: 0, watched: false })))
    }

    fn written(size: usize) -> Pages {
        let mut pages = Pages::new(size).unwrap();
        pages.wrote(size);
        pages
    }

    #[test]
    fn what_was_let_go_of_is_taken_again_by_who_needs_about_as_much() {
        let shelf = shelf();
        let pages = written(1 << 20);
        let start = pages.start();
        assert!(keep(pages, shelf).is_none());
        assert!(shelf.lock().take(2 << 20).is_none(), "too short");
        assert!(shelf.lock().take(64 << 10).is_none(), "most of it would be wasted");
        let again = shelf.lock().take(1_000_000).unwrap();
        assert_eq!((again.start(), again.written(), shelf.lock().bytes), (start, 1 << 20, 0));
        assert!(shelf.lock().take(1_000_000).is_none(), "it was taken");
    }

    #[test]
    fn only_so_much_waits_and_nothing_that_is_not_memory() {
        let shelf = shelf();
        assert!(keep(Pages::new(1 << 20).unwrap(), shelf).is_some(), "nobody wrote to it");
        assert!(keep(written(MOST + 4096), shelf).is_some(), "too long");
        for _ in 0..4 {
            assert!(keep(written(MOST / 4), shelf).is_none());
        }
        assert!(keep(written(4096), shelf).is_some(), "there is no room");
    }

    #[test]
    fn what_nobody_takes_goes_back_to_the_system() {
        let shelf = shelf();
        assert!(keep(written(1 << 20), shelf).is_none());
        let until = Instant::now() + Duration::from_secs(60);
        while shelf.lock().bytes > 0 || shelf.lock().watched {
            assert!(Instant::now() < until, "it still waits");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(keep(written(1 << 20), shelf).is_none(), "somebody watches again");
        assert!(shelf.lock().watched);
    }

    #[test]
    fn what_grows_keeps_what_was_written() {
        let mut pages = Pages::new(4096).unwrap();
        // SAFETY: the mapping has 4096 bytes, and nobody else has its address.
        unsafe { pages.start().as_ptr().write_bytes(7, 4096) };
        assert!(pages.grow(64 << 20));
        // SAFETY: as above; the pages went along, and the rest reads as zeros.
        let bytes = unsafe { std::slice::from_raw_parts(pages.start().as_ptr(), 4097) };
        assert!(bytes[..4096].iter().all(|byte| *byte == 7) && bytes[4096] == 0);
        assert!(!pages.grow(usize::MAX), "more than there can be");
        assert_eq!(pages.size(), 64 << 20);
    }
}
