//! What a client sends in an exchange.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowlane_transport::TransportError;
use tokio::runtime::Handle;

use super::upload::Upload;
use crate::{Cancellation, CatalogError, FlightError, GrpcEndpoint};

/// The batches that a client sends in an exchange. While nobody reads it, the client is stopped; dropped, it reads nothing more.
pub struct Incoming {
    upload: Upload,
    runtime: Handle,
    given_up: Cancellation,
}

impl Incoming {
    /// For that upload. Called on the runtime's threads.
    pub(super) fn new(upload: Upload, given_up: Cancellation) -> Self {
        Self { upload, runtime: Handle::current(), given_up }
    }

    /// Cancelled when nobody waits for the answer any more.
    pub fn given_up(&self) -> &Cancellation {
        &self.given_up
    }

    /// The schema of all batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.upload.schema
    }

    /// The next batch, every value checked; `None` after the last. **Blocks**: not to be called from a task of the runtime.
    ///
    /// # Errors
    /// A client that is gone, or sends what is no data of the schema.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>, CatalogError> {
        let next = self.runtime.block_on(self.upload.next());
        let next = next.map_err(|status| CatalogError::Invalid(status.message().to_owned()))?;
        Ok(next.map(|(batch, _)| batch))
    }

    /// The same as a connection to subscribe over, which asks for no ticket; nothing but lengths was checked of what comes.
    ///
    /// # Errors
    /// Where the system gives no descriptors.
    pub fn into_endpoint(self) -> Result<GrpcEndpoint, TransportError> {
        let Self { mut upload, runtime, .. } = self;
        GrpcEndpoint::over(runtime, move |arrivals| async move {
            arrivals.put(std::mem::take(&mut upload.first)).await;
            loop {
                match upload.messages.next().await {
                    Ok(Some(message)) => arrivals.put(message).await,
                    Ok(None) => return Ok(()),
                    Err(stopped) => return Err(FlightError::status("DoExchange", &stopped.status())),
                }
            }
        })
    }
}
