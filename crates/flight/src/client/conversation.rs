//! `DoPut` and `DoExchange`: batches go out while answers come in.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::RecordBatch;
use arrow_flight::FlightDescriptor;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;

use super::call::Call;
use super::get::{Answers, request, respond};
use super::{CallOptions, Client, Failure};
use crate::frames::{MessageLimits, frames_of};
use crate::{BatchDecoder, Descriptor, Encoder, FlightError, Message, Part, Result, Runtime, Snapshot};

/// Pieces that were made and not sent.
const AHEAD: usize = 8;

/// An upload, or an exchange. Dropping it before [`finish`](Self::finish) ends the call, and the service forgets what came.
///
/// A service may stop reading until its answers are read; so does this one when answers are left lying. Whoever expects many answers takes
/// them ([`next_batch`](Self::next_batch), [`next_metadata`](Self::next_metadata)) between batches.
pub struct Conversation {
    call: Call,
    encoder: Encoder,
    pieces: Option<mpsc::Sender<Bytes>>,
    /// Whether what was sent is all there is, when the pieces end.
    complete: Arc<AtomicBool>,
    answers: Waiting,
    decoder: BatchDecoder,
    limits: MessageLimits,
    runtime: Runtime,
}

enum Waiting {
    /// Services may answer as late as after the last batch.
    Response(AbortOnDropHandle<Result<Response<Body>, Failure>>),
    Answers(Box<Answers>),
    /// It failed before there were any.
    Over,
}

impl Conversation {
    pub(super) async fn begin(
        client: &Client,
        method: &'static str,
        descriptor: &Descriptor,
        schema: SchemaRef,
        options: &CallOptions,
    ) -> Result<Self> {
        let call = Call::begin(method, options, client.options.deadline);
        let (sender, receiver) = mpsc::channel::<Bytes>(AHEAD);
        let complete = Arc::new(AtomicBool::new(false));
        let frames = unfold(Some((receiver, Arc::clone(&complete))), |state| async {
            let (mut receiver, complete) = state?;
            match receiver.recv().await {
                Some(piece) => Some((Ok(Frame::data(piece)), Some((receiver, complete)))),
                None if complete.load(Ordering::Acquire) => None,
                // An error resets the stream. An end would make a service keep half of an upload.
                None => Some((Err(Status::cancelled("the upload was given up")), None)),
            }
        });
        let request = request(client, method, &call, false, Body::new(StreamBody::new(frames)))?;
        let mut channel = client.channel.clone();
        let response = client.runtime.spawn(async move { respond(&mut channel, request).await });
        let limits = client.limits();
        let mut conversation = Self {
            call,
            encoder: Encoder::new(schema),
            pieces: Some(sender),
            complete,
            answers: Waiting::Response(AbortOnDropHandle::new(response)),
            decoder: BatchDecoder::new(limits.message as u64),
            limits,
            runtime: client.runtime.clone(),
        };
        let first = conversation.encoder.schema();
        conversation.part(&first, Some(&descriptor.to_flight())).await?;
        Ok(conversation)
    }

    /// Sends a batch, with what the application adds. Waits while the service is behind.
    ///
    /// # Errors
    /// What the service answered, if it ended the call; a batch of another schema; the deadline, the cancellation.
    pub async fn send(&mut self, batch: &RecordBatch, app_metadata: impl Into<Bytes>) -> Result<()> {
        let mut parts = self.encoder.batch(batch)?;
        if let Some(last) = parts.last_mut() {
            last.app_metadata = app_metadata.into();
        }
        for part in parts {
            self.part(&part, None).await?;
        }
        Ok(())
    }

