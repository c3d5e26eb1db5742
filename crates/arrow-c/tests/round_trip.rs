//! What goes out comes back: every type, in place, released once.
#![allow(missing_docs, clippy::unwrap_used)]

mod samples;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_buffer::Buffer;
use arrow_data::ArrayData;
use arrowlane_arrow_c::*;

/// Live exports are counted for the whole process, so tests that look at the count take turns.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn turn() -> std::sync::MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn import(array: &mut FFI_ArrowDeviceArray, schema: &mut FFI_ArrowSchema) -> Result<RecordBatch> {
    // SAFETY: the tests pass structs that this crate exported.
    unsafe { import_batch_with(array, schema, Checks::Full) }
}

#[test]
fn every_type_and_slice_comes_back_equal_and_leaves_nothing_behind() {
    let _turn = turn();
    let before = live_exports();
    for (name, batch) in samples::samples() {
        let (mut array, mut schema) = export_batch(&batch).unwrap();
        let back = import(&mut array, &mut schema).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(back, batch, "{name}");
        assert!(array.is_released(), "{name}");
        assert!(schema.release.is_none(), "{name}");
        // And once more, from what was imported.
        let (mut array, mut schema) = export_batch(&back).unwrap();
        drop(back);
        assert_eq!(import(&mut array, &mut schema).unwrap(), batch, "{name}");
    }
    assert_eq!(live_exports(), before);
}

fn addresses(data: &ArrayData, out: &mut Vec<(usize, usize)>) {
    out.extend(data.buffers().iter().filter(|b| !b.is_empty()).map(|b| (b.as_ptr().addr(), b.len())));
    data.child_data().iter().for_each(|child| addresses(child, out));
}

#[test]
fn the_values_of_every_type_are_read_in_place() {
    let _turn = turn();
    for (name, array) in samples::arrays() {
        let batch = RecordBatch::try_from_iter_with_nullable([(name, array, true)]).unwrap();
        let (mut array, mut schema) = export_batch(&batch).unwrap();
        let back = import(&mut array, &mut schema).unwrap();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        addresses(&batch.column(0).to_data(), &mut ours);
        addresses(&back.column(0).to_data(), &mut theirs);
        let starts = |v: &[(usize, usize)]| v.iter().map(|(start, _)| *start).collect::<Vec<_>>();
        assert_eq!(starts(&theirs), starts(&ours), "{name}");
        let validity = |b: &RecordBatch| b.column(0).nulls().map(|n| n.buffer().as_ptr().addr());
        assert_eq!(validity(&back), validity(&batch), "{name}");
    }
}

/// Memory that counts how often it was given back.
struct Counted {
    values: Vec<i64>,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn counted_batch() -> (RecordBatch, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let owner = Arc::new(Counted { values: (0..1000).collect(), dropped: dropped.clone() });
    let start = std::ptr::NonNull::from(&owner.values[0]).cast();
    // SAFETY: the owner keeps the values, which do not move.
    let buffer = unsafe { Buffer::from_custom_allocation(start, 8000, owner) };
    let column: ArrayRef = Arc::new(Int64Array::new(buffer.into(), None));
    (RecordBatch::try_from_iter([("n", column)]).unwrap(), dropped)
}

#[test]
fn the_batch_is_dropped_first_and_its_owner_ends_with_release_on_a_foreign_thread_once() {
    let _turn = turn();
    let (batch, dropped) = counted_batch();
    let (mut array, schema) = export_batch(&batch).unwrap();
    drop((batch, schema));
    assert_eq!(dropped.load(Ordering::SeqCst), 0, "the consumer still holds it");
    std::thread::spawn(move || {
        let release = array.array.release.unwrap();
        // SAFETY: not released yet; the second call must be harmless, as `release` was set to NULL by the first.
        unsafe {
            release(&mut array.array);
            assert!(array.is_released());
            release(&mut array.array);
        }
    })
    .join()
    .unwrap();
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn a_slice_of_an_import_keeps_the_producer_until_the_last_column_is_gone() {
    let _turn = turn();
    let (batch, dropped) = counted_batch();
    let (mut array, mut schema) = export_batch(&batch).unwrap();
    drop(batch);
    let back = import(&mut array, &mut schema).unwrap();
    let slice = back.column(0).slice(10, 5);
    drop((back, array, schema));
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    assert_eq!(slice.as_any().downcast_ref::<Int64Array>().unwrap().value(0), 10);
    drop(slice);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn a_child_that_a_consumer_moved_out_outlives_its_parent() {
    let _turn = turn();
    let before = live_exports();
    let (batch, dropped) = counted_batch();
    let (array, _schema) = export_batch(&batch).unwrap();
    drop(batch);
    // SAFETY: the child exists; the move is the one the specification defines.
    let child = unsafe { FFI_ArrowArray::from_raw(*array.array.children) };
    drop(array);
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    assert_eq!(live_exports(), before + 1);
    drop(child);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(live_exports(), before);
}

#[test]
fn export_into_writes_over_uninitialised_memory() {
    let _turn = turn();
    let (batch, _) = counted_batch();
    let mut array = Box::<FFI_ArrowDeviceArray>::new_uninit();
    let mut schema = Box::<FFI_ArrowSchema>::new_uninit();
    // SAFETY: valid for writes; both are initialised once the call succeeds.
    let (mut array, mut schema) = unsafe {
        export_batch_into(&batch, array.as_mut_ptr(), schema.as_mut_ptr()).unwrap();
        (array.assume_init(), schema.assume_init())
    };
    assert_eq!(array.device_type, DeviceType::CPU);
    assert_eq!(array.device_id, -1);
    assert!(array.sync_event.is_null());
    assert_eq!(array.reserved, [0; 3]);
    assert_eq!(import(&mut array, &mut schema).unwrap(), batch);
}

#[test]
fn a_batch_that_cannot_be_exported_says_so_and_shares_nothing() {
    let _turn = turn();
    let before = live_exports();
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("a\0b", column)]).unwrap();
    let error = export_batch(&batch).unwrap_err();
    assert_eq!(error.code(), "ERR_UNSUPPORTED_TYPE");
    assert!(error.to_string().contains("NUL byte"), "{error}");
    assert_eq!(live_exports(), before);
}

#[test]
fn a_device_array_passes_on_what_it_does_not_read() {
    let _turn = turn();
    let (batch, dropped) = counted_batch();
    let (mut array, mut schema) = DeviceArray::from_batch(&batch).unwrap().export().unwrap();
    let mut marker = 0_u8;
    array.device_type = DeviceType::CUDA;
    array.device_id = 3;
    array.sync_event = std::ptr::from_mut(&mut marker).cast();
    // SAFETY: exported above; only the device members were changed, and nothing reads the values.
    let held = unsafe { DeviceArray::import(&mut array, &mut schema) }.unwrap();
    assert!(array.is_released());
    assert_eq!((held.device_type(), held.device_id(), held.len()), (DeviceType::CUDA, 3, 1000));
    assert_eq!(held.sync_event(), std::ptr::from_mut(&mut marker).cast());
    assert_eq!(held.schema(), batch.schema_ref());
    drop(batch);
    let (array, _schema) = held.export().unwrap();
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    drop(array);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}
