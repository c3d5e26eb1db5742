//! `DoPut` and `DoExchange`: batches from a client.

use std::future::Future;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_flight::FlightDescriptor;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::Response;
use http_body::Frame;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;

use super::Shared;
use super::control::name_of;
use super::get::{response, trailers};
use crate::encode::schema_part;
use crate::frames::{Messages, frames_of, put_result};
use crate::{BatchDecoder, Caller, Cancellation, FlightError, Incoming, Message, Part, Sink};

/// Frames that were made and not sent.
const AHEAD: usize = 8;

pub(super) fn put(
    shared: Arc<Shared>,
    caller: Caller,
    body: Body,
    deadline: Option<Instant>,
) -> Result<Response<Body>, Status> {
    Ok(conversation(deadline, move |answers| async move {
        let mut upload = Upload::begin(&shared, body).await?;
        let schema = upload.schema.clone();
        let mut sink = shared.catalog.put(&upload.name, schema, &caller).map_err(|error| error.status())?;
        while let Some((batch, metadata)) = upload.next().await? {
            let taken = blocking(move || (sink.batch(batch, metadata), sink)).await?;
            sink = taken.1;
            if let Some(metadata) = taken.0.map_err(|error| error.status())? {
                send(&answers, put_result(&metadata)).await?;
            }
        }
        let last = blocking(move || Sink::finish(sink)).await?.map_err(|error| error.status())?;
        if let Some(metadata) = last {
            send(&answers, put_result(&metadata)).await?;
        }
        Ok(())
    }))
}

pub(super) fn exchange(
    shared: Arc<Shared>,
    caller: Caller,
    body: Body,
    deadline: Option<Instant>,
) -> Result<Response<Body>, Status> {
    Ok(conversation(deadline, move |answers| async move {
        let upload = Upload::begin(&shared, body).await?;
        let name = upload.name.clone();
        let given_up = Cancellation::new();
        let _guard = given_up.clone().drop_guard();
        let incoming = Incoming::new(upload, given_up);
        let begin = move || shared.catalog.exchange(&name, incoming, &caller);
        let mut snapshot = blocking(begin).await?.map_err(|error| error.status())?;
        send_part(&answers, &schema_part(&snapshot.schema())).await?;
        loop {
            let next = blocking(move || (snapshot.next(), snapshot)).await?;
            snapshot = next.1;
            match next.0.map_err(|error| error.status())? {
                Some(part) if part.is_empty() => {}
                Some(part) => send_part(&answers, &part).await?,
                None => return Ok(()),
            }
        }
    }))
}

/// What a client uploads, read to its schema.
pub(super) struct Upload {
    pub messages: Messages,
    pub decoder: BatchDecoder,
    pub name: String,
    pub schema: arrow_schema::SchemaRef,
    /// The message that has the schema.
    pub first: Message,
}

impl Upload {
    async fn begin(shared: &Shared, body: Body) -> Result<Self, Status> {
        let limits = shared.limits();
        let mut messages = Messages::new(body, limits);
        let mut decoder = BatchDecoder::new(limits.message as u64);
        let next = async |messages: &mut Messages| {
            let message = messages.next().await.map_err(|stopped| stopped.status())?;
            message.ok_or_else(|| Status::invalid_argument("an upload without a schema"))
        };
        let first = timeout(shared.options.silence, next(&mut messages)).await;
        let mut message = first.map_err(|_| Status::deadline_exceeded("an upload without a first message"))??;
        let descriptor = FlightDescriptor::decode(message.first.clone())
            .map_err(|_| Status::invalid_argument("a descriptor that cannot be read"))?;
        let name = name_of(&descriptor)?;
        // Some send the descriptor ahead of the schema.
        loop {
            decoder.message(&message).map_err(unusable)?;
            if let Some(schema) = decoder.schema() {
                return Ok(Self { messages, decoder, name, schema, first: message });
            }
            message = next(&mut messages).await?;
        }
    }

    pub async fn next(&mut self) -> Result<Option<(RecordBatch, Bytes)>, Status> {
        while let Some(message) = self.messages.next().await.map_err(|stopped| stopped.status())? {
            if let Some(batch) = self.decoder.message(&message).map_err(unusable)? {
                return Ok(Some((batch, message.app_metadata)));
            }
        }
        Ok(None)
    }
}

fn unusable(error: FlightError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// Runs what may block elsewhere.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Status::internal("the server's own code stopped unexpectedly"))
}

async fn send(answers: &mpsc::Sender<Bytes>, bytes: Bytes) -> Result<(), Status> {
    answers.send(bytes).await.map_err(|_| Status::cancelled("nobody reads the answer"))
}

async fn send_part(answers: &mpsc::Sender<Bytes>, part: &Part) -> Result<(), Status> {
    for piece in frames_of(part, None).map_err(Status::resource_exhausted)? {
        send(answers, piece).await?;
    }
    Ok(())
}

/// A response that is written while the request is read. The work ends with the deadline, or when the caller goes away.
fn conversation<F>(deadline: Option<Instant>, work: impl FnOnce(mpsc::Sender<Bytes>) -> F) -> Response<Body>
where
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(AHEAD);
    let work = work(sender);
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        match deadline {
            None => work.await,
            Some(deadline) => timeout_at(deadline, work)
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("the caller's deadline passed"))),
        }
    }));
    response(unfold(Some((receiver, task)), |state| async {
        let (mut receiver, task) = state?;
        if let Some(piece) = receiver.recv().await {
            return Some((Ok(Frame::data(piece)), Some((receiver, task))));
        }
        let status = match task.await {
            Ok(Ok(())) => Status::ok(""),
            Ok(Err(status)) => status,
            Err(_) => Status::internal("the server's own code stopped unexpectedly"),
        };
        Some((Ok(trailers(&status)), None))
    }))
}
