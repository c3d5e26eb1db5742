//! What a pool knows of its segments, under its lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::extents::Extents;
use crate::page::bytes_in;
use crate::region::Region;
use crate::shared::Segment;

/// One segment of a pool.
pub(super) struct Slot {
    pub(super) region: Region,
    /// The memory file, for the shared kind.
    pub(super) file: Option<Arc<Segment>>,
    pub(super) extents: Extents,
    /// No more blocks come from here; it leaves when the peers agreed.
    pub(super) retiring: bool,
}

impl Slot {
    pub(super) fn bytes(&self) -> u64 {
        bytes_in(self.extents.total())
    }
}

/// All segments; the one with id `n` is at `n - 1`, `None` where the id is unused.
#[derive(Default)]
pub(super) struct State {
    pub(super) slots: Vec<Option<Slot>>,
    /// Ids of segments that left while peers may have them mapped, and the bytes of these: not used again yet.
    pub(super) departed: BTreeMap<u16, u64>,
    /// Bytes in live blocks, whole pages.
    pub(super) used: u64,
    pub(super) blocks: u64,
}

impl State {
    /// The segments with their ids, in the order of ids: the lowest are filled first, so that the later ones empty.
    pub(super) fn segments(&self) -> impl DoubleEndedIterator<Item = (u16, &Slot)> {
        // The number of slots is bounded by `max_segments`, a u16.
        self.slots.iter().enumerate().filter_map(|(i, slot)| Some((i as u16 + 1, slot.as_ref()?)))
    }

    pub(super) fn slot(&self, id: u16) -> Option<&Slot> {
        self.slots.get(usize::from(id).checked_sub(1)?)?.as_ref()
    }

    pub(super) fn slot_mut(&mut self, id: u16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(id).checked_sub(1)?)?.as_mut()
    }

    /// Bytes in all segments, retiring ones too: their memory is still there.
    pub(super) fn capacity(&self) -> u64 {
        self.segments().map(|(_, slot)| slot.bytes()).sum()
    }

    /// How many bytes more the segments may have, for a pool of `limit`. What left and is mapped by peers still is there, too: it may be
    /// as much again as the pool itself, and what is beyond that counts.
    pub(super) fn left(&self, limit: u64) -> u64 {
        let (capacity, departed) = (self.capacity(), self.departed.values().sum::<u64>());
        limit.saturating_sub(capacity).min(limit.saturating_mul(2).saturating_sub(capacity + departed))
    }

    /// The largest number of pages that one block could have now.
    pub(super) fn largest(&self) -> u64 {
        self.segments().filter(|(_, slot)| !slot.retiring).map(|(_, slot)| slot.extents.largest()).max().unwrap_or(0)
    }

    /// Takes pages from the first segment that has them; returns its id and the first page.
    pub(super) fn allocate(&mut self, pages: u64) -> Option<(u16, u64)> {
        for (slot, id) in self.slots.iter_mut().zip(1u16..) {
            if let Some(slot) = slot
                && !slot.retiring
                && let Some(first) = slot.extents.allocate(pages)
            {
                self.used += bytes_in(pages);
                self.blocks += 1;
                return Some((id, first));
            }
        }
        None
    }

    /// Whether an id is free below the limit on segments.
    pub(super) fn has_free_id(&self, max_segments: u16) -> bool {
        let (count, most) = (self.segments().count(), usize::from(max_segments));
        count < most && count + self.departed.len() < 2 * most
    }

    /// Puts a segment under the lowest free id.
    pub(super) fn add(&mut self, slot: Slot) {
        let is_free = |(id, slot): &(u16, &mut Option<Slot>)| slot.is_none() && !self.departed.contains_key(id);
        match (1..).zip(&mut self.slots).find(is_free) {
            Some((_, free)) => *free = Some(slot),
            None => self.slots.push(Some(slot)),
        }
    }
}
