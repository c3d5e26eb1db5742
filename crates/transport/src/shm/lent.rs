//! The segments that a peer lent us, and what its addresses mean.
//!
//! An address is a segment's number (high 16 bits, from 1) and an offset in it (low 48 bits).

use std::{collections::HashMap, ptr::NonNull, sync::Arc};

use arrowlane_memory::shared::{Keepers, Mapping};
use rustix::fd::OwnedFd;

use crate::{Loan, TransportError, system::is_pipe};

/// Most segments that one peer may have lent at a time.
const MAX_SEGMENTS: usize = 1024;

#[derive(Default)]
pub(super) struct Lent {
    segments: HashMap<u16, Arc<Mapping>>,
    /// This connection's.
    keeper: Option<Arc<OwnedFd>>,
}

impl Lent {
    /// Maps a segment. `descriptors` gives those that came, in their order.
    pub(super) fn map(
        &mut self,
        tag: u64,
        payload: &[u8],
        mut descriptors: impl FnMut() -> Option<OwnedFd>,
    ) -> Result<(), TransportError> {
        let number = segment_number(tag)?;
        let missing = || TransportError::Framing("a segment came without its descriptors".into());
        let descriptor = descriptors().ok_or_else(missing)?;
        let (length, own, passed) = read(payload)?;
        let mut keeper = || {
            let keeper = descriptors().ok_or_else(missing)?;
            let fits = is_pipe(&keeper).then(|| Arc::new(keeper));
            fits.ok_or_else(|| TransportError::Framing("a keeper is not the end of a pipe".into()))
        };
        if own {
            self.keeper = Some(keeper()?);
        }
        let passed = (0..passed).map(|_| keeper()).collect::<Result<Vec<_>, _>>()?;
        if self.segments.contains_key(&number) {
            return Err(TransportError::Framing(format!("segment {number} was lent twice without being retired")));
        }
        if self.segments.len() >= MAX_SEGMENTS {
            return Err(TransportError::Framing(format!("more than {MAX_SEGMENTS} segments were lent")));
        }
        let keepers = Keepers::new(self.keeper.clone(), passed);
        let mapping = Mapping::open(descriptor, length).map(|mapping| Arc::new(mapping.kept_by(keepers)))?;
        self.segments.insert(number, mapping);
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

/// A segment's length, whether the connection's keeper came, and how many others did.
fn read(payload: &[u8]) -> Result<(u64, bool, u32), TransportError> {
    let wrong = || TransportError::Framing("a segment's payload must be its length, and its keepers' numbers".into());
    let (length, keepers) = payload.split_first_chunk().ok_or_else(wrong)?;
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).ok();
    let (own, passed) = match keepers.len() {
        0 => (Some(0), Some(0)),
        8 => (number(&keepers[..4]), number(&keepers[4..])),
        _ => (None, None),
    };
    match (own, passed) {
        (Some(own @ 0..=1), Some(passed)) if passed as usize <= Keepers::MOST => {
            Ok((u64::from_le_bytes(*length), own == 1, passed))
        }
        _ => Err(wrong()),
    }
}

pub(super) fn segment_number(tag: u64) -> Result<u16, TransportError> {
    match u16::try_from(tag) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(TransportError::Framing(format!("{tag} is not a segment's number"))),
    }
}

/// A client sent what only servers do.
pub(super) fn lends_nothing() -> TransportError {
    TransportError::Framing("a subscriber lends no memory".into())
}
