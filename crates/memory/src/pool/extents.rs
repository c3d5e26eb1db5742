//! Which pages of one segment are free.
//!
//! Holes are kept exactly, joined with their neighbours at once, and found by size (best fit) in O(log holes). An allocator
//! with size bins is faster by some tens of nanoseconds, but a hole of 17 pages then holds no block of 17 pages: blocks of
//! one odd size, the usual case here, would fragment a segment that they fill exactly.

use std::collections::{BTreeMap, BTreeSet};

/// The free pages of a segment. Touches no memory: it only counts.
#[derive(Debug)]
pub(crate) struct Extents {
    total: u64,
    free: u64,
    /// First page → number of pages, of every hole. No two holes touch.
    by_page: BTreeMap<u64, u64>,
    /// (number of pages, first page) of the same holes.
    by_size: BTreeSet<(u64, u64)>,
}

impl Extents {
    pub(crate) fn new(total: u64) -> Self {
        let mut extents = Extents { total, free: total, by_page: BTreeMap::new(), by_size: BTreeSet::new() };
        extents.insert(0, total);
        extents
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Whether nothing is allocated.
    pub(crate) fn is_idle(&self) -> bool {
        self.free == self.total
    }

    /// The largest number of pages that `allocate` would grant now.
    pub(crate) fn largest(&self) -> u64 {
        self.by_size.last().map_or(0, |&(pages, _)| pages)
    }

    /// Takes `pages` (at least 1) pages in a row; returns the first, or `None` if no hole is that large.
    ///
    /// Small blocks come from the start of a hole, large ones from its end: so the two gather at opposite ends of the segment,
    /// and small blocks that live long do not cut the middle.
    pub(crate) fn allocate(&mut self, pages: u64) -> Option<u64> {
        let &(hole, first) = self.by_size.range((pages, 0)..).next()?;
        self.remove(first, hole);
        self.free -= pages;
        if pages >= self.total / 32 {
            self.insert(first, hole - pages);
            Some(first + hole - pages)
        } else {
            self.insert(first + pages, hole - pages);
            Some(first)
        }
    }

    /// Gives back exactly what one `allocate` granted.
    pub(crate) fn free(&mut self, first: u64, pages: u64) {
        let (mut start, mut end) = (first, first + pages);
        if let Some((&hole, &len)) = self.by_page.range(..first).next_back() {
            debug_assert!(hole + len <= first, "freed twice");
            if hole + len == first {
                self.remove(hole, len);
                start = hole;
            }
        }
        if let Some((&hole, &len)) = self.by_page.range(first..).next() {
            debug_assert!(hole >= end, "freed twice");
            if hole == end {
                self.remove(hole, len);
                end = hole + len;
            }
        }
        self.insert(start, end - start);
        self.free += pages;
    }

    fn insert(&mut self, first: u64, pages: u64) {
        if pages > 0 {
            self.by_page.insert(first, pages);
            self.by_size.insert((pages, first));
        }
    }

    fn remove(&mut self, first: u64, pages: u64) {
        self.by_page.remove(&first);
        self.by_size.remove(&(pages, first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_filled_to_its_last_page_by_blocks_of_one_odd_size_again_and_again() {
        let mut extents = Extents::new(17 * 10);
        let mut blocks: Vec<u64> = (0..10).map(|_| extents.allocate(17).unwrap()).collect();
        assert_eq!((extents.largest(), extents.allocate(1)), (0, None));
        for round in 0..100 {
            extents.free(blocks.swap_remove(round * 7 % 10), 17);
            blocks.push(extents.allocate(17).unwrap());
        }
        blocks.into_iter().for_each(|first| extents.free(first, 17));
        assert!(extents.is_idle());
        assert_eq!(extents.allocate(170), Some(0));
    }

    #[test]
    fn holes_join_in_every_order_of_return() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut extents = Extents::new(9);
            let blocks: Vec<u64> = (0..3).map(|_| extents.allocate(3).unwrap()).collect();
            order.iter().for_each(|&i| extents.free(blocks[i], 3));
            assert_eq!((extents.largest(), extents.is_idle()), (9, true));
        }
    }
}
