//! Opening Arrow data by what it is, not by what it is called.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::error::{Error, Result};
use crate::guard;
use crate::ipc_source::{FileSource, MAGIC, StreamSource, looks_like_stream};

/// Rows per batch read from Parquet, whose own unit, the row group, is too large to hand over at once.
const PARQUET_BATCH_ROWS: usize = 64 * 1024;
/// Buffer in front of a stream; larger reads (bodies) go past it.
const STREAM_BUFFER: usize = 64 * 1024;

/// What a [`Reader`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Arrow IPC file, with a footer.
    IpcFile,
    /// Arrow IPC stream.
    IpcStream,
    /// Parquet.
    Parquet,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::IpcFile => "Arrow IPC file",
            Format::IpcStream => "Arrow IPC stream",
            Format::Parquet => "Parquet",
        })
    }
}

/// Record batches from a file or a pipe, one after the other.
///
/// An iterator; the first error ends it. Every batch owns its memory. Can be moved to another thread; blocks while
/// it reads, so keep it off an event loop.
pub struct Reader {
    path: PathBuf,
    schema: SchemaRef,
    source: Source,
    failed: bool,
}

enum Source {
    File(FileSource),
    Stream(StreamSource),
    Parquet { batches: ParquetRecordBatchReader, rows: Option<u64> },
}

/// Opens Arrow data, recognised by content: IPC file, IPC stream or Parquet. `-` is standard input.
///
/// Reads the schema (and an IPC file's dictionaries) at once, batches when asked for. Pipes, standard input among
/// them, can carry IPC streams only; the other two need a file in which one can seek.
///
/// # Errors
/// [`Error::Io`], [`Error::UnknownFormat`], [`Error::Damaged`].
pub fn open(path: &Path) -> Result<Reader> {
    let file = if path == Path::new("-") { standard_input() } else { File::open(path) };
    let mut file = file.map_err(|e| Error::io("open", path, e))?;
    let metadata = file.metadata().map_err(|e| Error::io("open", path, e))?;
    if metadata.is_dir() {
        return Err(Error::io("open", path, std::io::ErrorKind::IsADirectory.into()));
    }

    let mut start = Vec::new();
    (&mut file).take(16).read_to_end(&mut start).map_err(|e| Error::io("read", path, e))?;
    let seekable = metadata.is_file();
    let (source, schema) = if looks_like_stream(&start) {
        let rest = BufReader::with_capacity(STREAM_BUFFER, file);
        let input = Box::new(Cursor::new(start).chain(rest));
        let stream = StreamSource::open(path, input, seekable.then_some(metadata.len()))?;
        let schema = stream.schema();
        (Source::Stream(stream), schema)
    } else if seekable && start.starts_with(MAGIC) {
        let ipc = FileSource::open(path, file, metadata.len())?;
        let schema = ipc.schema();
        (Source::File(ipc), schema)
    } else if seekable && start.starts_with(b"PAR1") {
        file.seek(SeekFrom::Start(0)).map_err(|e| Error::io("read", path, e))?;
        open_parquet(path, file)?
    } else {
        return Err(Error::UnknownFormat { path: path.display().to_string(), found: describe(&start, seekable) });
    };
    Ok(Reader { path: path.to_owned(), schema, source, failed: false })
}

/// Standard input as a file of its own, unbuffered, that another thread may own.
fn standard_input() -> std::io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        std::io::stdin().as_fd().try_clone_to_owned().map(File::from)
    }
    #[cfg(windows)]
    {
        use std::os::windows::io::AsHandle;
        std::io::stdin().as_handle().try_clone_to_owned().map(File::from)
    }
}

fn open_parquet(path: &Path, file: File) -> Result<(Source, SchemaRef)> {
    let (batches, rows, schema) = guard::decode(path, || {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).ok();
        let schema = SchemaRef::clone(builder.schema());
        builder.with_batch_size(PARQUET_BATCH_ROWS).build().map(|batches| (batches, rows, schema))
    })?;
    Ok((Source::Parquet { batches, rows }, schema))
}

/// What the first bytes look like, for somebody who expected them to be Arrow data.
fn describe(start: &[u8], seekable: bool) -> String {
    if start.is_empty() {
        "it is empty".to_owned()
    } else if !seekable && (start.starts_with(MAGIC) || start.starts_with(b"PAR1")) {
        "an IPC file or Parquet came through a pipe, where only an IPC stream can; give the file's path".to_owned()
    } else if start.starts_with(b"PARE") {
        "a Parquet file with an encrypted footer, which is not supported".to_owned()
    } else if start.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) {
        format!("it starts with the text {:?}", String::from_utf8_lossy(start))
    } else {
        format!("it starts with the bytes {}", start.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" "))
    }
}

impl Reader {
    /// The schema of all batches, with its metadata.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// What is being read.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.source {
            Source::File(_) => Format::IpcFile,
            Source::Stream(_) => Format::IpcStream,
            Source::Parquet { .. } => Format::Parquet,
        }
    }

    /// Rows in the whole file, where that is known before reading it: not for a stream.
    ///
    /// For an IPC file this reads the header of every batch.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        match &self.source {
            Source::File(file) => file.rows(),
            Source::Stream(_) => None,
            Source::Parquet { rows, .. } => *rows,
        }
    }

    fn read(&mut self) -> Result<Option<RecordBatch>> {
        match &mut self.source {
            Source::File(file) => file.next(),
            Source::Stream(stream) => stream.next(),
            Source::Parquet { batches, .. } => guard::decode(&self.path, || batches.next().transpose()),
        }
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.read().transpose();
        self.failed = !matches!(next, Some(Ok(_)));
        next
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).field("format", &self.format()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
