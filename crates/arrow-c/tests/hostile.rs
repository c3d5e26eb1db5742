//! Structs that lie: an error that says where, and the caller's structs untouched and unreleased.
#![allow(missing_docs, clippy::unwrap_used)]

mod samples;

use std::ffi::{CString, c_void};
use std::sync::Arc;

use arrow_array::*;
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Fields};
use arrowlane_arrow_c::*;

/// Exports one column, lets `harm` change the structs, and returns the error of the import.
///
/// `harm` gets the column's array and schema. What it overwrote is leaked: these structs own it no longer.
fn refused(column: ArrayRef, harm: impl FnOnce(&mut FFI_ArrowArray, &mut FFI_ArrowSchema)) -> Error {
    let batch = RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap();
    refused_batch(&batch, |array, schema| {
        // SAFETY: a batch of one column has one child.
        unsafe { harm(&mut **array.array.children, &mut **schema.children) }
    })
}

fn refused_batch(batch: &RecordBatch, harm: impl FnOnce(&mut FFI_ArrowDeviceArray, &mut FFI_ArrowSchema)) -> Error {
    let (mut array, mut schema) = export_batch(batch).unwrap();
    harm(&mut array, &mut schema);
    let release = (array.array.release.map(|f| f as usize), schema.release.map(|f| f as usize));
    // SAFETY: exported above; what was changed is what the import must notice.
    let error = unsafe { import_batch(&mut array, &mut schema) }.unwrap_err();
    let after = (array.array.release.map(|f| f as usize), schema.release.map(|f| f as usize));
    assert_eq!(after, release, "a failed import leaves the structs as they were: {error}");
    std::mem::forget((array, schema));
    error
}

fn ints() -> ArrayRef {
    Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))
}

fn text() -> ArrayRef {
    Arc::new(StringArray::from(vec!["a", "bc", "def"]))
}

fn assert_says(error: Error, code: &str, text: &str) {
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(text), "{error} does not contain {text:?}");
}

#[test]
fn null_and_misaligned_addresses_are_refused() {
    let (mut array, mut schema) = export_batch(&RecordBatch::try_from_iter([("x", ints())]).unwrap()).unwrap();
    // SAFETY: what is wrong with these addresses is looked at before they are read.
    unsafe {
        assert_says(import_batch(std::ptr::null_mut(), &mut schema).unwrap_err(), "ERR_BAD_ADDRESS", "NULL");
        assert_says(import_batch(&mut array, std::ptr::null_mut()).unwrap_err(), "ERR_BAD_ADDRESS", "NULL");
        let odd = std::ptr::from_mut(&mut array).byte_add(1);
        assert_says(import_batch(odd, &mut schema).unwrap_err(), "ERR_BAD_ADDRESS", "aligned");
        let batch = RecordBatch::try_from_iter([("x", ints())]).unwrap();
        assert!(export_batch_into(&batch, std::ptr::null_mut(), &mut schema).is_err());
    }
    assert!(!array.is_released() && schema.release.is_some());
}

#[test]
fn a_struct_imported_twice_is_refused_the_second_time() {
    let (mut array, mut schema) = export_batch(&RecordBatch::try_from_iter([("x", ints())]).unwrap()).unwrap();
    // SAFETY: exported above.
    unsafe {
        import_batch(&mut array, &mut schema).unwrap();
        assert_says(import_batch(&mut array, &mut schema).unwrap_err(), "ERR_RELEASED", "released already");
    }
    assert_says(refused(ints(), |a, _| a.release = None), "ERR_RELEASED", "batch.x");
    assert_says(refused(ints(), |_, s| s.release = None), "ERR_RELEASED", "schema.0");
}

#[test]
fn other_devices_are_refused_by_name() {
    let batch = RecordBatch::try_from_iter([("x", ints())]).unwrap();
    let error = refused_batch(&batch, |a, _| {
        a.device_type = DeviceType::CUDA;
        a.device_id = 1;
    });
    assert_says(error, "ERR_DEVICE", "CUDA (id 1)");
    assert_says(refused_batch(&batch, |a, _| a.device_type = DeviceType(99)), "ERR_DEVICE", "unknown device type 99");
    let event = std::ptr::without_provenance_mut::<c_void>(64);
    assert_says(refused_batch(&batch, |a, _| a.sync_event = event), "ERR_DEVICE", "sync_event");
}

