//! What JavaScript sees.
//!
//! ```js
//! const { Lineitem, alloc, free } = require("./tpch.node");
//! const [array, schema] = [alloc(128), alloc(72)];         // ArrowDeviceArray, ArrowSchema
//! const table = new Lineitem(0.1, 65536, 1, 1, ["l_quantity", "l_shipdate"]);
//! while (table.nextInto(array, schema)) {
//!   const batch = Batch.importFrom(array, schema);         // moves out; the structs are free for the next batch
//! }
//! free(array); free(schema);
//! ```
//! Calls generate on the thread that makes them.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrowlane_arrow_c::{FFI_ArrowDeviceArray, FFI_ArrowSchema, export_batch_into};
use napi::bindgen_prelude::BigInt;
use napi::{Error, Result, Status};
use napi_derive::napi;

use crate::{lineitem, q6};

/// Memory that JavaScript owns by address: where each block is and how long.
static BLOCKS: Mutex<Option<HashMap<usize, Layout>>> = Mutex::new(None);

/// Larger than any struct; `alloc` is for structs, not for data.
const LARGEST_BLOCK: u32 = 1 << 20;

fn blocks() -> MutexGuard<'static, Option<HashMap<usize, Layout>>> {
    // A panic while the lock was held leaves a map that is still true: it is changed by single inserts and removes.
    BLOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn invalid(reason: impl ToString) -> Error {
    Error::new(Status::InvalidArg, reason.to_string())
}

/// An address that JavaScript passed as a bigint.
fn address(value: &BigInt, what: &str) -> Result<usize> {
    match value.get_u64() {
        (false, address, true) if address != 0 => usize::try_from(address).map_err(invalid),
        _ => Err(invalid(format!("the address of the {what} is not an address: expected a bigint above 0"))),
    }
}

/// The table `lineitem`, handed over batch by batch.
#[napi]
pub struct Lineitem {
    table: lineitem::Lineitem,
}

#[napi]
impl Lineitem {
    /// `part` of `parts` (1 of 1 by default) of the table at a scale factor, in batches of `batchRows`; `columns`
    /// names the wanted ones (all by default).
    #[napi(constructor)]
    pub fn new(
        scale_factor: f64,
        batch_rows: u32,
        part: Option<i32>,
        parts: Option<i32>,
        columns: Option<Vec<String>>,
    ) -> Result<Self> {
        let (part, parts) = (part.unwrap_or(1), parts.unwrap_or(1));
        lineitem::Lineitem::new(scale_factor, batch_rows, part, parts, columns.as_deref())
            .map(|table| Self { table })
            .map_err(invalid)
    }

    /// Writes the next batch into the caller's `ArrowDeviceArray` (128 bytes) and `ArrowSchema` (72 bytes), both
    /// aligned to 8. False at the end, with nothing written.
    ///
    /// What stood there is overwritten, not released. The caller owns both structs afterwards, and whoever has them
    /// last calls their `release`, on any thread.
    #[napi]
    pub fn next_into(&mut self, array_address: BigInt, schema_address: BigInt) -> Result<bool> {
        let array = address(&array_address, "array")? as *mut FFI_ArrowDeviceArray;
        let schema = address(&schema_address, "schema")? as *mut FFI_ArrowSchema;
        let Some(batch) = self.table.next_batch().map_err(|e| Error::from_reason(e.to_string()))? else {
            return Ok(false);
        };
        // SAFETY: neither is null; that they are writable memory of these structs' sizes is the contract of this
        // method, which only the JavaScript caller can uphold, as with every address passed between addons.
        unsafe { export_batch_into(&batch, array, schema) }.map_err(invalid)?;
        Ok(true)
    }
}

/// Rows of the whole table at a scale factor. Counts them: about a second per unit of scale.
#[napi]
pub fn rows(scale_factor: f64) -> Result<f64> {
    // Below 2^53 at every scale factor that is accepted.
    lineitem::count_rows(scale_factor).map(|rows| rows as f64).map_err(invalid)
}

/// The answer of query 6 that TPC-H ships, two decimals as text; null where it ships none (it does at 1 only).
#[napi]
pub fn q6_answer(scale_factor: Option<f64>) -> Option<String> {
    q6::shipped_answer(scale_factor.unwrap_or(1.0))
}

/// The answer of query 6 at any scale factor, exact, four decimals as text; computed from the generator's rows
/// without Arrow.
#[napi]
pub fn q6_exact(scale_factor: f64) -> Result<String> {
    q6::exact_answer(scale_factor).map(q6::four_decimals).map_err(invalid)
}

/// Zeroed memory for a struct, aligned to 64 bytes, until `free`.
#[napi]
pub fn alloc(size: u32) -> Result<BigInt> {
    if size == 0 || size > LARGEST_BLOCK {
        return Err(invalid(format!("cannot allocate {size} bytes: expected 1 to {LARGEST_BLOCK}")));
    }
    let layout = Layout::from_size_align(size as usize, 64).map_err(invalid)?;
    // SAFETY: the size is not zero, checked above.
    let block = unsafe { alloc_zeroed(layout) };
    if block.is_null() {
        return Err(Error::from_reason(format!("out of memory for {size} bytes")));
    }
    blocks().get_or_insert_default().insert(block as usize, layout);
    Ok(BigInt::from(block as u64))
}

/// Gives memory from `alloc` back. Calls no `release`: that must have been done, or the struct moved elsewhere.
#[napi]
pub fn free(address_of_block: BigInt) -> Result<()> {
    let block = address(&address_of_block, "block")?;
    let Some(layout) = blocks().as_mut().and_then(|blocks| blocks.remove(&block)) else {
        return Err(invalid("this address did not come from alloc, or was freed before"));
    };
    // SAFETY: it was in the table, so `alloc` made it with this layout, and taking it out makes this the only free.
    unsafe { dealloc(block as *mut u8, layout) };
    Ok(())
}
