//! Streams end, fail and are released as the interface says.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use arrowlane_arrow_c::*;

type Item = std::result::Result<RecordBatch, ArrowError>;

fn batch(start: i64) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(start..start + 3));
    RecordBatch::try_from_iter([("n", column)]).unwrap()
}

fn reader(items: Vec<Item>) -> Box<dyn RecordBatchReader + Send> {
    Box::new(RecordBatchIterator::new(items, batch(0).schema()))
}

fn through(items: Vec<Item>) -> [StreamReader; 2] {
    let again = items.iter().map(|i| i.as_ref().cloned().map_err(|e| ArrowError::ComputeError(e.to_string())));
    let mut host = export_reader_host(reader(again.collect()));
    let mut device = export_reader(reader(items));
    // SAFETY: exported just above.
    let imported = unsafe {
        [import_reader(&mut device, Checks::Full).unwrap(), import_reader_host(&mut host, Checks::Full).unwrap()]
    };
    assert!(device.is_released() && host.release.is_none());
    imported
}

#[test]
fn every_batch_arrives_in_order_and_then_the_end() {
    for mut stream in through(vec![Ok(batch(0)), Ok(batch(3).slice(0, 0)), Ok(batch(6))]) {
        assert_eq!(stream.schema(), batch(0).schema());
        assert_eq!(stream.next().unwrap().unwrap(), batch(0));
        assert_eq!(stream.next().unwrap().unwrap().num_rows(), 0);
        let last = stream.next().unwrap().unwrap();
        assert!(stream.next().is_none());
        assert!(stream.next().is_none());
        drop(stream);
        assert_eq!(last, batch(6), "a batch outlives its stream");
    }
}

#[test]
fn an_error_arrives_with_its_text_and_ends_the_stream() {
    for mut stream in through(vec![Ok(batch(0)), Err(ArrowError::ComputeError("no\0luck".into())), Ok(batch(3))]) {
        stream.next().unwrap().unwrap();
        let error = stream.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("no\u{fffd}luck"), "{error}");
        assert!(stream.next().is_none());
    }
}

struct Panics(SchemaRef);
impl Iterator for Panics {
    type Item = Item;
    fn next(&mut self) -> Option<Item> {
        panic!("a reader's mistake")
    }
}
impl RecordBatchReader for Panics {
    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }
}

#[test]
fn a_reader_that_panics_is_an_error_and_not_an_abort() {
    let mut stream = export_reader(Box::new(Panics(batch(0).schema())));
    // SAFETY: exported just above.
    let mut stream = unsafe { import_reader(&mut stream, Checks::Structure) }.unwrap();
    let error = stream.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("panicked"), "{error}");
}

#[test]
fn released_and_foreign_streams_are_refused() {
    let mut stream = FFI_ArrowDeviceArrayStream::empty();
    // SAFETY: initialised; NULL is looked at first.
    unsafe {
        assert_eq!(import_reader(&mut stream, Checks::Full).unwrap_err().code(), "ERR_RELEASED");
        assert_eq!(import_reader(std::ptr::null_mut(), Checks::Full).unwrap_err().code(), "ERR_BAD_ADDRESS");
        let mut stream = export_reader(reader(vec![]));
        stream.device_type = DeviceType::CUDA;
        assert_eq!(import_reader(&mut stream, Checks::Full).unwrap_err().code(), "ERR_DEVICE");
        assert!(!stream.is_released(), "a refused stream is still the caller's");
    }
}
