//! Pools: segments of one kind, cut into page-bounded blocks that are used again and again.
//!
//! # What is promised about fragmentation
//! Holes are exact and joined at once, so the number of holes is at most the number of live blocks and segments together. Hence:
//! * an ask never fails while a hole is large enough ([`Pool::largest_free`] is exact, no rounding to size classes);
//! * an ask of `n` pages succeeds whenever the free pages number at least `n × (live blocks + segments)`;
//! * when no block is live, an ask of up to the limit succeeds, at worst after [`Pool::make_way`] retired small segments.
//!
//! No allocator that cannot move blocks promises more against an adversary: one live page in every eighth of the pool is enough
//! to refuse an ask of an eighth. Random sizes are no adversary; the tests measure them: with sizes up to 1/8 of the limit
//! and at most half of it live, a pool at its limit hardly ever refuses, and the refusal ends after a few returns.

mod block;
mod extents;
mod grow;
mod state;

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::error::{AllocateError, MemoryError};
use crate::page::{bytes_in, page_size, pages_for};
use crate::region::Kind;
use crate::shared::Segment;
use block::Span;
use state::State;

pub use block::Block;

/// The smallest segment by default, in bytes.
pub const DEFAULT_SEGMENT: u64 = 64 << 20;

/// What a pool may become.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// What sort of memory it holds.
    pub kind: Kind,
    /// The most bytes that all its segments together may have; rounded down to whole pages.
    pub limit: u64,
    /// The smallest segment in bytes, unless the limit is smaller. Each new segment doubles the pool, up to 1 GiB at a time.
    pub segment: u64,
    /// The most segments at a time.
    pub max_segments: u16,
}

impl Default for PoolConfig {
    /// Shared memory, at most 1 GiB in at most 64 segments of 64 MiB and more.
    fn default() -> Self {
        PoolConfig { kind: Kind::Shared, limit: 1 << 30, segment: DEFAULT_SEGMENT, max_segments: 64 }
    }
}

/// What a pool holds at one moment, in bytes where not said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatistics {
    /// The most that the segments together may have.
    pub limit: u64,
    /// What the segments together have, those that are being retired included, those that were given up not.
    pub capacity: u64,
    /// What lies in live blocks, counted in whole pages.
    pub used: u64,
    /// The number of live blocks.
    pub blocks: u64,
    /// The number of segments.
    pub segments: u64,
}

/// A pool of memory of one kind.
///
/// Cloning shares it; it lives until the last clone *and* the last block are gone. All methods may be called from any thread;
/// only [`grow`](Pool::grow) takes long. Starts empty: the first ask says [`AllocateError::NeedsGrowth`].
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

type OnReturn = Arc<dyn Fn() + Send + Sync>;

/// What clones and blocks share.
struct Inner {
    kind: Kind,
    /// Whole pages.
    limit: u64,
    segment: u64,
    max_segments: u16,
    /// Held for hundreds of nanoseconds at most: no system call, no callback, no segment dropped under it.
    state: Mutex<State>,
    /// Held by the one call that grows; taken before `state`, never after it.
    growing: Mutex<()>,
    on_return: RwLock<Option<OnReturn>>,
}

impl Pool {
    /// An empty pool. Takes no memory yet.
    ///
    /// Fails with [`MemoryError::TooLittle`] where the limit is below one page, with [`MemoryError::Invalid`] where no segment
    /// is allowed, and with [`MemoryError::Unsupported`] where this platform lacks the kind.
    pub fn new(config: PoolConfig) -> Result<Self, MemoryError> {
        if config.kind == Kind::Shared && !cfg!(target_os = "linux") {
            return Err(MemoryError::Unsupported { what: "shared memory (memfd)" });
        }
        let limit = config.limit & !(page_size() as u64 - 1);
        if limit == 0 {
            return Err(MemoryError::TooLittle { limit: config.limit, least: page_size() as u64 });
        }
        if config.max_segments == 0 {
            return Err(MemoryError::Invalid { what: "the largest number of segments of a pool", value: 0 });
        }
        Ok(Pool(Arc::new(Inner {
            kind: config.kind,
            limit,
            segment: config.segment,
            max_segments: config.max_segments,
            state: Mutex::default(),
            growing: Mutex::default(),
            on_return: RwLock::default(),
        })))
    }

