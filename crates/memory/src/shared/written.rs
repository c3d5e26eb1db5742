//! Finding and dropping the private copies that writes to a private mapping have made.
//!
//! A written page of a private file mapping is anonymous memory; an unwritten one belongs to the file. The kernel tells which
//! is which in one ioctl since Linux 6.7, and in a file with eight bytes per page since 2.6.25 (the needed bit: 3.5).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use rustix::io::{Errno, pread, retry_on_intr};
use rustix::mm::{Advice, madvise};
use rustix::process::{Pid, getpid};

use crate::page::page_size;

/// `struct page_region` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `PAGE_IS_FILE` of linux/fs.h: the page belongs to a file or is shared.
const PAGE_IS_FILE: u64 = 1 << 2;
/// `PAGE_IS_PRESENT` of linux/fs.h.
const PAGE_IS_PRESENT: u64 = 1 << 3;
/// `PAGE_IS_SWAPPED` of linux/fs.h.
const PAGE_IS_SWAPPED: u64 = 1 << 4;
/// `PAGEMAP_SCAN` of linux/fs.h: `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u64 = (3 << 30) | ((size_of::<PmScanArg>() as u64) << 16) | ((b'f' as u64) << 8) | 16;

/// `PM_FILE` of fs/proc/task_mmu.c: the page of an entry of /proc/self/pagemap belongs to a file or is shared.
const PM_FILE: u64 = 1 << 61;
/// `PM_SWAP` of fs/proc/task_mmu.c.
const PM_SWAP: u64 = 1 << 62;
/// `PM_PRESENT` of fs/proc/task_mmu.c.
const PM_PRESENT: u64 = 1 << 63;

/// Spans found per ioctl: 1.5 KiB on the stack; a block with more is scanned on from where the kernel stopped.
const SPANS: usize = 64;
/// Entries read per pread.
const ENTRIES: usize = 512;

/// How written pages are found, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Method {
    /// The `PAGEMAP_SCAN` ioctl.
    Scan = 0,
    /// Reading /proc/self/pagemap.
    Read = 1,
    /// Not at all: every page is dropped.
    All = 2,
}

/// The best method not yet found missing on this machine: it only ever moves down the list.
static METHOD: AtomicU8 = AtomicU8::new(Method::Scan as u8);

/// The best method not yet found missing, for people.
pub(super) fn method_name() -> &'static str {
    match METHOD.load(Ordering::Relaxed) {
        0 => "PAGEMAP_SCAN",
        1 => "/proc/self/pagemap",
        _ => "none",
    }
}

/// Drops the written pages in `first..last`; returns how many.
///
/// # Safety
/// `first..last` must be whole pages of one private mapping of a file that stays mapped during the call, and whoever owns it
/// must want its private copies gone.
pub(super) unsafe fn discard(first: usize, last: usize) -> io::Result<usize> {
    let mut method = match METHOD.load(Ordering::Relaxed) {
        0 => Method::Scan,
        1 => Method::Read,
        _ => Method::All,
    };
    loop {
        // SAFETY: the caller's promise.
        match unsafe { discard_by(method, first, last) } {
            Err(error) if method != Method::All => {
                // No such ioctl, no /proc, or a sandbox that forbids it. What was dropped so far was rightly dropped.
                let next = if method == Method::Scan { Method::Read } else { Method::All };
                tracing::debug!(%error, ?method, ?next, "cannot find written pages this way");
                if is_lasting(error) {
                    METHOD.fetch_max(next as u8, Ordering::Relaxed);
                }
                method = next;
            }
            result => return result.map_err(io::Error::from),
        }
    }
}

/// Whether an error says that the machine lacks a method, rather than descriptors or memory just now.
fn is_lasting(error: Errno) -> bool {
    [Errno::NOTTY, Errno::INVAL, Errno::NOSYS, Errno::NOENT, Errno::ACCESS, Errno::PERM].contains(&error)
}

/// # Safety
/// As [`discard`].
unsafe fn discard_by(method: Method, first: usize, last: usize) -> Result<usize, Errno> {
    // SAFETY: the finders report spans inside first..last only, so the caller's promise covers them.
    let mut drop_span = |start: usize, end: usize| unsafe { drop_pages(start, end) };
    match method {
        Method::Scan => scan(&*pagemap()?, first, last, &mut drop_span),
        Method::Read => read(&*pagemap()?, first, last, &mut drop_span),
        Method::All => drop_span(first, last),
    }
}

