//! Batches in: C structs checked, wrapped and only then taken.

mod array;
mod owner;
mod slice;

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions, make_array};
use arrow_data::ffi::FFI_ArrowArray;
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{DataType, SchemaRef};

use crate::abi::{DeviceType, FFI_ArrowDeviceArray};
use crate::error::{Error, Result, check_address};
use crate::schema::import_schema;

use owner::Owner;

/// How much of the data an import looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checks {
    /// Counts, lengths, null counts, first and last offsets: no more than a look at the bitmaps. For producers in this
    /// process, whose values are trusted as their pointers must be.
    #[default]
    Structure,
    /// Every offset, index, view, run end and UTF-8 sequence too: time in proportion to the data. For producers that
    /// pass on bytes they did not check.
    Full,
}

/// Imports a batch from the C Device interface, moving the structs out: `release` of both is NULL afterwards, the
/// schema is released, and the array is released when the last buffer of the batch is dropped, on that thread.
///
/// On failure both structs are untouched, unreleased, and still the caller's. Only the CPU so far: other devices fail
/// with `ERR_DEVICE`. The array must be a struct without null rows; its offset and length select rows of its children.
///
/// # Safety
/// Both must be NULL (an error) or addresses of initialised structs that the caller owns, whose non-NULL pointers are
/// valid as the interface demands; until the import returns nobody else uses them. The values must be valid for their
/// types, or be checked with [`import_batch_with`] and [`Checks::Full`].
pub unsafe fn import_batch(array: *mut FFI_ArrowDeviceArray, schema: *mut FFI_ArrowSchema) -> Result<RecordBatch> {
    // SAFETY: the same contract.
    unsafe { import_batch_with(array, schema, Checks::Structure) }
}

/// [`import_batch`] with a choice of checks.
///
/// # Safety
/// As [`import_batch`]; with [`Checks::Full`] the values may be anything.
pub unsafe fn import_batch_with(
    array: *mut FFI_ArrowDeviceArray,
    schema: *mut FFI_ArrowSchema,
    checks: Checks,
) -> Result<RecordBatch> {
    check_address(array, "array")?;
    // SAFETY: not NULL and aligned; the caller vouches that it is initialised.
    check_host(unsafe { &*array })?;
    // SAFETY: the same contract; `array` is the first member.
    unsafe { import_batch_host(std::ptr::addr_of_mut!((*array).array), schema, checks) }
}

/// [`import_batch_with`] from the plain C data interface.
///
/// # Safety
/// As [`import_batch_with`].
pub unsafe fn import_batch_host(
    array: *mut FFI_ArrowArray,
    schema: *mut FFI_ArrowSchema,
    checks: Checks,
) -> Result<RecordBatch> {
    check_address(array, "array")?;
    check_address(schema, "schema")?;
    // SAFETY: the same contract.
    let fields = Arc::new(unsafe { import_schema(schema) }?);
    // SAFETY: the same contract.
    let batch = unsafe { import_columns(array, fields, checks) }?;
    // SAFETY: the caller owns the schema and nothing refers to it any more; dropping releases it.
    drop(unsafe { FFI_ArrowSchema::from_raw(schema) });
    Ok(batch)
}

/// Refuses arrays that this process cannot read as they are.
pub(crate) fn check_host(array: &FFI_ArrowDeviceArray) -> Result<()> {
    if array.is_released() {
        return Err(Error::Released { what: "array".to_owned() });
    }
    if array.device_type != DeviceType::CPU {
        return Err(Error::Device { device: array.device_type, id: array.device_id });
    }
    if !array.sync_event.is_null() {
        return Err(Error::SyncEvent);
    }
    Ok(())
}

/// Imports a struct array whose schema is known.
///
/// # Safety
/// As [`import_batch_with`], for an `array` that is neither NULL nor misaligned.
pub(crate) unsafe fn import_columns(
    array: *mut FFI_ArrowArray,
    schema: SchemaRef,
    checks: Checks,
) -> Result<RecordBatch> {
    let owner = Arc::new(Owner::default());
    let data_type = DataType::Struct(schema.fields().clone());
    // SAFETY: the caller vouches for the struct; the reference ends before the struct is moved below.
    let top = unsafe { array::read(&*array, &data_type, &owner) }?;
    if top.null_count() > 0 {
        return Err(Error::invalid(
            "batch",
            format!(
                "{} rows of the struct are null, expected none; a record batch cannot hold null rows",
                top.null_count()
            ),
        ));
    }
    match checks {
        Checks::Structure => top.validate()?,
        Checks::Full => top.validate_full()?,
    }
    let rows = top.len();
    let columns = top.child_data().iter().cloned().map(make_array).collect();
    let batch =
        RecordBatch::try_new_with_options(schema, columns, &RecordBatchOptions::new().with_row_count(Some(rows)))?;
    // From here on nothing fails: the array becomes ours, and is released with the last of its buffers.
    // SAFETY: the caller gives up the struct; `owner` is handed out only in `batch`'s buffers, which do not read it.
    unsafe { owner.take(array) };
    Ok(batch)
}
