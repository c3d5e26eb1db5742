//! How a pool gets segments and gives them up.

use std::sync::Arc;

use super::extents::Extents;
use super::state::{Slot, State};
use super::{Inner, Pool};
use crate::error::{Limit, MemoryError};
use crate::limits;
use crate::page::{bytes_in, page_size, pages_for};
use crate::region::{Kind, Region};
use crate::shared::Segment;

/// The most that a pool grows by at a time, unless one block needs more.
const LARGEST_STEP: u64 = 1 << 30;

impl Pool {
    /// Makes room for one block of `len` bytes. **Blocks** while memory is made (0.3 to 2 ms per MiB): not for an event loop.
    ///
    /// One call at a time makes memory; the others wait for it and return at once if that gave them room. Somebody else may
    /// take the room first: ask again, and grow again if told so. Fails with [`MemoryError::OutOfMemory`], naming the limit
    /// that refused, and leaves the pool as it was.
    pub fn grow(&self, len: usize) -> Result<(), MemoryError> {
        let inner = &self.0;
        let pages = pages_for(len as u64);
        let _one_at_a_time = inner.growing.lock();
        let (capacity, left) = {
            let state = inner.state.lock();
            if state.largest() >= pages {
                return Ok(());
            }
            if !state.has_free_id(inner.max_segments) {
                return Err(MemoryError::OutOfMemory {
                    requested: len as u64,
                    limit: u64::from(inner.max_segments),
                    which: Limit::Segments,
                });
            }
            (state.capacity(), state.left(inner.limit))
        };
        let needed = bytes_in(pages);
        if needed > left {
            return Err(MemoryError::OutOfMemory { requested: len as u64, limit: left, which: Limit::Pool });
        }
        // Doubling keeps segments few and large, so that large blocks find room in them.
        let wanted = bytes_in(pages_for(inner.segment.max(capacity.min(LARGEST_STEP)))).clamp(needed, left);
        let slot = match inner.make_segment(wanted) {
            // The machine is short of memory: no more than is needed, then.
            Err(MemoryError::OutOfMemory { .. }) if wanted > needed => inner.make_segment(needed)?,
            other => other?,
        };
        tracing::debug!(bytes = slot.bytes(), capacity, "pool grew");
        inner.state.lock().add(slot);
        Ok(())
    }

    /// Begins the retirement of segments without a live block, the latest first, as long as the rest keeps `keep` bytes.
    ///
    /// No block comes from them any more. Tell the peers that have them mapped, call [`give_up_segment`](Pool::give_up_segment), and when all
    /// peers have acknowledged [`release_segment`](Pool::release_segment).
    pub fn idle_segments(&self, keep: u64) -> Vec<u16> {
        let mut state = self.0.state.lock();
        let mut active = active_bytes(&state);
        retire(&mut state, |bytes| {
            let enough = active.saturating_sub(bytes) >= keep;
            if enough {
                active -= bytes;
            }
            enough
        })
    }

    /// Begins the retirement of segments without a live block that stand in the way of growing for `len` bytes.
    ///
    /// For an ask that was refused as [`Full`](crate::AllocateError::Full) although little is in use: the pool is at its limit
    /// with segments that are all too small. Go on as with [`idle_segments`](Pool::idle_segments); after the releases
    /// [`grow`](Pool::grow) has room. Empty where that would not help (a hole is large enough, growing is possible, too much
    /// is in use, or enough is already retiring).
    pub fn make_way(&self, len: usize) -> Vec<u16> {
        let inner = &self.0;
        let pages = pages_for(len as u64);
        let needed = bytes_in(pages);
        let mut state = inner.state.lock();
        if state.largest() >= pages {
            return Vec::new();
        }
        let retiring = state.segments().filter(|(_, slot)| slot.retiring);
        let (retiring_bytes, retiring_count) =
            retiring.fold((0, 0), |(bytes, count), (_, slot)| (bytes + slot.bytes(), count + 1));
        let mut left = inner.limit.saturating_sub(state.capacity()) + retiring_bytes;
        let mut ids = usize::from(inner.max_segments) - state.segments().count() + retiring_count;
        let idle = state.segments().filter(|(_, slot)| !slot.retiring && slot.extents.is_idle());
        let (idle_bytes, idle_count) = idle.fold((0, 0), |(bytes, count), (_, slot)| (bytes + slot.bytes(), count + 1));
        if left + idle_bytes < needed || ids + idle_count == 0 {
            return Vec::new();
        }
        retire(&mut state, |bytes| {
            let more = left < needed || ids == 0;
            if more {
                left += bytes;
                ids += 1;
            }
            more
        })
    }

