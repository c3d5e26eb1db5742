//! Arrow's C Data, C Stream and C Device interfaces: the structs, import and export.
//!
//! # Design
//! - [`FFI_ArrowDeviceArray`] and [`FFI_ArrowDeviceArrayStream`] are defined here as the specification names them;
//!   [`FFI_ArrowArray`], [`FFI_ArrowSchema`] and [`FFI_ArrowArrayStream`] are arrow-rs's own, re-exported. All of
//!   them own what they point to: dropping one calls `release` exactly once, unless it was moved out before.
//! - [`export_batch`] turns a [`RecordBatch`](arrow_array::RecordBatch) into such structs. The buffers are not
//!   copied: their owners live until the consumer calls `release`, on whatever thread.
//! - [`import_batch`] turns such structs into a batch whose buffers point into the producer's memory; the producer's
//!   `release` runs when the last of these buffers is dropped. **An import that fails leaves the caller's structs as
//!   they were**: nothing is moved, nothing is released, they are still the caller's to release.
//! - [`DeviceArray`] holds an imported array of any device without looking into it.
//! - [`export_reader`] and [`import_reader`] do the same for streams.
//!
//! # What is checked
//! Pointers can only be trusted: the interface carries no sizes. Everything else is checked before anything is moved:
//! released structs, counts of children and buffers, lengths, offsets and null counts, missing buffers, format
//! strings, types arrow-rs would panic on, the first and last offset of variable-sized arrays, the last run end.
//! [`Checks::Full`] adds what needs a look at every value (UTF-8, each offset, dictionary indices).
//!
//! # Copies
//! Export copies a validity bitmap that does not start at a byte boundary where the values do (a sliced column).
//! Import copies a buffer that is not aligned as Rust needs it. Nothing else is copied.
//!
//! ```
//! use std::sync::Arc;
//! use arrow_array::{ArrayRef, Int64Array, RecordBatch};
//! use arrowlane_arrow_c::{export_batch, import_batch};
//!
//! let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
//! let batch = RecordBatch::try_from_iter([("n", column)])?;
//! let (mut array, mut schema) = export_batch(&batch)?;
//! // SAFETY: both structs were just exported and are owned here.
//! let back = unsafe { import_batch(&mut array, &mut schema) }?;
//! assert_eq!(back, batch);
//! assert!(array.is_released());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod abi;
mod device_array;
mod error;
mod export;
mod import;
mod schema;
mod stream;

pub use abi::{DeviceType, FFI_ArrowDeviceArray, FFI_ArrowDeviceArrayStream, null_out_array, null_out_schema};
pub use arrow_array::ffi_stream::FFI_ArrowArrayStream;
pub use arrow_data::ffi::FFI_ArrowArray;
pub use arrow_schema::ffi::FFI_ArrowSchema;
pub use device_array::DeviceArray;
pub use error::{Error, Result};
pub use export::{export_batch, export_batch_host, export_batch_into, live_exports};
pub use import::{Checks, import_batch, import_batch_host, import_batch_with};
pub use schema::{export_schema, import_schema};
pub use stream::{StreamReader, export_reader, export_reader_host, import_reader, import_reader_host};