#[test]
fn lengths_offsets_and_null_counts_that_cannot_be_are_refused() {
    for (length, offset) in [(-1, 0), (3, -1), (i64::MAX, 1), (i64::MAX, i64::MAX), (i64::MAX, 0), (1 << 60, 0)] {
        let error = refused(ints(), |a, _| {
            a.length = length;
            a.offset = offset;
            a.null_count = -1;
            // With a bitmap its (trusted) size would be read.
            // SAFETY: two buffers.
            unsafe { *a.buffers = std::ptr::null() };
        });
        assert_eq!(error.code(), "ERR_INVALID_ARROW", "{length} {offset}: {error}");
    }
    assert_says(refused(ints(), |a, _| a.null_count = 4), "ERR_INVALID_ARROW", "null count 4");
    assert_says(refused(ints(), |a, _| a.null_count = -2), "ERR_INVALID_ARROW", "null count -2");
    assert_says(refused(ints(), |a, _| a.null_count = 0), "ERR_INVALID_ARROW", "has 1 nulls");
    // SAFETY: two buffers.
    let error = refused(ints(), |a, _| unsafe { *a.buffers = std::ptr::null() });
    assert_says(error, "ERR_INVALID_ARROW", "validity buffer is NULL");
    // A child shorter than its parent.
    assert_says(refused(ints(), |a, _| a.length = 2), "ERR_INVALID_ARROW", "");
}

#[test]
fn wrong_counts_of_buffers_and_children_are_refused() {
    for n in [-1, 0, 1, 3, i64::MAX, i64::MIN] {
        assert_says(refused(ints(), |a, _| a.n_buffers = n), "ERR_INVALID_ARROW", "buffers, expected 2");
        assert_eq!(refused(text(), |a, _| a.n_buffers = n.min(2)).code(), "ERR_INVALID_ARROW");
    }
    for (name, array) in samples::arrays() {
        for n in [-1, 7, i64::MAX] {
            let error = refused(array.clone(), |a, _| a.n_children = n);
            assert_says(error, "ERR_INVALID_ARROW", "children, expected");
        }
        let views = name.contains("view") && !name.contains("list");
        for n in [-1, i64::MIN, if views { 2 } else { 99 }] {
            assert_says(refused(array.clone(), |a, _| a.n_buffers = n), "ERR_INVALID_ARROW", "buffers, expected");
        }
        let error = refused(array.clone(), |_, s| s.n_children = -1);
        assert_says(error, "ERR_INVALID_ARROW", "children, expected");
        if array.data_type().is_nested() {
            let error = refused(array.clone(), |a, _| a.children = std::ptr::null_mut());
            assert_says(error, "ERR_INVALID_ARROW", "`children` is NULL");
            let error = refused(array.clone(), |_, s| s.children = std::ptr::null_mut());
            assert_says(error, "ERR_INVALID_ARROW", "`children` is NULL");
            // SAFETY: nested types have a child; its struct is leaked.
            let error = refused(array.clone(), |a, _| unsafe { *a.children = std::ptr::null_mut() });
            assert_says(error, "ERR_INVALID_ARROW", "NULL");
            // SAFETY: as above.
            let error = refused(array, |_, s| unsafe { *s.children = std::ptr::null_mut() });
            assert_says(error, "ERR_INVALID_ARROW", "NULL");
        }
    }
}

#[test]
fn missing_buffers_are_refused_and_those_of_empty_arrays_are_not_needed() {
    assert_says(refused(ints(), |a, _| a.buffers = std::ptr::null_mut()), "ERR_INVALID_ARROW", "`buffers` is NULL");
    for (_, array) in samples::arrays() {
        let n = array.to_data().buffers().len();
        let first = usize::from(!matches!(array.data_type(), DataType::Union(..)));
        for i in first..first + n {
            // SAFETY: the array has this buffer.
            let error = refused(array.clone(), |a, _| unsafe { *a.buffers.add(i) = std::ptr::null() });
            assert_says(error, "ERR_INVALID_ARROW", "is NULL, expected");
        }
        // No rows: every buffer may be missing, and the offset may be anything.
        let batch = RecordBatch::try_from_iter_with_nullable([("x", array.slice(0, 0), true)]).unwrap();
        let (mut array, mut schema) = export_batch(&batch).unwrap();
        // SAFETY: one column, whose buffer pointers are changed; no rows are read.
        unsafe {
            let column = &mut **array.array.children;
            (0..column.n_buffers as usize).for_each(|i| *column.buffers.add(i) = std::ptr::null());
            column.offset = 12;
            assert_eq!(import_batch(&mut array, &mut schema).unwrap(), batch);
        }
    }
}

