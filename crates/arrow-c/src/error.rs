//! What can go wrong at this border, and what to do about it.

use arrow_schema::ArrowError;

use crate::DeviceType;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an import or export did not happen. The structs involved are as they were before the call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A pointer argument is NULL.
    #[error("the address of the {what} is NULL; pass the address of a struct that you own")]
    NullPointer {
        /// Which struct.
        what: &'static str,
    },
    /// A pointer argument is not aligned for its struct.
    #[error(
        "the address of the {what} is {address:#x}, which is not aligned to 8 bytes; pass the address of an Arrow C struct"
    )]
    Misaligned {
        /// Which struct.
        what: &'static str,
        /// The address given.
        address: usize,
    },
    /// The struct was released, or moved to somebody else, before.
    #[error(
        "the {what} is released already (its release callback is NULL); import each exported struct once, before releasing it"
    )]
    Released {
        /// Which struct, with its path inside the batch.
        what: String,
    },
    /// The array is on a device whose memory this process cannot read as it is.
    #[error("the array is on device {device} (id {id}), expected CPU; copy it to host memory first")]
    Device {
        /// The kind of device.
        device: DeviceType,
        /// Which one.
        id: i64,
    },
    /// An array on the CPU came with an event to wait for.
    #[error(
        "the array is on the CPU but carries a sync_event, which only devices have; the producer must set it to NULL"
    )]
    SyncEvent,
    /// The array is not a struct, so it has no columns.
    #[error("the array has type {data_type}, expected a struct whose children are the columns of a record batch")]
    NotABatch {
        /// What it is.
        data_type: String,
    },
    /// The structs contradict the specification.
    #[error("{path}: {problem}; the producer does not follow the Arrow C data interface")]
    Invalid {
        /// Where in the batch.
        path: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// The schema cannot be written as C structs.
    #[error("field {field:?} cannot be exported: {problem}")]
    Unexportable {
        /// The field's name.
        field: String,
        /// Why.
        problem: String,
    },
    /// A stream's producer reported an error.
    #[error("the stream's producer failed with errno {code}: {message}")]
    Producer {
        /// The errno it returned.
        code: i32,
        /// What it said.
        message: String,
    },
    /// arrow-rs refused the data.
    #[error("{0}")]
    Arrow(#[from] ArrowError),
}

impl Error {
    /// A stable code, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NullPointer { .. } | Self::Misaligned { .. } => "ERR_BAD_ADDRESS",
            Self::Released { .. } => "ERR_RELEASED",
            Self::Device { .. } | Self::SyncEvent => "ERR_DEVICE",
            Self::NotABatch { .. } => "ERR_NOT_A_BATCH",
            Self::Unexportable { .. } => "ERR_UNSUPPORTED_TYPE",
            Self::Producer { .. } => "ERR_PRODUCER",
            Self::Invalid { .. } | Self::Arrow(_) => "ERR_INVALID_ARROW",
        }
    }

    pub(crate) fn invalid(path: &str, problem: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), problem: problem.into() }
    }
}

impl From<Error> for ArrowError {
    fn from(error: Error) -> Self {
        match error {
            Error::Arrow(inner) => inner,
            other => ArrowError::CDataInterface(other.to_string()),
        }
    }
}

/// Refuses NULL and misaligned struct addresses.
pub(crate) fn check_address<T>(address: *const T, what: &'static str) -> Result<()> {
    if address.is_null() {
        Err(Error::NullPointer { what })
    } else if !address.is_aligned() {
        Err(Error::Misaligned { what, address: address.addr() })
    } else {
        Ok(())
    }
}
