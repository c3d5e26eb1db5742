//! Arrow data at rest, for the command line: read and written natively, every type.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use arrow_array::RecordBatch;
use arrowlane_files::{Error, Reader, Summary, Writer};
use arrowlane_plane::{Batch, BatchSchema};
use napi::{Env, ScopedTask, bindgen_prelude::*};
use napi_derive::napi;

use crate::{
    error::{CodedError, Result, coded, plane, stale},
    events::schema_handle,
    lane::NativeLane,
};

fn refused(error: Error) -> CodedError {
    coded(error.code(), &error)
}

type Shared<T> = Arc<Mutex<Option<T>>>;
type Outcome<T> = std::result::Result<T, CodedError>;

/// A file that is being read. One call at a time; work is done off the loop.
#[napi]
pub struct NativeReader {
    reader: Shared<Reader>,
    schema: Arc<BatchSchema>,
    rows: f64,
    format: String,
}

/// A file that was opened, for the loop to fetch.
#[napi]
pub struct NativeOpenResult {
    opened: Option<Outcome<NativeReader>>,
}

#[napi]
impl NativeOpenResult {
    /// The file. Throws what went wrong.
    #[napi]
    pub fn get(&mut self) -> Result<NativeReader> {
        self.opened.take().unwrap_or_else(|| Err(stale("file")))
    }
}

pub struct OpenTask(String);

impl OpenTask {
    fn open(&self) -> Outcome<NativeReader> {
        let reader = arrowlane_files::open(Path::new(&self.0)).map_err(refused)?;
        let schema = BatchSchema::new(reader.schema()).map_err(plane)?;
        let rows = reader.rows().map_or(-1.0, |rows| rows as f64);
        let format = reader.format().to_string();
        Ok(NativeReader { reader: Arc::new(Mutex::new(Some(reader))), schema, rows, format })
    }
}

impl<'task> ScopedTask<'task> for OpenTask {
    type Output = Outcome<NativeReader>;
    type JsValue = NativeOpenResult;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        Ok(self.open())
    }

    fn resolve(&mut self, _env: &'task Env, output: Self::Output) -> napi::Result<NativeOpenResult> {
        Ok(NativeOpenResult { opened: Some(output) })
    }
}

/// What a task found, for the loop to fetch.
#[napi]
pub struct NativeBatchResult {
    batch: Option<Outcome<Option<RecordBatch>>>,
}

pub struct ReadTask(Shared<Reader>);

impl<'task> ScopedTask<'task> for ReadTask {
    type Output = Outcome<Option<RecordBatch>>;
    type JsValue = NativeBatchResult;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        let mut reader = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(match reader.as_mut().and_then(Reader::next) {
            Some(batch) => batch.map(Some).map_err(refused),
            None => Ok(None),
        })
    }

    fn resolve(&mut self, _env: &'task Env, output: Self::Output) -> napi::Result<NativeBatchResult> {
        Ok(NativeBatchResult { batch: Some(output) })
    }
}

#[napi]
impl NativeReader {
    /// Number of rows, -1 where it is not known beforehand.
    #[napi(getter)]
    pub fn rows(&self) -> f64 {
        self.rows
    }

    #[napi(getter)]
    pub fn format(&self) -> String {
        self.format.clone()
    }

    #[napi(ts_return_type = "Promise<NativeBatchResult>")]
    pub fn next(&self) -> AsyncTask<ReadTask> {
        AsyncTask::new(ReadTask(Arc::clone(&self.reader)))
    }

    #[napi]
    pub fn close(&self) {
        let mut reader = self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *reader = None;
    }
}

/// A file that is being written.
#[napi]
pub struct NativeWriter {
    writer: Shared<Writer>,
}

pub struct WriteTask {
    writer: Shared<Writer>,
    batch: Option<RecordBatch>,
}

/// Rows, batches, bytes: known when finished.
type Written = Option<(u64, u64, u64)>;

impl<'task> ScopedTask<'task> for WriteTask {
    type Output = Outcome<Written>;
    type JsValue = NativeWriteResult;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        let mut slot = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let closed = || CodedError::new("ERR_CLOSED".to_owned(), "the file is closed".to_owned());
        Ok(match self.batch.take() {
            Some(batch) => {
                slot.as_mut().ok_or_else(closed).and_then(|w| w.write(&batch).map_err(refused)).map(|()| None)
            }
            None => slot
                .take()
                .ok_or_else(closed)
                .and_then(|w| w.finish().map_err(refused))
                .map(|summary| Some((summary.rows, summary.batches, summary.bytes))),
        })
    }

    fn resolve(&mut self, _env: &'task Env, output: Self::Output) -> napi::Result<NativeWriteResult> {
        Ok(NativeWriteResult { result: Some(output) })
    }
}