#[test]
fn dictionaries_that_are_missing_or_out_of_place_are_refused() {
    let words: DictionaryArray<types::Int8Type> = vec!["a", "b", "a"].into_iter().collect();
    let words: ArrayRef = Arc::new(words);
    assert_says(
        refused(words.clone(), |a, _| a.dictionary = std::ptr::null_mut()),
        "ERR_INVALID_ARROW",
        "dictionary is NULL",
    );
    assert_says(
        refused(words.clone(), |_, s| s.dictionary = std::ptr::null_mut()),
        "ERR_INVALID_ARROW",
        "has a dictionary",
    );
    let float = CString::new("g").unwrap();
    assert_says(refused(words, |_, s| s.format = float.as_ptr()), "ERR_INVALID_ARROW", "indices of type");
}

#[test]
fn format_strings_that_make_no_sense_are_refused() {
    let formats = [
        "",
        "?",
        "x",
        "w:",
        "w:-1",
        "w:99999999999",
        "+w:3",
        "+s:",
        "+l",
        "+ud:1",
        "+us:x",
        "d:",
        "d:1",
        "d:a,b",
        "d:0,0",
        "d:39,0",
        "d:77,0,256",
        "d:10,0,32",
        "d:5,2,7",
        "tss",
        "ts?:",
        "tdX",
        "+r",
        "+m",
        "vx",
        "i8",
    ];
    for format in formats {
        let text = CString::new(format).unwrap();
        let error = refused(ints(), |_, s| s.format = text.as_ptr());
        assert_eq!(error.code(), "ERR_INVALID_ARROW", "{format:?}: {error}");
    }
    let bytes = c"\xff\xfe";
    assert_says(refused(ints(), |_, s| s.format = bytes.as_ptr()), "ERR_INVALID_ARROW", "not UTF-8");
    assert_says(refused(ints(), |_, s| s.name = bytes.as_ptr()), "ERR_INVALID_ARROW", "not UTF-8");
    assert_says(refused(ints(), |_, s| s.format = std::ptr::null()), "ERR_INVALID_ARROW", "format string is NULL");
}

#[test]
fn metadata_of_negative_or_absurd_size_is_refused() {
    for (pairs, length) in [(-1_i32, 0_i32), (i32::MAX, 0), (1, -5)] {
        let bytes = [pairs.to_ne_bytes(), length.to_ne_bytes()].concat();
        assert_says(refused(ints(), |_, s| s.metadata = bytes.as_ptr().cast()), "ERR_INVALID_ARROW", "metadata");
    }
}

#[test]
fn maps_run_ends_and_sizes_that_no_array_can_have_are_refused() {
    let list = samples::arrays().into_iter().find(|(n, _)| *n == "list").unwrap().1;
    let (map, fixed) = (c"+m", c"+w:-2");
    assert_says(refused(list.clone(), |_, s| s.format = map.as_ptr()), "ERR_INVALID_ARROW", "map entries");
    assert_says(refused(list, |_, s| s.format = fixed.as_ptr()), "ERR_INVALID_ARROW", "negative");
    let runs = samples::arrays().into_iter().find(|(n, _)| *n == "run_end_encoded").unwrap().1;
    assert_says(refused(runs.clone(), |a, _| a.length = 7), "ERR_INVALID_ARROW", "run ends reach to row 6");
    let text = c"u";
    // SAFETY: run ends are the first child.
    let error = refused(runs, |_, s| unsafe { (**s.children).format = text.as_ptr() });
    assert_says(error, "ERR_INVALID_ARROW", "run ends of type");
}

#[test]
fn union_type_ids_that_cannot_be_are_refused() {
    for (name, array) in samples::arrays().into_iter().filter(|(n, _)| n.ends_with("_union")) {
        for ids in ["-1,2", "1,1", "1,128", "1", "1,2,3", "", "1,", "1,x"] {
            let kind = if name == "dense_union" { "+ud" } else { "+us" };
            let format = CString::new(format!("{kind}:{ids}")).unwrap();
            let error = refused(array.clone(), |_, s| s.format = format.as_ptr());
            assert_eq!(error.code(), "ERR_INVALID_ARROW", "{ids:?}: {error}");
        }
    }
}

