//! The segments that a peer lent us, and what its addresses mean.
//!
//! An address is a segment's number (high 16 bits, from 1) and an offset in it (low 48 bits).

use std::{collections::HashMap, os::fd::OwnedFd, ptr::NonNull, sync::Arc};

use arrowlane_memory::shared::Mapping;

use crate::{Loan, TransportError};

/// Most segments that one peer may have lent at a time.
const MAX_SEGMENTS: usize = 1024;

#[derive(Default)]
pub(super) struct Lent {
    segments: HashMap<u16, Arc<Mapping>>,
}

impl Lent {
    pub(super) fn map(&mut self, tag: u64, payload: &[u8], descriptor: Option<OwnedFd>) -> Result<(), TransportError> {
        let number = segment_number(tag)?;
        let descriptor =
            descriptor.ok_or_else(|| TransportError::Framing("a segment came without its descriptor".into()))?;
        let length = <[u8; 8]>::try_from(payload)
            .map(u64::from_le_bytes)
            .map_err(|_| TransportError::Framing("a segment's payload must be its length in 8 bytes".into()))?;
        if self.segments.contains_key(&number) {
            return Err(TransportError::Framing(format!("segment {number} was lent twice without being retired")));
        }
        if self.segments.len() >= MAX_SEGMENTS {
            return Err(TransportError::Framing(format!("more than {MAX_SEGMENTS} segments were lent")));
        }
        let mapping = Mapping::open(descriptor, length)?;
        self.segments.insert(number, Arc::new(mapping));
        Ok(())
    }

    pub(super) fn retire(&mut self, tag: u64) -> Result<(), TransportError> {
        let number = segment_number(tag)?;
        match self.segments.remove(&number) {
            Some(_) => Ok(()),
            None => Err(TransportError::Framing(format!("segment {number} was retired and never lent"))),
        }
    }

    pub(super) fn resolve(&self, address: u64, length: u64) -> Result<Loan, TransportError> {
        let bad = || TransportError::BadAddress { address, length };
        let mapping = self.segments.get(&((address >> 48) as u16)).ok_or_else(bad)?;
        let offset = usize::try_from(address & ((1 << 48) - 1)).map_err(|_| bad())?;
        let length_here = usize::try_from(length).map_err(|_| bad())?;
        let end = offset.checked_add(length_here).ok_or_else(bad)?;
        let region = mapping.region();
        let base = region.host_ptr().ok_or_else(bad)?;
        if end > region.len() {
            return Err(bad());
        }
        // SAFETY: offset ≤ end ≤ the mapping's length, which was just checked, so the pointer stays inside it.
        let pointer: NonNull<u8> = unsafe { base.add(offset) };
        Ok(Loan { pointer, length: length_here, mapping: Some((Arc::clone(mapping), offset)), owner: None })
    }
}

pub(super) fn segment_number(tag: u64) -> Result<u16, TransportError> {
    match u16::try_from(tag) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(TransportError::Framing(format!("{tag} is not a segment's number"))),
    }
}
