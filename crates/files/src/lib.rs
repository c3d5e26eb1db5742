//! Arrow data at rest: files and pipes of record batches, and a schema as JSON.
//!
//! - [`open`] reads an Arrow IPC file, an Arrow IPC stream or a Parquet file, told apart by content.
//! - [`Writer`] writes an IPC file (`.arrow`) or an IPC stream (`.arrows`, `-`).
//! - [`Summary`] accumulates what is in each column while batches pass by.
//! - [`json`] turns a schema into JSON and back.
//!
//! Everything here works on Arrow arrays natively, so every type passes through unchanged. Files are read with
//! ordinary reads, never mapped: a file that somebody truncates gives an error, not a SIGBUS. What is read is
//! hostile until checked: a damaged file gives [`Error::Damaged`].

mod error;
mod guard;
mod ipc_decode;
mod ipc_source;
pub mod json;
mod place;
mod reader;
mod summary;
mod unify;
mod writer;

pub use error::{Error, Result};
pub use reader::{Format, Reader, open};
pub use summary::{ColumnSummary, Summary};
pub use writer::{OutputFormat, WriteSummary, Writer};

#[cfg(test)]
mod samples;
