//! What a server knows of its datasets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use tonic::{Code, Status};

use crate::Incoming;

/// Who somebody is, as [`Authenticate`](crate::Authenticate) said: a name that tickets are bound to.
pub type Identity = Arc<str>;

/// Datasets by name, and the tickets that they are read with.
///
/// Called from the runtime's threads, several at once. Methods of the catalog itself return quickly: they look something up. What reads
/// or keeps data ([`Snapshot`], [`Sink`]), and an exchange, may take its time.
pub trait Catalog: Send + Sync + 'static {
    /// The names that this caller may see.
    ///
    /// # Errors
    /// What the caller is to be told.
    fn list(&self, caller: &Caller) -> Result<Vec<String>, CatalogError>;

    /// What a dataset is.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] for a name that there is none of; what else the caller is to be told.
    fn describe(&self, name: &str, caller: &Caller) -> Result<Description, CatalogError>;

    /// A ticket for the dataset as it is now, for this caller alone.
    ///
    /// # Errors
    /// As [`describe`](Self::describe).
    fn mint(&self, name: &str, caller: &Caller) -> Result<Minted, CatalogError>;

    /// What a ticket stands for, to be sent over gRPC. A ticket is whatever the peer says it is, up to 64 KiB.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] for a ticket that was never minted, is over, or is another caller's.
    fn redeem(&self, ticket: &[u8], caller: &Caller) -> Result<Box<dyn Snapshot>, CatalogError>;

    /// Takes a dataset from a client (`DoPut`).
    ///
    /// # Errors
    /// [`CatalogError::Unsupported`], unless the catalog takes any.
    fn put(&self, name: &str, _schema: SchemaRef, _caller: &Caller) -> Result<Box<dyn Sink>, CatalogError> {
        Err(CatalogError::Unsupported(format!("this server takes no datasets, so it cannot take {name:?}")))
    }

    /// Talks with a client in batches (`DoExchange`): what is answered to what comes. May take its time, as until the answers' schema is
    /// known; what it gives is asked for answers while `incoming` is read, on other threads or on the same.
    ///
    /// # Errors
    /// [`CatalogError::Unsupported`], unless the catalog does that.
    fn exchange(&self, name: &str, _incoming: Incoming, _caller: &Caller) -> Result<Box<dyn Snapshot>, CatalogError> {
        Err(CatalogError::Unsupported(format!("this server exchanges nothing under the name {name:?}")))
    }
}

/// Who calls, and what for.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Who it is; `None` where the server authenticates nobody.
    pub identity: Option<Identity>,
    /// Where the connection comes from.
    pub address: Option<SocketAddr>,
    /// Which locations the caller can do something with.
    pub locations: Locations,
    /// Whether a redeemed ticket is to be answered with metadata alone: the bodies travel over a data URI.
    pub metadata_only: bool,
}

/// Which data URIs go into a FlightInfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Locations {
    /// None: the caller knows nothing of ours.
    #[default]
    Inline,
    /// URIs that each carry metadata and bodies, behind the one that says "this connection".
    Combined,
    /// Exactly two: metadata, then data. The C++ example's shape.
    Split,
}

/// What a dataset is.
#[derive(Clone, Debug)]
pub struct Description {
    /// The schema of all batches.
    pub schema: SchemaRef,
    /// Rows in all, where known.
    pub rows: Option<u64>,
    /// Bytes of all bodies, where known.
    pub bytes: Option<u64>,
    /// Whether the order of the batches means something.
    pub ordered: bool,
}

/// A ticket with what belongs to it.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The snapshot that the ticket is for.
    pub description: Description,
    /// What the caller presents.
    pub ticket: Bytes,
    /// When the ticket ends.
    pub expires: Option<SystemTime>,
    /// Data URIs in the shape that [`Caller::locations`] asks for; in `Inline` they are not looked at.
    pub locations: Vec<String>,
}

/// A dataset as it was when its ticket was minted. Dropped when the caller has it all, or goes away.
pub trait Snapshot: Send + 'static {
    /// The schema. It is sent before the first part.
    fn schema(&self) -> SchemaRef;

    /// The next message, dictionaries before the batches that need them; `None` after the last. An empty one says that there is
    /// nothing yet: nothing is sent then, and it is asked again while the caller is there.
    ///
    /// # Errors
    /// Ends the stream with what the caller is told.
    fn next(&mut self) -> Result<Option<Part>, CatalogError>;

    /// Whether [`next`](Self::next) may take long, as reading a file does. Then it runs on a thread where that disturbs nobody,
    /// which costs about 10 µs a part.
    fn blocks(&self) -> bool {
        true
    }
}

/// One message of the IPC format, in pieces.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// The bare `Message` flatbuffer. Empty in a message that has application metadata only.
    pub header: Bytes,
    /// The body, in order, as pieces of memory that is kept until it was sent. All lengths add up to `bodyLength`, or there are none in a
    /// stream of metadata alone.
    pub body: Vec<Bytes>,
    /// What the application adds.
    pub app_metadata: Bytes,
}

impl Part {
    /// Whether there is nothing to it.
    pub fn is_empty(&self) -> bool {
        self.header.is_empty() && self.body.is_empty() && self.app_metadata.is_empty()
    }

    /// Bytes of the body.
    pub fn body_length(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }
}

/// Takes the batches of a `DoPut`. Dropped without [`finish`](Self::finish), what came is to be forgotten.
pub trait Sink: Send + 'static {
    /// Takes a batch, whose every value was checked; may block. What it returns is sent back to the client.
    ///
    /// # Errors
    /// Ends the call with what the caller is told.
    fn batch(&mut self, batch: RecordBatch, app_metadata: Bytes) -> Result<Option<Bytes>, CatalogError>;

    /// Takes note that there are no more; may block.
    ///
    /// # Errors
    /// As [`batch`](Self::batch).
    fn finish(self: Box<Self>) -> Result<Option<Bytes>, CatalogError>;
}

/// What a catalog refuses, as the caller is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// There is no such dataset or ticket.
    #[error("{0}")]
    NotFound(String),
    /// The caller may not do that.
    #[error("{0}")]
    NotPermitted(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// This catalog does not do that.
    #[error("{0}")]
    Unsupported(String),
    /// There is no memory or room for it now.
    #[error("{0}")]
    Exhausted(String),
    /// It went wrong on the server's side.
    #[error("{0}")]
    Failed(String),
}

impl CatalogError {
    pub(crate) fn status(&self) -> Status {
        let code = match self {
            Self::NotFound(_) => Code::NotFound,
            Self::NotPermitted(_) => Code::PermissionDenied,
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Unsupported(_) => Code::Unimplemented,
            Self::Exhausted(_) => Code::ResourceExhausted,
            Self::Failed(_) => Code::Internal,
        };
        Status::new(code, self.to_string())
    }
}
