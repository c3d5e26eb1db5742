//! Batches that one environment hands to others of its process.

use std::time::Duration;

use arrowlane_plane::sharing::{self, View};
use napi_derive::napi;

use crate::{
    error::{CodedError, Result},
    lane::NativeLane,
};

/// How a batch that was shared is shown: rows `begin` to `end` of it, and which columns.
#[napi(object)]
pub struct NativeView {
    pub begin: f64,
    pub end: f64,
    /// Indices; absent: all of them.
    pub columns: Option<Vec<u32>>,
    /// Whether silent copies are refused.
    pub strict: bool,
    /// Which transport brought the batch, where it is opened.
    pub via: Option<String>,
}

#[napi]
impl NativeLane {
    /// Has a token (32 hexadecimal digits) stand for a batch, with a reference of its own for so many milliseconds. Returns
    /// after how many milliseconds `expireShares` is to be called.
    #[napi]
    pub fn share(&self, batch: u32, token: String, view: NativeView, timeout: f64) -> Result<f64> {
        let (id, batch) = (identity(&token)?, self.batch(batch)?);
        let timeout = Duration::try_from_secs_f64(timeout / 1e3).unwrap_or(Duration::MAX);
        let NativeView { begin, end, columns, strict, .. } = view;
        let view = View { rows: [begin as usize, end as usize], columns, strict };
        let tables = self.host.tables.borrow();
        Ok(milliseconds(tables.sharer.share(id, batch, view, timeout)))
    }

    /// Opens what a token stands for; the batch's record is in the scratch array. Absent when the lease has ended.
    #[napi]
    pub fn open_shared(&self, token: String) -> Result<Option<NativeView>> {
        let Some((batch, view)) = sharing::open(identity(&token)?) else { return Ok(None) };
        let View { rows: [begin, end], columns, strict } = view;
        let via = batch.via.to_owned();
        self.put_batch(batch);
        Ok(Some(NativeView { begin: begin as f64, end: end as f64, columns, strict, via: Some(via) }))
    }

    /// Takes its reference from a token. `false` when it had none any more.
    #[napi]
    pub fn revoke_shared(&self, token: String) -> Result<bool> {
        Ok(sharing::revoke(identity(&token)?))
    }

    /// Takes their reference from the tokens of this environment whose time is up. Returns after how many milliseconds it is
    /// to be called again; absent when there are no more.
    #[napi]
    pub fn expire_shares(&self) -> Option<f64> {
        let next = self.host.tables.borrow().sharer.expire();
        next.map(milliseconds)
    }

    /// How many tokens hold a reference, in the whole process.
    #[napi]
    pub fn unopened_shares(&self) -> f64 {
        sharing::unopened() as f64
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn identity(token: &str) -> Result<u128> {
    u128::from_str_radix(token, 16).map_err(|_| {
        let text = "the token's id is not what share() made: pass the token on as it is".to_owned();
        CodedError::new("ERR_INVALID_ARGUMENT".to_owned(), text)
    })
}
