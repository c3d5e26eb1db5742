//! The memory of a batch, and the right to read it.

use std::{
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow_buffer::Buffer;
use arrowlane_dissociated::BatchHeader;
use arrowlane_memory::shared::Mapping;
use arrowlane_transport::Loan;
use bytes::Bytes;
use rustix::fd::BorrowedFd;

use crate::{
    link::Link,
    recycle::{self, Written},
};

/// Where one buffer lies: in which of the body's ranges, and where there. Empty buffers have length 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Placed {
    /// Index into [`Body::ranges`].
    pub range: u32,
    /// Bytes from the range's start.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
}

/// A contiguous span of host memory that a body occupies.
#[derive(Debug, Clone, Copy)]
pub struct HostRange {
    /// First byte, aligned to 64 bytes where the memory allows it.
    pub pointer: NonNull<u8>,
    /// Length in bytes, never 0.
    pub length: usize,
}

/// The memory of one batch (or dictionary) and the right to read it. Dropping the last reference ends the lease.
pub struct Body {
    ranges: Vec<HostRange>,
    owner: Owner,
    written: AtomicBool,
    abandoned: AtomicBool,
}

// SAFETY: the ranges point into memory that `owner` keeps alive. The memory is only read from here; writers outside
// (a consumer's JavaScript) are confined to pages private to this process, as the owner's kind guarantees.
unsafe impl Send for Body {}
// SAFETY: as above; shared access gives out addresses and never a reference to the bytes.
unsafe impl Sync for Body {}

// A panic between two uses of a body leaves nothing half-done in it: its fields do not change but for one flag.
impl std::panic::UnwindSafe for Body {}
impl std::panic::RefUnwindSafe for Body {}

enum Owner {
    /// `firsts` has, for each range, the loan that begins it.
    Lease {
        link: Arc<Link>,
        addresses: Vec<u64>,
        loans: Vec<Option<Loan>>,
        firsts: Vec<usize>,
    },
    /// Arrays that somebody else made.
    Buffers {
        _buffers: Vec<Buffer>,
    },
    /// One allocation of ours.
    Packed {
        _buffer: Buffer,
    },
    Inline {
        _bytes: Bytes,
    },
}

impl Body {
    /// A body in memory that this process owns.
    pub(crate) fn of_buffers(buffers: &[Buffer]) -> (Arc<Self>, Vec<Placed>) {
        let spans: Vec<_> = buffers.iter().map(|b| span_of(b.as_slice())).collect();
        let (ranges, placed, _) = place(&spans, Surroundings::Foreign, |_| 0);
        let owner = Owner::Buffers { _buffers: buffers.to_vec() };
        (Arc::new(Self { ranges, owner, written: AtomicBool::new(false), abandoned: AtomicBool::new(false) }), placed)
    }

    /// A body packed into one allocation of this process, aligned to 64 bytes.
    pub(crate) fn of_packed(packed: Buffer, header: &BatchHeader) -> (Arc<Self>, Vec<Placed>) {
        let span = |s: &arrowlane_dissociated::Span| {
            span_of(&packed.as_slice()[s.offset as usize..(s.offset + s.length) as usize])
        };
        let spans: Vec<_> = header.buffers.iter().map(span).collect();
        let (ranges, placed, _) = place(&spans, Surroundings::Mapped, |_| 0);
        let owner = Owner::Packed { _buffer: packed };
        (Arc::new(Self { ranges, owner, written: AtomicBool::new(false), abandoned: AtomicBool::new(false) }), placed)
    }

    /// A body that came inside its message, in memory of this process that begins at a multiple of 64.
    pub(crate) fn of_bytes(bytes: Bytes, spans: &[(usize, usize)]) -> (Arc<Self>, Vec<Placed>) {
        let spans: Vec<_> = spans.iter().map(|&(offset, length)| span_of(&bytes[offset..offset + length])).collect();
        let surroundings =
            if bytes.as_ptr().addr().is_multiple_of(64) { Surroundings::Mapped } else { Surroundings::Foreign };
        let (ranges, placed, _) = place(&spans, surroundings, |_| 0);
        (
            Arc::new(Self {
                ranges,
                owner: Owner::Inline { _bytes: bytes },
                written: AtomicBool::new(false),
                abandoned: AtomicBool::new(false),
            }),
            placed,
        )
    }

    /// A body that a peer lent: one loan per buffer, `None` for empty ones, and every address that has to go back.
    pub(crate) fn of_loans(
        link: &Arc<Link>,
        loans: Vec<Option<Loan>>,
        addresses: Vec<u64>,
    ) -> (Arc<Self>, Vec<Placed>) {
        let spans: Vec<_> = loans.iter().map(|l| l.as_ref().map(|l| (l.pointer, l.length))).collect();
        let mapping = |i: usize| {
            let mapping = loans.get(i).and_then(Option::as_ref).and_then(|l| l.mapping.as_ref());
            mapping.map_or(0, |(mapping, _)| Arc::as_ptr(mapping) as usize)
        };
        let (ranges, placed, firsts) = place(&spans, Surroundings::Mapped, mapping);
        link.lend(ranges.iter().map(|r| r.length as u64).sum());
        let owner = Owner::Lease { link: Arc::clone(link), addresses, loans, firsts };
        (Arc::new(Self { ranges, owner, written: AtomicBool::new(false), abandoned: AtomicBool::new(false) }), placed)
    }

