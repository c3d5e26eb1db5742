//! What goes back to the sender: addresses, and credit for bytes.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use crate::{Outbox, Pair};

/// Counts what is held and gathers what is to go back.
///
/// A free stands for the bytes of its pair, the oldest of that address first, as at the sender: both sides then agree on
/// what was consumed without a credit for it.
#[derive(Debug, Default)]
pub(super) struct Returns {
    held: HashMap<u64, Lengths>,
    /// Encoded addresses for the next flush.
    frees: Vec<u8>,
    /// Bytes that all frees so far stand for.
    freed: u64,
    consumed: u64,
    /// The last credit that went out.
    credited: u64,
}

/// Lengths of the pairs of one address, oldest first. More than one is rare, so the first needs no allocation.
#[derive(Debug)]
struct Lengths {
    first: u64,
    rest: VecDeque<u64>,
}

impl Returns {
    pub fn hold(&mut self, pair: &Pair) {
        match self.held.entry(pair.address) {
            Entry::Vacant(entry) => {
                entry.insert(Lengths { first: pair.length, rest: VecDeque::new() });
            }
            Entry::Occupied(mut entry) => entry.get_mut().rest.push_back(pair.length),
        }
    }

    /// Nothing happens when the address is not held.
    pub fn free(&mut self, address: u64) {
        if self.let_go(address) {
            self.announce(&[address]);
        }
    }

    pub fn announce(&mut self, addresses: &[u64]) {
        crate::free::encode_into(addresses, &mut self.frees);
    }

    /// As [`free`](Self::free), for an address that the sender is told of in another way. Whether it was held.
    pub fn let_go(&mut self, address: u64) -> bool {
        let Entry::Occupied(mut entry) = self.held.entry(address) else {
            return false;
        };
        let bytes = match entry.get_mut().rest.pop_front() {
            Some(next) => std::mem::replace(&mut entry.get_mut().first, next),
            None => entry.remove().first,
        };
        self.freed = self.freed.saturating_add(bytes);
        true
    }

    pub fn consumed(&mut self, bytes: u64) {
        self.consumed = self.consumed.saturating_add(bytes);
    }

    pub fn flush(&mut self, free_tag: Option<u64>, ext_tag: Option<u64>, out: &mut dyn Outbox) -> bool {
        let mut any = false;
        if let Some(tag) = free_tag
            && !self.frees.is_empty()
        {
            out.tagged(tag, &[&self.frees]);
            self.frees.clear();
            any = true;
        }
        if let Some(tag) = ext_tag
            && self.consumed > self.credited.max(self.freed)
        {
            self.credited = self.consumed;
            out.tagged(tag, &[&self.credited.to_le_bytes()]);
            any = true;
        }
        any
    }

    pub fn credited(&self) -> u64 {
        self.credited
    }

    /// Addresses that wait for the next flush.
    pub fn pending(&self) -> usize {
        self.frees.len() / 8
    }

    /// Every address as often as it is held.
    pub fn held_addresses(&self) -> impl Iterator<Item = u64> {
        self.held.iter().flat_map(|(address, lengths)| std::iter::repeat_n(*address, 1 + lengths.rest.len()))
    }
}
