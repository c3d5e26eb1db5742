//! An imported array of any device, not looked into.

use std::ffi::c_void;

use arrow_array::RecordBatch;
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{Schema, SchemaRef};

use crate::abi::{DeviceType, FFI_ArrowDeviceArray};
use crate::error::{Error, Result, check_address};
use crate::export::export_batch;
use crate::import::{Checks, check_host, import_columns};
use crate::schema::{export_schema, import_schema};

/// A struct array on some device with its schema: owned, movable between threads, released when dropped.
///
/// Use it to pass on what cannot be read here, and to ask where it is. Its buffers are not checked until
/// [`into_batch`](Self::into_batch).
#[derive(Debug)]
pub struct DeviceArray {
    array: FFI_ArrowDeviceArray,
    schema: SchemaRef,
}

impl DeviceArray {
    /// Shares a batch in ordinary memory.
    pub fn from_batch(batch: &RecordBatch) -> Result<Self> {
        let (array, _) = export_batch(batch)?;
        Ok(Self { array, schema: batch.schema() })
    }

    /// Moves an array and its schema out of the caller's structs, on whatever device it is. On failure both are
    /// untouched.
    ///
    /// # Safety
    /// As [`import_batch`](crate::import_batch).
    pub unsafe fn import(array: *mut FFI_ArrowDeviceArray, schema: *mut FFI_ArrowSchema) -> Result<Self> {
        check_address(array, "array")?;
        check_address(schema, "schema")?;
        // SAFETY: not NULL and aligned; the caller vouches that it is initialised.
        if unsafe { (*array).is_released() } {
            return Err(Error::Released { what: "array".to_owned() });
        }
        // SAFETY: the same contract.
        let fields: Schema = unsafe { import_schema(schema) }?;
        // SAFETY: the caller gives up both; dropping the schema releases it.
        let array = unsafe {
            drop(FFI_ArrowSchema::from_raw(schema));
            FFI_ArrowDeviceArray::from_raw(array)
        };
        Ok(Self { array, schema: fields.into() })
    }

    /// The schema of the columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows the producer announces (a negative number counts as 0).
    pub fn len(&self) -> usize {
        usize::try_from(self.array.array.length).unwrap_or_default()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kind of device the buffers are on.
    pub fn device_type(&self) -> DeviceType {
        self.array.device_type
    }

    /// Which device of its kind; -1 on the CPU.
    pub fn device_id(&self) -> i64 {
        self.array.device_id
    }

    /// The event to wait for before reading, or NULL; valid while this array lives.
    pub fn sync_event(&self) -> *mut c_void {
        self.array.sync_event
    }

    /// Reads it as a batch. Only the CPU so far; on failure the array is released.
    ///
    /// # Safety
    /// The values must be valid for their types unless `checks` is [`Checks::Full`]; pointers as for
    /// [`import_batch`](crate::import_batch).
    pub unsafe fn into_batch(mut self, checks: Checks) -> Result<RecordBatch> {
        check_host(&self.array)?;
        let mut array = self.array.take_array();
        // SAFETY: the same contract; the struct is owned here.
        unsafe { import_columns(&mut array, self.schema, checks) }
    }

    /// Gives it to a consumer.
    pub fn export(self) -> Result<(FFI_ArrowDeviceArray, FFI_ArrowSchema)> {
        let schema = export_schema(&self.schema)?;
        Ok((self.array, schema))
    }
}
