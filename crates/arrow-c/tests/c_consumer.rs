//! A consumer written in C from the specification's text, compiled here, in this process.
#![allow(missing_docs, clippy::unwrap_used)]

use std::ffi::{CStr, c_char, c_int};
use std::mem::{MaybeUninit, offset_of, size_of};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrowlane_arrow_c::*;
use libloading::{Library, Symbol};

type Device = FFI_ArrowDeviceArray;
type Sum = unsafe extern "C" fn(*const Device, *const FFI_ArrowSchema, *const c_char, *mut i64) -> c_int;
type Move = unsafe extern "C" fn(*mut Device, *mut Device);
type Release = unsafe extern "C" fn(*mut Device) -> c_int;

/// Compiles consumer.c; `cc` is part of what a build needs anyway.
fn compile(folder: &Path) -> Library {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/consumer.c");
    let output = folder.join("libconsumer.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let result = Command::new(&compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-pthread", "-o"])
        .arg(&output)
        .arg(&source)
        .output()
        .unwrap_or_else(|error| panic!("cannot run the C compiler {compiler:?}: {error}"));
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
    // SAFETY: the library just built has no initialisers.
    unsafe { Library::new(&output) }.unwrap()
}

#[test]
fn a_c_program_reads_moves_and_releases_a_batch_on_its_own_thread() {
    let folder = tempfile::tempdir().unwrap();
    let library = compile(folder.path());
    // SAFETY: the names and signatures are those of consumer.c.
    unsafe {
        let size: Symbol<unsafe extern "C" fn() -> usize> = library.get(b"consumer_device_array_size").unwrap();
        let event: Symbol<unsafe extern "C" fn() -> usize> = library.get(b"consumer_sync_event_offset").unwrap();
        assert_eq!(size(), size_of::<Device>());
        assert_eq!(event(), offset_of!(Device, sync_event));

        let sum: Symbol<Sum> = library.get(b"consumer_sum").unwrap();
        let relocate: Symbol<Move> = library.get(b"consumer_move").unwrap();
        let release: Symbol<Release> = library.get(b"consumer_release_elsewhere").unwrap();

        let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..1001).map(|i| (i % 3 != 0).then_some(i))));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..1001).map(|i| i.to_string())));
        let owner = Arc::downgrade(&numbers);
        let batch = RecordBatch::try_from_iter([("name", names), ("n", numbers)]).unwrap();
        for slice in [batch.slice(0, 1001), batch.slice(7, 900)] {
            let expected: i64 =
                arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(slice.column(1))
                    .iter()
                    .flatten()
                    .sum();
            let before = live_exports();
            let mut array = MaybeUninit::<Device>::uninit();
            let mut schema = MaybeUninit::<FFI_ArrowSchema>::uninit();
            export_batch_into(&slice, array.as_mut_ptr(), schema.as_mut_ptr()).unwrap();
            drop(slice);
            let (mut array, schema) = (array.assume_init(), schema.assume_init());
            assert_eq!(live_exports(), before + 3);

            let name: &CStr = c"n";
            let mut total = 0;
            assert_eq!(sum(&array, &schema, name.as_ptr(), &mut total), 0);
            assert_eq!(total, expected);

            let mut moved = MaybeUninit::<Device>::uninit();
            relocate(&mut array, moved.as_mut_ptr());
            assert!(array.is_released());
            let mut moved = moved.assume_init();
            assert_eq!(release(&mut moved), 0);
            assert_eq!(live_exports(), before, "released once, by the C thread");
        }
        drop(batch);
        assert!(owner.upgrade().is_none());
    }
}
