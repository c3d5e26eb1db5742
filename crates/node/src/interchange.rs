//! Batches to and from other native code, by the C Device Interface.

use std::sync::Arc;

use arrowlane_arrow_c::{FFI_ArrowDeviceArray, FFI_ArrowSchema, export_batch_into, import_batch};
use arrowlane_plane::Batch;
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::{
    error::{CodedError, Result, coded, plane},
    lane::NativeLane,
};

#[napi]
impl NativeLane {
    /// Writes an `ArrowDeviceArray` (128 bytes) and an `ArrowSchema` (72 bytes) to the caller's addresses. They hold a
    /// reference of their own, which the consumer releases from any thread.
    #[napi]
    pub fn export_to(
        &self,
        batch: u32,
        offset: f64,
        length: f64,
        columns: Option<Vec<u32>>,
        array: BigInt,
        schema: BigInt,
    ) -> Result<()> {
        let part = self.part(batch, offset, length, columns)?;
        let (array, schema) = (address(&array, "array")?, address(&schema, "schema")?);
        let (array, schema) = (array as *mut FFI_ArrowDeviceArray, schema as *mut FFI_ArrowSchema);
        // SAFETY: the caller of `exportTo` promises that both addresses are writable memory of these sizes; they were
        // checked to be neither null nor misaligned. This is the C Device Interface's own contract.
        unsafe { export_batch_into(&part, array, schema) }.map_err(|e| coded(e.code(), &e))?;
        self.host.tables.borrow_mut().exported(batch);
        Ok(())
    }

    /// Takes over what an `ArrowDeviceArray` and an `ArrowSchema` at these addresses describe; the record of the batch
    /// is in the scratch array.
    #[napi]
    pub fn import_from(&self, array: BigInt, schema: BigInt) -> Result<()> {
        let (array, schema) = (address(&array, "array")?, address(&schema, "schema")?);
        let (array, schema) = (array as *mut FFI_ArrowDeviceArray, schema as *mut FFI_ArrowSchema);
        // SAFETY: the caller of `importFrom` promises that both addresses hold structs of these types, valid or
        // released; they were checked to be neither null nor misaligned.
        let arrow = unsafe { import_batch(array, schema) }.map_err(|e| coded(e.code(), &e))?;
        let batch = Batch::from_arrow(&arrow, Vec::new()).map_err(plane)?;
        self.put_batch(Arc::new(batch));
        Ok(())
    }
}

fn address(value: &BigInt, what: &str) -> Result<usize> {
    let (negative, address, lossless) = value.get_u64();
    let usable = !negative && lossless && address != 0 && address % 8 == 0;
    usable.then_some(address as usize).ok_or_else(|| {
        let text = format!("the {what} address must be a positive, 8-byte aligned bigint");
        CodedError::new("ERR_BAD_ADDRESS".to_owned(), text)
    })
}