    /// A block of at least `len` bytes from memory that is already there: never waits, never grows, makes no system call.
    /// A `len` of 0 gives one page.
    pub fn try_allocate(&self, len: usize) -> Result<Block, AllocateError> {
        let inner = &self.0;
        let pages = pages_for(len as u64);
        let bytes = bytes_in(pages);
        if bytes > inner.limit {
            return Err(AllocateError::TooLarge { requested: len as u64, limit: inner.limit });
        }
        let mut state = inner.state.lock();
        let Some((segment, first)) = state.allocate(pages) else {
            let may_grow = bytes <= state.left(inner.limit) && state.has_free_id(inner.max_segments);
            return Err(if may_grow { AllocateError::NeedsGrowth } else { AllocateError::Full });
        };
        let region = state.slot(segment).map(|slot| slot.region.clone());
        drop(state);
        let offset = bytes_in(first);
        let Some((region, base)) = region.and_then(|region| region.host_ptr().map(|base| (region, base))) else {
            unreachable!("the pages came from this segment's extents, and every kind a pool can hold is host memory");
        };
        debug_assert!(offset + bytes <= region.len() as u64);
        // SAFETY: the extents cover exactly the region's pages, so a span they granted lies inside it.
        let start = unsafe { base.add(offset as usize) };
        let span = Span { segment, offset, capacity: bytes as usize, asked: len };
        Ok(Block::new(Arc::clone(inner), region, start, span))
    }

    /// What the pool holds now.
    pub fn statistics(&self) -> PoolStatistics {
        let state = self.0.state.lock();
        PoolStatistics {
            limit: self.0.limit,
            capacity: state.capacity(),
            used: state.used,
            blocks: state.blocks,
            segments: state.segments().count() as u64,
        }
    }

    /// The memory file of a segment, to pass its descriptor on; `None` for an unused id and for kinds without files. Whoever
    /// keeps it keeps the memory, even after [`release_segment`](Pool::release_segment).
    pub fn segment(&self, id: u16) -> Option<Arc<Segment>> {
        self.0.state.lock().slot(id)?.file.clone()
    }

    /// The most bytes that [`try_allocate`](Pool::try_allocate) would grant in one block now.
    pub fn largest_free(&self) -> u64 {
        bytes_in(self.0.state.lock().largest())
    }

    /// Calls `f` after every return of a block and every release of a segment: something that was refused as
    /// [`AllocateError::Full`] may now succeed. Replaces what was set before.
    ///
    /// It runs on the thread that dropped the block, with no lock of the pool held; it may allocate. Keep it short, and do
    /// not let it own a clone of the pool, or neither is ever freed.
    pub fn set_on_return(&self, f: Box<dyn Fn() + Send + Sync>) {
        *self.0.on_return.write() = Some(Arc::from(f));
    }
}

impl Inner {
    /// Takes back the pages of a block that is being dropped.
    fn give_back(&self, segment: u16, offset: u64, bytes: u64) {
        let page = page_size() as u64;
        let mut state = self.state.lock();
        if let Some(slot) = state.slot_mut(segment) {
            // Always found: a segment with live blocks is never released.
            slot.extents.free(offset / page, bytes / page);
            state.used -= bytes;
            state.blocks -= 1;
        }
        drop(state);
        self.notify();
    }

    fn notify(&self) {
        // Cloned out, so that the callback runs without a lock and may replace itself.
        let on_return = self.on_return.read().clone();
        if let Some(on_return) = on_return {
            on_return();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("kind", &self.0.kind).field("statistics", &self.statistics()).finish()
    }
}

#[cfg(test)]
mod tests;