/// # Safety
/// As [`discard`].
unsafe fn drop_pages(start: usize, end: usize) -> Result<usize, Errno> {
    // SAFETY: the caller's promise; MADV_DONTNEED on a private file mapping drops anonymous copies, the file's bytes show again.
    unsafe { madvise(start as *mut _, end - start, Advice::LinuxDontNeed)? };
    Ok((end - start) / page_size())
}

/// What is done with a span of written pages; returns how many there were.
type Drop<'a> = &'a mut dyn FnMut(usize, usize) -> Result<usize, Errno>;

fn scan(pagemap: &OwnedFd, first: usize, last: usize, drop_span: Drop<'_>) -> Result<usize, Errno> {
    let mut spans = [PageRegion::default(); SPANS];
    let mut arg = PmScanArg {
        size: size_of::<PmScanArg>() as u64,
        start: first as u64,
        end: last as u64,
        vec: spans.as_mut_ptr() as u64,
        vec_len: SPANS as u64,
        // (present or swapped) and not of the file: a mask bit that is inverted must be clear.
        category_inverted: PAGE_IS_FILE,
        category_mask: PAGE_IS_FILE,
        category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        // Nothing returned per span but its place, so that neighbours are always joined.
        return_mask: PAGE_IS_FILE,
        ..PmScanArg::default()
    };
    let mut dropped = 0;
    loop {
        // SAFETY: `arg` is a pm_scan_arg of the size it says, `vec` points to `vec_len` writable page_regions that live on, and
        // without PM_SCAN_WP_MATCHING the call changes no mapping.
        let found = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN as _, &mut arg) };
        let Ok(found) = usize::try_from(found) else {
            match last_errno() {
                Errno::INTR => continue,
                errno => return Err(errno),
            }
        };
        // Read through the array only after the call: the kernel wrote it through `vec`.
        for span in spans.iter().take(found) {
            dropped += drop_span(span.start as usize, span.end as usize)?;
        }
        if arg.walk_end >= last as u64 {
            return Ok(dropped);
        }
        if arg.walk_end <= arg.start {
            // No progress: cannot happen with a sane kernel, and must not become an endless loop.
            return Err(Errno::INVAL);
        }
        arg.start = arg.walk_end;
    }
}

fn read(pagemap: &OwnedFd, first: usize, last: usize, drop_span: Drop<'_>) -> Result<usize, Errno> {
    let mut buffer = [0u8; ENTRIES * 8];
    let mut dropped = 0;
    let mut start = first;
    while start < last {
        let wanted = ((last - start) / page_size()).min(ENTRIES);
        let offset = (start / page_size()) as u64 * 8;
        let bytes = retry_on_intr(|| pread(pagemap, &mut buffer[..wanted * 8], offset))?;
        if bytes < 8 {
            return Err(Errno::IO);
        }
        let entries = buffer[..bytes].as_chunks::<8>().0;
        let end = start + entries.len() * page_size();
        let mut span = None;
        for (entry, page) in entries.iter().zip((start..end).step_by(page_size())) {
            let entry = u64::from_ne_bytes(*entry);
            let written = entry & (PM_PRESENT | PM_SWAP) != 0 && entry & PM_FILE == 0;
            match (span, written) {
                (None, true) => span = Some(page),
                (Some(from), false) => {
                    dropped += drop_span(from, page)?;
                    span = None;
                }
                _ => {}
            }
        }
        if let Some(from) = span {
            dropped += drop_span(from, end)?;
        }
        start = end;
    }
    Ok(dropped)
}

/// The process's page map, opened once. A forked child opens its own: the file shows the process that opened it.
fn pagemap() -> Result<Arc<OwnedFd>, Errno> {
    static CACHE: Mutex<Option<(Pid, Arc<OwnedFd>)>> = Mutex::new(None);
    let process = getpid();
    let mut cache = CACHE.lock();
    if let Some((owner, fd)) = &*cache
        && *owner == process
    {
        return Ok(Arc::clone(fd));
    }
    let file = File::open("/proc/self/pagemap").map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    let fd = Arc::new(OwnedFd::from(file));
    *cache = Some((process, Arc::clone(&fd)));
    Ok(fd)
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests;