    async fn part(&mut self, part: &Part, descriptor: Option<&FlightDescriptor>) -> Result<()> {
        let Some(pieces) = self.pieces.clone() else {
            return Err(FlightError::Encode("the last batch was sent already".into()));
        };
        for piece in frames_of(part, descriptor).map_err(FlightError::Encode)? {
            match self.call.run(async { Ok(pieces.send(piece).await.is_ok()) }).await {
                Ok(true) => {}
                Ok(false) => return Err(self.why().await),
                Err(error) => {
                    self.pieces = None;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Says that there are no more batches. Answers can still be read.
    pub fn done(&mut self) {
        // A call that failed in the middle of a message stays unfinished.
        if self.pieces.is_some() {
            self.complete.store(true, Ordering::Release);
        }
        self.pieces = None;
    }

    /// The next batch that the service answers with, every value checked. `None` after the last.
    ///
    /// # Errors
    /// As [`Get::next_batch`](super::Get::next_batch).
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(answers) = self.answers().await? else { return Ok(None) };
            let Some(message) = answers.next().await? else { return Ok(None) };
            if let Some(batch) = self.decoder.message(&message)? {
                return Ok(Some(batch));
            }
        }
    }

    /// The next acknowledgement of an upload, with what the service adds to it. `None` after the last.
    ///
    /// # Errors
    /// As [`Get::next`](super::Get::next).
    pub async fn next_metadata(&mut self) -> Result<Option<Bytes>> {
        let Some(answers) = self.answers().await? else { return Ok(None) };
        Ok(answers.next().await?.map(|message| message.first))
    }

    /// Says that there are no more batches, and waits until the service is done; the acknowledgements that were not read yet.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn finish(mut self) -> Result<Vec<Bytes>> {
        self.done();
        let mut left = Vec::new();
        while let Some(metadata) = self.next_metadata().await? {
            left.push(metadata);
        }
        Ok(left)
    }

    /// Sends what `snapshot` gives while `take` gets the answers, each message as it arrived, until both have ended.
    pub(crate) async fn through<F: Future<Output = ()>>(
        mut self,
        mut snapshot: Box<dyn Snapshot>,
        mut take: impl FnMut(Message) -> F,
    ) -> Result<()> {
        let (pieces, complete) = (self.pieces.take(), Arc::clone(&self.complete));
        let sending = AbortOnDropHandle::new(self.runtime.spawn(async move {
            let Some(pieces) = pieces else { return Ok(()) };
            // A service that reads nothing more says why in its answer.
            while !pieces.is_closed() {
                let next = tokio::task::spawn_blocking(move || (snapshot.next(), snapshot)).await;
                let (part, back) = next.map_err(|error| FlightError::Encode(error.to_string()))?;
                snapshot = back;
                let Some(part) = part.map_err(|error| FlightError::Encode(error.to_string()))? else {
                    complete.store(true, Ordering::Release);
                    break;
                };
                if part.is_empty() {
                    continue;
                }
                for piece in frames_of(&part, None).map_err(FlightError::Encode)? {
                    let _ = pieces.send(piece).await; // closed: seen above
                }
            }
            Ok(())
        }));
        let answered = loop {
            match self.answers().await {
                Ok(Some(answers)) => match answers.next().await {
                    Ok(Some(message)) => take(message).await,
                    end => break end.map(drop),
                },
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // What could not be sent is why the service had nothing to answer.
        match (answered, sending.is_finished()) {
            (Err(error), true) => Err(sending.await.ok().and_then(Result::err).unwrap_or(error)),
            (answered, _) => answered,
        }
    }

    /// Why the service reads nothing more.
    async fn why(&mut self) -> FlightError {
        self.pieces = None;
        loop {
            match self.next_metadata().await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    let reason = "the service ended the call before everything was sent";
                    return FlightError::status(self.call.name, &Status::aborted(reason));
                }
                Err(error) => return error,
            }
        }
    }

    async fn answers(&mut self) -> Result<Option<&mut Answers>> {
        if let Waiting::Response(response) = &mut self.answers {
            let response = self
                .call
                .run(async {
                    response.await.unwrap_or_else(|_| Err(Status::internal("the call stopped unexpectedly").into()))
                })
                .await;
            self.answers = match response {
                Ok(response) => Waiting::Answers(Box::new(Answers::new(self.call.clone(), response, self.limits))),
                Err(error) => {
                    self.answers = Waiting::Over;
                    return Err(error);
                }
            };
        }
        match &mut self.answers {
            Waiting::Answers(answers) => Ok(Some(answers)),
            _ => Ok(None),
        }
    }

    /// The threads that it runs on.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}
