//! Sending received batches on, from where they lie.

use arrowlane_plane::Part;
use napi_derive::napi;

use crate::{
    error::{Result, plane},
    lane::NativeLane,
    publish::pairs,
};

/// Answer of `forward`: this has to be copied.
const HAS_TO_BE_COPIED: f64 = -1.0;

#[napi]
impl NativeLane {
    /// Rows and columns of a received batch, to be sent on with `resend` from where they lie; with its own key/values, unless
    /// others are given. -1 where they have to be copied.
    #[napi]
    pub fn forward(
        &self,
        publisher: u32,
        batch: u32,
        offset: f64,
        length: f64,
        columns: Option<Vec<u32>>,
        metadata: Option<Vec<String>>,
    ) -> Result<f64> {
        let sender = self.publisher(publisher)?;
        let batch = self.batch(batch)?;
        let part = Part { offset: offset as usize, length: length as usize, columns: columns.as_deref() };
        let forwarded = sender.forward(&batch, part, metadata.map(|m| pairs(Some(m)))).map_err(plane)?;
        let keep = |outgoing| f64::from(self.host.tables.borrow_mut().outgoing.insert(outgoing));
        Ok(forwarded.map_or(HAS_TO_BE_COPIED, keep))
    }
}
