//! A fence around decoders that panic on bytes they did not expect.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::error::{Error, Result};

/// Runs a decoder of the Arrow or Parquet library over bytes from outside.
///
/// Both libraries check most of what they read and panic on the rest (a schema without fields, an integer of 24
/// bits). Here a panic becomes the same error as any other damage. What the closure had borrowed is dropped or
/// read-only in every caller, so no half-changed state is seen afterwards.
pub(crate) fn decode<T, E>(path: &Path, decoder: impl FnOnce() -> std::result::Result<T, E>) -> Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match catch_unwind(AssertUnwindSafe(decoder)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Error::damaged_by(path, error)),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_else(|| "an unexpected value".to_owned());
            Err(Error::damaged(path, format!("its decoder stopped at: {text}")))
        }
    }
}
