//! Writing record batches to an IPC file or an IPC stream.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow_array::{Array, ArrayRef, RecordBatch, UInt64Array, new_empty_array};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};
use arrow_select::take::take;

use crate::error::{Error, Result};
use crate::place::Place;
use crate::unify::{self, Unifier};

/// What a [`Writer`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// Arrow IPC file: random access, one dictionary per column.
    File,
    /// Arrow IPC stream: dictionaries may be replaced on the way.
    Stream,
}

impl OutputFormat {
    /// By name: `.arrow` is a file; `.arrows` and `-` (standard output) are streams.
    ///
    /// # Errors
    /// [`Error::UnknownOutput`] for every other name.
    pub fn from_path(path: &Path) -> Result<Self> {
        match path.extension().and_then(|e| e.to_str()) {
            _ if path == Path::new("-") => Ok(Self::Stream),
            Some("arrow") => Ok(Self::File),
            Some("arrows") => Ok(Self::Stream),
            _ => Err(Error::UnknownOutput { path: path.to_owned() }),
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteSummary {
    /// Rows of all batches.
    pub rows: u64,
    /// Batches.
    pub batches: u64,
    /// Bytes in the file, or sent down the pipe.
    pub bytes: u64,
}

/// Record batches into a file or a pipe.
///
/// A file appears under its name only with [`finish`](Writer::finish); a writer dropped before that leaves nothing
/// behind and an older file of the name untouched. A pipe gets every batch at once, and the end-of-stream marker
/// only from `finish`. Blocks while it writes.
///
/// An IPC file can hold one dictionary per column. Where the schema has dictionaries, indices go into an unnamed
/// temporary file first, and `finish` writes the file from it with one unified dictionary each: memory holds the
/// dictionaries, never the batches. Values keep the order in which they came; a dictionary marked as ordered that
/// grew on the way loses the mark. A stream carries every dictionary as it came.
pub struct Writer {
    path: PathBuf,
    schema: SchemaRef,
    sink: Sink,
    place: Place,
    summary: WriteSummary,
}

enum Sink {
    Stream(StreamWriter<Output>),
    File(FileWriter<Output>),
    Unify { unifier: Box<Unifier>, scratch: StreamWriter<BufWriter<File>>, output: Output },
}

/// The buffered output, counting what it lets through.
struct Output {
    inner: BufWriter<Box<dyn Write + Send>>,
    bytes: u64,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl Writer {
    /// Starts a file, or a stream into a file or standard output, in the format its name asks for.
    ///
    /// # Errors
    /// [`Error::UnknownOutput`], [`Error::Io`], [`Error::Unsupported`].
    pub fn create(path: &Path, schema: SchemaRef) -> Result<Self> {
        Self::create_as(path, schema, OutputFormat::from_path(path)?)
    }

    /// As [`create`](Writer::create), in a given format whatever the name.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Unsupported`].
    pub fn create_as(path: &Path, schema: SchemaRef, format: OutputFormat) -> Result<Self> {
        let (place, output) = Place::create(path)?;
        let output = Output { inner: BufWriter::with_capacity(256 * 1024, output), bytes: 0 };
        let failed = |e| failed(path, e);
        let sink = match format {
            OutputFormat::Stream => {
                let mut writer = StreamWriter::try_new(output, &schema).map_err(failed)?;
                writer.flush().map_err(failed)?;
                Sink::Stream(writer)
            }
            OutputFormat::File if unify::has_dictionaries(&schema) => {
                let unifier = Box::new(Unifier::new(&schema)?);
                let scratch = BufWriter::new(place.scratch()?);
                let scratch = StreamWriter::try_new(scratch, unifier.index_schema()).map_err(failed)?;
                Sink::Unify { unifier, scratch, output }
            }
            OutputFormat::File => Sink::File(FileWriter::try_new(output, &schema).map_err(failed)?),
        };
        Ok(Self { path: path.to_owned(), schema, sink, place, summary: WriteSummary::default() })
    }

    /// Appends a batch.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] and [`Error::DictionaryOverflow`] leave the file as if the batch had not been
    /// given; [`Error::Io`] and [`Error::Arrow`] leave it unusable.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        check_schema(&self.schema, batch.schema_ref())?;
        let failed = |e| failed(&self.path, e);
        let rebuilt = rebuild_runs(batch).map_err(failed)?;
        let batch = rebuilt.as_ref().unwrap_or(batch);
        match &mut self.sink {
            Sink::Stream(writer) => {
                writer.write(batch).map_err(failed)?;
                // Whoever reads a pipe is waiting for this batch.
                writer.flush().map_err(failed)?;
            }
            Sink::File(writer) => writer.write(batch).map_err(failed)?,
            Sink::Unify { unifier, scratch, .. } => {
                scratch.write(&unifier.split(batch)?).map_err(failed)?;
            }
        }
        self.summary.rows += batch.num_rows() as u64;
        self.summary.batches += 1;
        Ok(())
    }

    /// Ends the file or stream and, for a file, gives it its name.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Arrow`]. Nothing is left behind then, except what a pipe has already taken.
    pub fn finish(self) -> Result<WriteSummary> {
        let Self { path, schema, sink, place, mut summary } = self;
        let failed = |e| failed(&path, e);
        let mut output = match sink {
            Sink::Stream(writer) => writer.into_inner().map_err(failed)?,
            Sink::File(writer) => writer.into_inner().map_err(failed)?,
            Sink::Unify { unifier, scratch, output } => {
                let scratch = scratch.into_inner().map_err(failed)?;
                let mut scratch = scratch.into_inner().map_err(|e| Error::io("write", &path, e.into_error()))?;
                scratch.seek(SeekFrom::Start(0)).map_err(|e| Error::io("read", &path, e))?;
                let unified = unifier.finish(&schema)?;
                let mut writer = FileWriter::try_new(output, unified.schema()).map_err(failed)?;
                for batch in StreamReader::try_new(BufReader::new(scratch), None).map_err(failed)? {
                    writer.write(&unified.join(&batch.map_err(failed)?)?).map_err(failed)?;
                }
                writer.into_inner().map_err(failed)?
            }
        };
        output.flush().map_err(|e| Error::io("write", &path, e))?;
        summary.bytes = output.bytes;
        drop(output);
        place.commit()?;
        Ok(summary)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("path", &self.path).field("summary", &self.summary).finish_non_exhaustive()
    }
}

/// The error of the Arrow library, with the operating system's own where that was the cause.
fn failed(path: &Path, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => Error::io("write", path, source),
        ArrowError::InvalidArgumentError(reason) if reason.contains("dictionary-of-dictionary") => {
            Error::Unsupported { what: "a dictionary of dictionaries".to_owned(), reason }
        }
        other => Error::arrow(format!("writing {}", path.display()), other),
    }
}

/// Works around the library, which writes a run-end-encoded slice of no rows with one run of length 0: a file that
/// nobody can read. Slices of such columns are rebuilt where that can happen; None where it cannot.
fn rebuild_runs(batch: &RecordBatch) -> std::result::Result<Option<RecordBatch>, ArrowError> {
    let at_risk = |array: &ArrayRef| match array.data_type() {
        DataType::RunEndEncoded(_, _) => array.is_empty(),
        // In a list it is the slice of the values that may be empty.
        nested => unify::contains(nested, &|t| matches!(t, DataType::RunEndEncoded(_, _))),
    };
    if !batch.columns().iter().any(at_risk) {
        return Ok(None);
    }
    let rows = UInt64Array::from_iter_values(0..batch.num_rows() as u64);
    let columns = batch.columns().iter().map(|array| match at_risk(array) {
        true if array.is_empty() => Ok(new_empty_array(array.data_type())),
        true => take(array, &rows, None),
        false => Ok(ArrayRef::clone(array)),
    });
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
    RecordBatch::try_new(batch.schema(), columns).map(Some)
}

/// Names and types must agree; metadata and nullability of a batch may differ from the file's.
fn check_schema(expected: &SchemaRef, found: &SchemaRef) -> Result<()> {
    if SchemaRef::ptr_eq(expected, found) {
        return Ok(());
    }
    let mismatch = |reason| Err(Error::SchemaMismatch { reason });
    let (expected, found): (&Schema, &Schema) = (expected, found);
    if expected.fields().len() != found.fields().len() {
        return mismatch(format!("{} columns, expected {}", found.fields().len(), expected.fields().len()));
    }
    for (i, (want, have)) in expected.fields().iter().zip(found.fields()).enumerate() {
        if want.name() != have.name() || !want.data_type().equals_datatype(have.data_type()) {
            return mismatch(format!(
                "column {i} is {:?} of type {}, expected {:?} of type {}",
                have.name(),
                have.data_type(),
                want.name(),
                want.data_type()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
