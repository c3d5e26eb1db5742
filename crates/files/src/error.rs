//! What can go wrong with Arrow data at rest.

use std::path::{Path, PathBuf};

use arrow_schema::ArrowError;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate: what happened, what was expected, what to do.
///
/// [`Error::code`] gives the stable name that crosses to other languages; the text may change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused: no such file, no permission, disk full, broken pipe.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was being done, as a verb: "open", "read", "write".
        action: &'static str,
        /// The file, or "-" for standard input and output.
        path: String,
        /// The operating system's own error.
        #[source]
        source: std::io::Error,
    },
    /// The bytes are none of the formats this crate reads.
    #[error("{path} is not Arrow data: {found}. Expected an Arrow IPC file, an Arrow IPC stream or a Parquet file")]
    UnknownFormat {
        /// The file, or "-".
        path: String,
        /// What the first bytes looked like.
        found: String,
    },
    /// The name of an output says nothing about its format.
    #[error(
        "cannot tell the format of {path} from its name: use .arrow (IPC file), .arrows (IPC stream) or - (IPC stream on standard output)"
    )]
    UnknownOutput {
        /// The output as it was named.
        path: PathBuf,
    },
    /// The bytes claim a format and then break its rules, or end too early.
    #[error("{path} is damaged: {reason}. It was cut short, changed, or written by something else; make it again")]
    Damaged {
        /// The file, or "-".
        path: String,
        /// Which rule was broken.
        reason: String,
        /// The decoder's own error, where it gave one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A batch does not have the schema that the file was created with.
    #[error("a batch does not fit the file: {reason}. All batches of a file share one schema")]
    SchemaMismatch {
        /// The first difference.
        reason: String,
    },
    /// The dictionaries of all batches together have more values than the index type can count.
    #[error(
        "the unified dictionary of {field} has {values} values, more than its index type {index_type} can count. \
         An IPC file holds one dictionary per column: write an IPC stream (.arrows) instead, or use a wider index type"
    )]
    DictionaryOverflow {
        /// Path of the column, as in "outer.inner".
        field: String,
        /// How many distinct values there were when it failed.
        values: usize,
        /// The index type of the column.
        index_type: arrow_schema::DataType,
    },
    /// A file cannot hold this type or encoding.
    #[error(
        "{what} cannot be written to an Arrow IPC file: {reason}. Write an IPC stream (.arrows), or change the type"
    )]
    Unsupported {
        /// The column or type.
        what: String,
        /// Why not.
        reason: String,
    },
    /// JSON that is not a schema.
    #[error("not an Arrow schema in JSON: at {at}: {reason}")]
    Json {
        /// Where, as in "fields[2].type".
        at: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// The Arrow library refused.
    #[error("{doing} failed: {source}")]
    Arrow {
        /// What was being done.
        doing: String,
        /// The library's own error.
        #[source]
        source: ArrowError,
    },
}

impl Error {
    /// The stable name of this kind of error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Error::Io { .. } => "ERR_IO",
            Error::UnknownFormat { .. } => "ERR_UNKNOWN_FORMAT",
            Error::UnknownOutput { .. } => "ERR_UNKNOWN_OUTPUT",
            Error::Damaged { .. } => "ERR_DAMAGED_DATA",
            Error::SchemaMismatch { .. } => "ERR_SCHEMA_MISMATCH",
            Error::DictionaryOverflow { .. } => "ERR_DICTIONARY_OVERFLOW",
            Error::Unsupported { .. } => "ERR_UNSUPPORTED_TYPE",
            Error::Json { .. } => "ERR_INVALID_SCHEMA",
            Error::Arrow { .. } => "ERR_ARROW",
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Error::Io { action, path: path.display().to_string(), source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Error::Damaged { path: path.display().to_string(), reason: reason.into(), source: None }
    }

    pub(crate) fn damaged_by(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Error::Damaged { path: path.display().to_string(), reason: source.to_string(), source: Some(Box::new(source)) }
    }

    pub(crate) fn arrow(doing: impl Into<String>, source: ArrowError) -> Self {
        Error::Arrow { doing: doing.into(), source }
    }
}