    /// The spans of memory that it occupies: one, for a body as our publishers write it.
    pub fn ranges(&self) -> &[HostRange] {
        &self.ranges
    }

    /// Its length in bytes.
    pub fn length(&self) -> usize {
        self.ranges.iter().map(|r| r.length).sum()
    }

    /// Notes that somebody may write into the memory from now on (JavaScript has no read-only buffers). Pages written
    /// are discarded before the lease ends.
    pub fn may_be_written(&self) {
        self.written.store(true, Ordering::Release);
    }

    /// Nobody in this process reads it any more, but somebody whom it was handed on to does: the lease does not end with this
    /// value, but with that process, or whatever it hands it on to. For that the connection that it came over has to close.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Which shared memory it lies in, the same in every process: device and inode of the memfd, and the offset of the
    /// first range. `None` for memory of this process alone.
    pub fn location(&self) -> Option<[u64; 3]> {
        let Owner::Lease { loans, firsts, .. } = &self.owner else { return None };
        let start = self.ranges.first()?.pointer.as_ptr() as usize;
        let loan = loans.get(*firsts.first()?)?.as_ref()?;
        let (mapping, offset) = loan.mapping.as_ref()?;
        let [device, inode] = identity_of(mapping.fd())?;
        Some([device, inode, (offset - (loan.pointer.as_ptr() as usize - start)) as u64])
    }

    /// The shared memory that a span of this body lies in, when a peer lent it: the mapping, and where in it the span starts.
    pub(crate) fn lent_at(&self, start: usize, length: usize) -> Option<(&Arc<Mapping>, usize)> {
        let Owner::Lease { loans, firsts, .. } = &self.owner else { return None };
        let within = |range: &HostRange| {
            let begin = range.pointer.as_ptr() as usize;
            begin <= start && start.checked_add(length).is_some_and(|end| end <= begin + range.length)
        };
        // Every range was made from loans of one mapping, and its first tells which.
        let loan = loans.get(*firsts.get(self.ranges.iter().position(within)?)?)?.as_ref()?;
        let (mapping, offset) = loan.mapping.as_ref()?;
        Some((mapping, (offset + start).checked_sub(loan.pointer.as_ptr() as usize)?))
    }

    /// Whether the memory may be written without ending the process: always for lent and own memory; memory that other
    /// native code gave is looked up.
    pub fn is_writable(&self) -> bool {
        match &self.owner {
            Owner::Lease { .. } | Owner::Packed { .. } | Owner::Inline { .. } => true,
            Owner::Buffers { .. } => crate::writable::all_writable(&self.ranges),
        }
    }

    /// Whether it lies in the producer's memory rather than in a copy.
    pub fn is_lent(&self) -> bool {
        matches!(self.owner, Owner::Lease { .. } | Owner::Buffers { .. })
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let bytes = self.length() as u64;
        let Owner::Lease { link, addresses, loans, firsts } = &mut self.owner else { return };
        if self.abandoned.load(Ordering::Acquire) {
            return;
        }
        let (link, addresses, loans) = (Arc::clone(link), std::mem::take(addresses), std::mem::take(loans));
        let firsts = std::mem::take(firsts);
        if !self.written.load(Ordering::Acquire) {
            drop(loans);
            return link.give_back(addresses, bytes);
        }
        let mut spans: Vec<Written> = Vec::new();
        for (range, first) in self.ranges.iter().zip(firsts) {
            let start = range.pointer.as_ptr() as usize;
            // Every range was made from loans of one mapping: its first tells which, and where the range starts.
            if let Some(Some(loan)) = loans.get(first)
                && let Some((mapping, offset)) = &loan.mapping
            {
                let before = loan.pointer.as_ptr() as usize - start;
                let offset = offset - before;
                spans.push(Written { mapping: Arc::clone(mapping), offset, length: range.length });
            }
        }
        drop(loans);
        recycle::discard(spans, move || link.give_back(addresses, bytes));
    }
}

/// Device and inode behind a descriptor.
#[cfg(unix)]
pub fn identity_of(descriptor: BorrowedFd<'_>) -> Option<[u64; 2]> {
    let stat = rustix::fs::fstat(descriptor).ok()?;
    Some(arrowlane_transport::system::identity(&stat).into())
}

/// Descriptors are sockets here, and have neither device nor inode.
#[cfg(windows)]
pub fn identity_of(_descriptor: BorrowedFd<'_>) -> Option<[u64; 2]> {
    None
}