/// What writing gave, for the loop to fetch.
#[napi]
pub struct NativeWriteResult {
    result: Option<Outcome<Written>>,
}

#[napi]
impl NativeWriteResult {
    /// Rows, batches and bytes of a finished file; nothing in between. Throws what went wrong.
    #[napi]
    pub fn get(&mut self) -> Result<Vec<f64>> {
        let written = self.result.take().unwrap_or(Ok(None))?;
        Ok(written.map(|(rows, batches, bytes)| vec![rows as f64, batches as f64, bytes as f64]).unwrap_or_default())
    }
}

/// A summary of columns, batch by batch.
#[napi]
pub struct NativeSummary {
    summary: Option<Summary>,
}

#[napi]
impl NativeSummary {
    #[napi(constructor)]
    pub fn new() -> Self {
        Self { summary: None }
    }

    /// One JSON object per column.
    #[napi]
    pub fn finish(&mut self) -> Result<String> {
        let columns = self.summary.take().map(Summary::finish).unwrap_or_default();
        let columns: Vec<_> = columns
            .iter()
            .map(|c| {
                serde_json::json!({
                    "name": c.name, "type": c.data_type, "rows": c.rows, "nulls": c.nulls,
                    "min": c.min, "max": c.max, "bytes": c.bytes,
                })
            })
            .collect();
        Ok(serde_json::Value::from(columns).to_string())
    }
}

#[napi]
impl NativeLane {
    /// Opens an IPC file, IPC stream or Parquet file, told apart by content, off the loop; `-` is an IPC stream on
    /// standard input.
    #[napi(ts_return_type = "Promise<NativeOpenResult>")]
    pub fn open_reader(&self, path: String) -> AsyncTask<OpenTask> {
        AsyncTask::new(OpenTask(path))
    }

    /// The number of a file's schema.
    #[napi]
    pub fn reader_schema(&self, reader: &NativeReader) -> u32 {
        schema_handle(&mut self.host.tables.borrow_mut(), None, &reader.schema)
    }

    /// Puts what was read into the scratch array, as the record of a batch; `false` at the end. Throws what went wrong.
    #[napi]
    pub fn take_read(&self, result: &mut NativeBatchResult) -> Result<bool> {
        let Some(batch) = result.batch.take().unwrap_or(Ok(None))? else { return Ok(false) };
        self.put_batch(Arc::new(Batch::from_arrow(&batch, Vec::new()).map_err(plane)?));
        Ok(true)
    }

    /// Puts a batch without rows into the scratch array, for a file that has no batches but a schema.
    #[napi]
    pub fn empty_read(&self, reader: &NativeReader) -> Result<()> {
        let empty = RecordBatch::new_empty(Arc::clone(&reader.schema.arrow));
        self.put_batch(Arc::new(Batch::from_arrow(&empty, Vec::new()).map_err(plane)?));
        Ok(())
    }

    /// Creates a file: `.arrow` is an IPC file, `.arrows` an IPC stream, `-` an IPC stream on standard output.
    #[napi]
    pub fn create_writer(&self, path: String, schema: u32) -> Result<NativeWriter> {
        let schema = Arc::clone(&self.schema(schema)?.arrow);
        let writer = Writer::create(Path::new(&path), schema).map_err(refused)?;
        Ok(NativeWriter { writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// Writes a batch off the loop. The batch is kept until that is done.
    #[napi(ts_return_type = "Promise<NativeWriteResult>")]
    pub fn write_batch(&self, writer: &NativeWriter, batch: u32) -> Result<AsyncTask<WriteTask>> {
        let batch = self.batch(batch)?.to_arrow().map_err(plane)?;
        Ok(AsyncTask::new(WriteTask { writer: Arc::clone(&writer.writer), batch: Some(batch) }))
    }

    /// Finishes the file off the loop.
    #[napi(ts_return_type = "Promise<NativeWriteResult>")]
    pub fn finish_writer(&self, writer: &NativeWriter) -> AsyncTask<WriteTask> {
        AsyncTask::new(WriteTask { writer: Arc::clone(&writer.writer), batch: None })
    }

    /// Gives up on a file that is not finished; nothing is left of it.
    #[napi]
    pub fn abort_writer(&self, writer: &NativeWriter) {
        let aborted = writer.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        drop(aborted);
    }

    /// Adds a batch to a summary.
    #[napi]
    pub fn summarise(&self, summary: &mut NativeSummary, batch: u32) -> Result<()> {
        let batch = self.batch(batch)?.to_arrow().map_err(plane)?;
        let into = summary.summary.get_or_insert_with(|| Summary::new(batch.schema()));
        into.add(&batch).map_err(refused)
    }
}
