//! Bodies on their way into a batch: as they came, or decompressed into memory of this process.

use std::{io::Read, marker::PhantomData, sync::Arc};

use arrowlane_dissociated::{BatchHeader, Decompression, KeyValues, Limits};
use arrowlane_memory::Growing;
use bytes::Bytes;

use super::arrival::Located;
use crate::{Body, Placed, PlaneError, copied, link::Link};

/// So many bytes of decompressed bodies may wait for the application: what is sent is counted as it was sent, which is less.
const MAX_DECOMPRESSED: u64 = 4 << 30;

/// A body that arrived, with its header. Dropping it ends the lease, if it is one.
pub(super) struct Whole {
    header: BatchHeader,
    body: Arc<Body>,
    buffers: Vec<Placed>,
    plan: Option<Decompression>,
    inline: u64,
}

impl Whole {
    /// Its lease begins. What is compressed was looked at, and takes no memory yet.
    pub(super) fn of(located: Located, header: BatchHeader, link: &Arc<Link>) -> Result<Self, PlaneError> {
        let came = located.inline_bytes();
        let (body, buffers) = located.into_body(link);
        let plan = Decompression::plan(&header, &Limits::default(), |index| {
            let mut first = [0; 8];
            // It is asked for buffers that have as many.
            let _ = Piece::of(&body, &buffers[index]).read(&mut first);
            first
        })?;
        let inline = plan.as_ref().map_or(came, |plan| plan.header().body_length);
        Ok(Self { header, body, buffers, plan, inline })
    }

    /// Bytes of this process's memory that it takes, beside what describes it.
    pub(super) fn inline(&self) -> u64 {
        self.inline
    }

    /// What it takes in this process while it waits, in bytes: what describes it, and its body where that is not lent.
    pub(super) fn cost(&self, metadata: &KeyValues) -> (u64, u64) {
        let texts: usize = metadata.iter().map(|(key, value)| 64 + key.len() + value.len()).sum();
        // About what the structures for a node and a buffer take.
        ((512 + 16 * self.header.nodes.len() + 128 * self.buffers.len() + texts) as u64, self.inline)
    }

    /// So many bytes may wait where a queue of `queue` bytes was granted.
    pub(super) fn room(&self, queue: u64) -> u64 {
        if self.plan.is_some() { queue.max(MAX_DECOMPRESSED) } else { queue }
    }

    /// The plain body and its header: as it came, or decompressed; then a lease over what came has ended.
    ///
    /// # Errors
    /// [`PlaneError::CopyRequired`] where it would be decompressed and `strict` forbids that; bytes that are not what was
    /// announced; memory that cannot be had.
    pub(super) fn plain(self, strict: bool) -> Result<(BatchHeader, Arc<Body>, Vec<Placed>), PlaneError> {
        let Some(plan) = self.plan else { return Ok((self.header, self.body, self.buffers)) };
        if strict {
            return Err(PlaneError::CopyRequired(
                "this publisher's batches are compressed, and decompressing copies them: subscribe without strictZeroCopy, or \
                 have them sent uncompressed"
                    .into(),
            ));
        }
        // Taken as the bytes come, within what the machine has left.
        let mut growing = Growing::new(plan.header().body_length as usize);
        let header = plan.run(
            |index| Piece::of(&self.body, &self.buffers[index]),
            |bytes| growing.append(bytes).map(drop).map_err(PlaneError::from),
        )?;
        copied::count(header.body_length);
        let bytes = growing.finish().map(Bytes::from_owner).unwrap_or_default();
        let spans: Vec<_> = header.buffers.iter().map(|span| (span.offset as usize, span.length as usize)).collect();
        let (body, buffers) = Body::of_bytes(bytes, &spans);
        Ok((header, body, buffers))
    }
}

/// A buffer of a body, read through its address: a peer may still write what it lent, so nothing looks at a byte twice.
struct Piece<'b> {
    at: *const u8,
    left: usize,
    _body: PhantomData<&'b Body>,
}

impl<'b> Piece<'b> {
    fn of(body: &'b Body, placed: &Placed) -> Self {
        let range = body.ranges().get(placed.range as usize).filter(|_| placed.length > 0);
        let at =
            range.map_or(std::ptr::null(), |range| range.pointer.as_ptr().wrapping_add(placed.offset).cast_const());
        Self { at, left: range.map_or(0, |_| placed.length), _body: PhantomData }
    }
}

impl Read for Piece<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = into.len().min(self.left);
        if count > 0 {
            // SAFETY: a placed buffer lies inside its range, which is memory that the body owns or has on loan and that the
            // lifetime keeps it for; `left` of its bytes are behind `at`, and `into` is memory of our own.
            unsafe { std::ptr::copy_nonoverlapping(self.at, into.as_mut_ptr(), count) };
            self.at = self.at.wrapping_add(count);
            self.left -= count;
        }
        Ok(count)
    }
}