type Span = Option<(NonNull<u8>, usize)>;

fn span_of(bytes: &[u8]) -> Span {
    if bytes.is_empty() { None } else { Some((NonNull::from(bytes).cast(), bytes.len())) }
}

/// What lies between and before the buffers of a body.
#[derive(Clone, Copy, PartialEq)]
enum Surroundings {
    /// A mapping or allocation that is ours as far as the next multiple of 64 bytes on either side.
    Mapped,
    /// Somebody else's memory: a range must not reach one byte beyond the buffers.
    Foreign,
}

/// Which ranges cover the buffers, where each buffer lies in them, and which buffer begins each range. In mapped memory, buffers that are nearly
/// adjacent share a range, so that a body packed with 64-byte alignment is one; and a range starts at a multiple of 64,
/// so that typed arrays over it are aligned where the memory is. Buffers of different `mapping`s never share one, though
/// the system may have put the mappings side by side.
fn place(
    spans: &[Span],
    surroundings: Surroundings,
    mapping: impl Fn(usize) -> usize,
) -> (Vec<HostRange>, Vec<Placed>, Vec<usize>) {
    let (gap, mask) = if surroundings == Surroundings::Mapped { (64, !63) } else { (0, !0) };
    let mut order: Vec<usize> = (0..spans.len()).filter(|&i| spans[i].is_some()).collect();
    let start_of = |i: usize| spans[i].map_or(0, |(p, _)| p.as_ptr() as usize);
    if !order.is_sorted_by_key(|&i| start_of(i)) {
        order.sort_by_key(|&i| start_of(i));
    }
    let mut ranges: Vec<(usize, usize)> = Vec::with_capacity(1);
    let mut firsts: Vec<usize> = Vec::with_capacity(1);
    let mut placed = vec![Placed::default(); spans.len()];
    for index in order {
        let Some((pointer, length)) = spans[index] else { continue };
        let address = pointer.as_ptr() as usize;
        match ranges.last_mut() {
            Some((_, end))
                if address <= *end + gap && firsts.last().is_some_and(|first| mapping(*first) == mapping(index)) =>
            {
                *end = (*end).max(address + length);
            }
            _ => {
                ranges.push((address & mask, address + length));
                firsts.push(index);
            }
        }
        let range = ranges.len() - 1;
        placed[index] = Placed { range: range as u32, offset: address - ranges[range].0, length };
    }
    let ranges = ranges
        .into_iter()
        .filter_map(|(start, end)| Some(HostRange { pointer: NonNull::new(start as *mut u8)?, length: end - start }))
        .collect();
    (ranges, placed, firsts)
}

/// The buffers as arrow-rs knows them, each keeping the body.
pub(crate) fn to_buffers(body: &Arc<Body>, placed: &[Placed]) -> Vec<Buffer> {
    let empty = Buffer::from(Vec::<u8>::new());
    let at = |p: &Placed| {
        let range = body.ranges.get(p.range as usize).filter(|_| p.length > 0)?;
        // SAFETY: `place` computed offset and length so that the span lies inside the range; the range is part of the
        // memory that `body` owns, and the buffer keeps `body`.
        Some(unsafe {
            Buffer::from_custom_allocation(range.pointer.add(p.offset), p.length, Arc::clone(body) as Arc<_>)
        })
    };
    placed.iter().map(|p| at(p).unwrap_or_else(|| empty.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_packed_together_share_one_range_and_distant_ones_do_not() {
        let memory = vec![0u8; 1 << 16];
        let at = |offset: usize, length: usize| span_of(&memory[offset..offset + length]);
        let base = memory.as_ptr() as usize;
        let spans = [at(640, 10), None, at(704, 100), at(20_000, 8)];
        let (ranges, placed, firsts) = place(&spans, Surroundings::Mapped, |_| 0);
        assert_eq!((ranges.len(), firsts), (2, vec![0, 3]));
        for (place, offset) in [(placed[0], 640), (placed[2], 704), (placed[3], 20_000)] {
            let range = ranges[place.range as usize];
            assert_eq!(range.pointer.as_ptr() as usize + place.offset, base + offset);
            assert_eq!(range.pointer.as_ptr() as usize % 64, 0);
            assert!(place.offset + place.length <= range.length);
        }
        assert_eq!(placed[1].length, 0);
        let (apart, _, firsts) = place(&spans, Surroundings::Mapped, |i| i);
        assert_eq!((apart.len(), firsts), (3, vec![0, 2, 3]), "mappings side by side are two");
        let (ranges, _, _) = place(&spans, Surroundings::Foreign, |_| 0);
        let exact: Vec<_> = ranges.iter().map(|r| (r.pointer.as_ptr() as usize - base, r.length)).collect();
        assert_eq!(exact, [(640, 10), (704, 100), (20_000, 8)], "not a byte beyond foreign buffers");
    }
}