    /// Lets go of a retiring segment's memory and descriptor (they go with the last clone of its [`Region`] and [`Segment`], and with the
    /// last peer that has it mapped), while its id is not used again until [`release_segment`](Pool::release_segment). So a peer that
    /// acknowledges nothing, because it is stopped, holds up nobody. What peers may have mapped of such segments counts only as far as it
    /// is more than the pool's limit. Says whether it did: `false` for a segment that is not retiring.
    pub fn give_up_segment(&self, id: u16) -> bool {
        self.let_go(id, |state, bytes| {
            state.departed.insert(id, bytes);
        })
    }

    /// Gives up a retiring segment, after every peer has acknowledged that it unmapped it, or was never told of it: memory and descriptor
    /// go, if they are there still, and the id may be used again. Says whether it did: `false`, and nothing happens, for a segment
    /// that is not retiring.
    pub fn release_segment(&self, id: u16) -> bool {
        let departed = self.0.state.lock().departed.remove(&id).is_some();
        if departed {
            self.0.notify();
        }
        departed || self.let_go(id, |_, _| ())
    }

    fn let_go(&self, id: u16, then: impl FnOnce(&mut State, u64)) -> bool {
        let released = {
            let mut state = self.0.state.lock();
            match state.slot(id) {
                // A retiring segment has no live block: it had none when it began, and none comes from it.
                Some(slot) if slot.retiring => {
                    let bytes = slot.bytes();
                    then(&mut state, bytes);
                    state.slots.get_mut(usize::from(id) - 1).and_then(Option::take)
                }
                _ => None,
            }
        };
        let found = released.is_some();
        // Unmapping takes time: not under the lock.
        drop(released);
        if found {
            self.0.notify();
        }
        found
    }
}

impl Inner {
    fn make_segment(&self, bytes: u64) -> Result<Slot, MemoryError> {
        let too_large =
            || MemoryError::OutOfMemory { requested: bytes, limit: isize::MAX as u64, which: Limit::System };
        let len = usize::try_from(bytes).map_err(|_| too_large())?;
        let (region, file) = match self.kind {
            Kind::Heap => {
                limits::check(bytes)?;
                (Region::heap_aligned(len, page_size())?, None)
            }
            Kind::Shared => {
                let file = Arc::new(Segment::create(len)?);
                (file.region().clone(), Some(file))
            }
        };
        Ok(Slot { region, file, extents: Extents::new(bytes / page_size() as u64), retiring: false })
    }
}

/// Bytes in segments that blocks may come from.
fn active_bytes(state: &State) -> u64 {
    state.segments().filter(|(_, slot)| !slot.retiring).map(|(_, slot)| slot.bytes()).sum()
}

/// Marks the idle segments that `choose` (given their bytes) wants, the latest first; returns their ids.
fn retire(state: &mut State, mut choose: impl FnMut(u64) -> bool) -> Vec<u16> {
    let idle = state.segments().rev().filter(|(_, slot)| !slot.retiring && slot.extents.is_idle());
    let chosen: Vec<u16> = idle.filter(|(_, slot)| choose(slot.bytes())).map(|(id, _)| id).collect();
    for &id in &chosen {
        if let Some(slot) = state.slot_mut(id) {
            slot.retiring = true;
        }
    }
    chosen
}