#[test]
fn offsets_and_sizes_that_lie_are_refused() {
    let poke = |a: &mut FFI_ArrowArray, at: usize, value: i32| {
        // SAFETY: the test owns the only reference to these values; nobody else reads them meanwhile.
        unsafe { (*a.buffers.add(1)).cast_mut().cast::<i32>().add(at).write(value) }
    };
    assert_says(refused(text(), |a, _| poke(a, 3, -1)), "ERR_INVALID_ARROW", "last offset is -1");
    assert_says(refused(text(), |a, _| poke(a, 0, -1)), "ERR_INVALID_ARROW", "");
    assert_says(refused(text(), |a, _| poke(a, 0, 100)), "ERR_INVALID_ARROW", "");
    let list = || samples::arrays().into_iter().find(|(n, _)| *n == "list").unwrap().1;
    assert_says(refused(list(), |a, _| poke(a, 6, 1000)), "ERR_INVALID_ARROW", "");
    let long = || -> ArrayRef { Arc::new(StringViewArray::from(vec!["a text longer than twelve bytes"])) };
    let negative = [-1_i64];
    // SAFETY: validity, views, one data buffer, sizes.
    let error = refused(long(), |a, _| unsafe { *a.buffers.add(3) = negative.as_ptr().cast() });
    assert_says(error, "ERR_INVALID_ARROW", "negative size");
    // SAFETY: as above.
    let error = refused(long(), |a, _| unsafe { *a.buffers.add(3) = std::ptr::null() });
    assert_says(error, "ERR_INVALID_ARROW", "sizes is NULL");
}

#[test]
fn full_checks_refuse_values_that_lie() {
    let batch = RecordBatch::try_from_iter([("x", text())]).unwrap();
    let (mut array, mut schema) = export_batch(&batch).unwrap();
    let bad = [0xff_u8; 6];
    // SAFETY: exported above; its values are replaced by as many others, which are not UTF-8.
    unsafe {
        *(**array.array.children).buffers.add(2) = bad.as_ptr().cast();
        assert!(import_batch_with(&mut array, &mut schema, Checks::Full).is_err());
    }
    assert!(!array.is_released() && schema.release.is_some());
}

#[test]
fn nesting_without_end_is_refused() {
    let list = samples::arrays().into_iter().find(|(n, _)| *n == "list").unwrap().1;
    let error = refused(list, |_, s| {
        let itself: *mut FFI_ArrowSchema = s;
        // SAFETY: a list has one child; its struct is leaked.
        unsafe { *s.children = itself };
    });
    assert_says(error, "ERR_INVALID_ARROW", "nested deeper than 64");
}

#[test]
fn what_is_not_a_batch_is_refused() {
    let structs = StructArray::new(
        Fields::from(vec![Field::new("x", DataType::Int64, true)]),
        vec![ints()],
        Some(NullBuffer::from(vec![true, false, true])),
    );
    let null_rows = FFI_ArrowArray::new(&structs.to_data());
    let mut array = FFI_ArrowDeviceArray::host(null_rows);
    let mut schema = FFI_ArrowSchema::try_from(structs.data_type()).unwrap();
    // SAFETY: exported just above, by arrow-rs.
    let error = unsafe { import_batch(&mut array, &mut schema) }.unwrap_err();
    assert_says(error, "ERR_INVALID_ARROW", "1 rows of the struct are null");
    assert!(!array.is_released());

    let mut array = FFI_ArrowDeviceArray::host(FFI_ArrowArray::new(&ints().to_data()));
    let mut schema = FFI_ArrowSchema::try_from(&DataType::Int64).unwrap();
    // SAFETY: exported just above, by arrow-rs.
    let error = unsafe { import_batch(&mut array, &mut schema) }.unwrap_err();
    assert_says(error, "ERR_NOT_A_BATCH", "Int64");
    assert!(!array.is_released());
}

#[test]
fn a_struct_with_an_offset_selects_its_rows_through_every_nesting() {
    for (name, column) in samples::arrays() {
        let whole = RecordBatch::try_from_iter_with_nullable([(name, column, true)]).unwrap();
        let (mut array, mut schema) = export_batch(&whole).unwrap();
        (array.array.offset, array.array.length, array.array.null_count) = (2, 3, -1);
        // SAFETY: rows 2..5 of the six exported above.
        let back = unsafe { import_batch_with(&mut array, &mut schema, Checks::Full) }.unwrap();
        assert_eq!(back, whole.slice(2, 3), "{name}");
    }
}

#[test]
fn misaligned_buffers_are_copied_and_read_right() {
    let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![7, 8, 9])) as ArrayRef)]).unwrap();
    let (mut array, mut schema) = export_batch(&batch).unwrap();
    let mut bytes = vec![0_u8];
    [7_i64, 8, 9].iter().for_each(|v| bytes.extend(v.to_ne_bytes()));
    bytes.extend([0; 8]);
    let shift = if bytes.as_ptr().addr() % 8 == 0 { 1 } else { 0 };
    bytes.copy_within(1..25, shift);
    // SAFETY: exported above; its values are replaced by as many others at an odd address.
    unsafe {
        *(**array.array.children).buffers.add(1) = bytes.as_ptr().add(shift).cast();
        assert_eq!(import_batch(&mut array, &mut schema).unwrap(), batch);
    }
}
