//! Streams of batches across the border, with and without the device members.

mod export;
mod import;

pub use export::{export_reader, export_reader_host};
pub use import::{StreamReader, import_reader, import_reader_host};
