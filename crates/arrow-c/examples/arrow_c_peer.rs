//! A library with a C surface that Python loads with ctypes: the other side of interop/python/arrow_c_peer.py.
//!
//! Every call takes addresses of Arrow C structs, returns 0 or 1, and leaves its error in `peer_error`.
#![allow(missing_docs, clippy::missing_safety_doc, clippy::unwrap_used)]

#[path = "../tests/samples/mod.rs"]
mod samples;

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int};

use arrow_array::RecordBatch;
use arrowlane_arrow_c::*;

thread_local! {
    static ERROR: RefCell<CString> = RefCell::default();
}

fn answer(result: Result<()>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => say(&error.to_string()),
    }
}

fn say(text: &str) -> c_int {
    ERROR.with(|slot| *slot.borrow_mut() = CString::new(text.replace('\0', "?")).unwrap());
    1
}

#[unsafe(no_mangle)]
pub extern "C" fn peer_error() -> *const c_char {
    ERROR.with(|slot| slot.borrow().as_ptr())
}

#[unsafe(no_mangle)]
pub extern "C" fn peer_live_exports() -> usize {
    live_exports()
}

/// Imports a batch and exports it again, through the device structs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peer_round_trip_device(
    array: *mut FFI_ArrowDeviceArray,
    schema: *mut FFI_ArrowSchema,
    out_array: *mut FFI_ArrowDeviceArray,
    out_schema: *mut FFI_ArrowSchema,
) -> c_int {
    // SAFETY: Python passes structs that pyarrow exported, and room for two more.
    answer(unsafe {
        import_batch_with(array, schema, Checks::Full)
            .and_then(|batch| export_batch_into(&batch, out_array, out_schema))
    })
}

/// The same through the plain structs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peer_round_trip_host(
    array: *mut FFI_ArrowArray,
    schema: *mut FFI_ArrowSchema,
    out_array: *mut FFI_ArrowArray,
    out_schema: *mut FFI_ArrowSchema,
) -> c_int {
    // SAFETY: as above.
    answer(unsafe {
        import_batch_host(array, schema, Checks::Full).and_then(|batch| {
            let (array, schema) = export_batch_host(&batch)?;
            out_array.write(array);
            out_schema.write(schema);
            Ok(())
        })
    })
}

/// Imports a stream and exports it again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peer_round_trip_stream(
    stream: *mut FFI_ArrowArrayStream,
    out: *mut FFI_ArrowArrayStream,
) -> c_int {
    // SAFETY: as above.
    answer(unsafe {
        import_reader_host(stream, Checks::Full).map(|reader| out.write(export_reader_host(Box::new(reader))))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn peer_sample_count() -> usize {
    samples::samples().len()
}

/// Exports sample `index`, made here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peer_sample(
    index: usize,
    array: *mut FFI_ArrowDeviceArray,
    schema: *mut FFI_ArrowSchema,
) -> c_int {
    let (_, batch) = &samples::samples()[index];
    // SAFETY: as above.
    answer(unsafe { export_batch_into(batch, array, schema) })
}

/// Whether what comes back is sample `index`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peer_check(
    index: usize,
    array: *mut FFI_ArrowDeviceArray,
    schema: *mut FFI_ArrowSchema,
) -> c_int {
    let (name, batch) = &samples::samples()[index];
    // SAFETY: as above.
    match unsafe { import_batch_with(array, schema, Checks::Full) } {
        Ok(back) if same(&back, batch) => 0,
        Ok(back) => say(&format!("{name}: {:?} came back, expected {:?}", back, batch)),
        Err(error) => say(&format!("{name}: {error}")),
    }
}

/// Equal values, names, nullability and metadata.
fn same(a: &RecordBatch, b: &RecordBatch) -> bool {
    a == b && a.schema().metadata() == b.schema().metadata()
}

/// Holds a batch until `peer_drop_elsewhere`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peer_hold(array: *mut FFI_ArrowDeviceArray, schema: *mut FFI_ArrowSchema) -> *mut RecordBatch {
    // SAFETY: as above.
    match unsafe { import_batch_with(array, schema, Checks::Full) } {
        Ok(batch) => Box::into_raw(Box::new(batch)),
        Err(error) => {
            say(&error.to_string());
            std::ptr::null_mut()
        }
    }
}

/// Drops a held batch on a thread that Python does not know.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peer_drop_elsewhere(held: *mut RecordBatch) -> c_int {
    // SAFETY: made by `peer_hold`, dropped once.
    let held = unsafe { Box::from_raw(held) };
    c_int::from(std::thread::spawn(move || drop(held)).join().is_err())
}

/// Calls `release` of an exported array on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peer_release_elsewhere(array: *mut FFI_ArrowDeviceArray) -> c_int {
    // SAFETY: Python passes an unreleased struct.
    let moved = unsafe { FFI_ArrowDeviceArray::from_raw(array) };
    c_int::from(std::thread::spawn(move || drop(moved)).join().is_err())
}
