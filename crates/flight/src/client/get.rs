//! `DoGet`: a stream of messages.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_flight::Ticket;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use prost::Message as _;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::call::Call;
use super::{CallOptions, Client, Failure};
use crate::encode::read_schema_message;
use crate::frames::{MAX_MESSAGE, Malformed, Message, MessageLimits, Messages, Stopped};
use crate::{BatchDecoder, FlightError, Result, Runtime};

/// Data as it arrives. Dropping it ends the call.
///
/// Either take [`messages`](Self::next), or [batches](Self::next_batch): a batch needs the dictionaries before it.
pub struct Get {
    answers: Answers,
    /// The first message, when it has the schema.
    schema_message: Option<Message>,
    schema: Option<SchemaRef>,
    decoder: BatchDecoder,
    /// The tasks of the connection run on it.
    _runtime: Runtime,
}

impl Get {
    pub(super) async fn begin(
        client: &Client,
        ticket: Ticket,
        metadata_only: bool,
        options: &CallOptions,
    ) -> Result<Self> {
        let call = Call::begin("DoGet", options, client.options.deadline);
        let encoded = ticket.encode_to_vec();
        if encoded.len() > MAX_MESSAGE {
            return Err(FlightError::Setting(format!("a ticket of {} bytes", ticket.ticket.len())));
        }
        let mut framed = Vec::with_capacity(encoded.len() + 5);
        framed.push(0);
        framed.extend_from_slice(&(encoded.len() as u32).to_be_bytes());
        framed.extend_from_slice(&encoded);
        let body = Body::new(Full::new(Bytes::from(framed)));
        let request = request(client, "DoGet", &call, metadata_only, body)?;
        let limits = client.limits();
        let mut channel = client.channel.clone();
        let response = call.run(async { respond(&mut channel, request).await }).await?;
        let mut answers = Answers::new(call, response, limits);
        let first = answers.next().await?;
        let decoder = BatchDecoder::new(limits.message as u64);
        let mut get = Self { answers, schema_message: None, schema: None, decoder, _runtime: client.runtime.clone() };
        if let Some(first) = first {
            get.schema = Some(read_schema_message(&first.header)?);
            get.schema_message = Some(first);
        }
        Ok(get)
    }

    /// From now on the service may say nothing for as long as the call's own deadline allows: the connection's keep-alive notices one that
    /// is gone.
    pub(crate) fn wait_for_ever(&mut self) {
        self.answers.call.wait_for_ever();
    }

    /// The schema; `None` where the service sent nothing at all.
    pub fn schema(&self) -> Option<SchemaRef> {
        self.schema.as_ref().map(Arc::clone)
    }

    /// The first message, when it has the schema, as it arrived; once.
    pub fn take_schema_message(&mut self) -> Option<Message> {
        self.schema_message.take()
    }

    /// The next message after the schema, dictionaries too, as it arrived: header and body are memory of this process, and nothing but
    /// their lengths was checked. `None` after the last.
    ///
    /// # Errors
    /// What the service answers, a broken connection, bytes that are no message, the deadline, the cancellation. Then it is over.
    pub async fn next(&mut self) -> Result<Option<Message>> {
        self.answers.next().await
    }

    /// The next batch, every value checked. `None` after the last.
    ///
    /// # Errors
    /// As [`next`](Self::next), and for messages that are no data of the schema.
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(schema) = self.schema_message.take() {
            self.decoder.message(&schema)?;
        }
        while let Some(message) = self.next().await? {
            if let Some(batch) = self.decoder.message(&message)? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

/// The messages of a response, and its status.
pub(super) struct Answers {
    pub call: Call,
    messages: Messages,
    /// The response began with its status: a service that has nothing to say leaves the body out.
    told: bool,
    over: bool,
}

impl Answers {
    pub fn new(call: Call, response: Response<Body>, limits: MessageLimits) -> Self {
        let told = Status::from_header_map(response.headers()).is_some();
        Self { call, messages: Messages::new(response.into_body(), limits), told, over: false }
    }

    pub async fn next(&mut self) -> Result<Option<Message>> {
        if self.over {
            return Ok(None);
        }
        let (messages, told) = (&mut self.messages, self.told);
        let result = self
            .call
            .run(async {
                match messages.next().await {
                    Ok(Some(message)) => Ok(Some(message)),
                    Ok(None) if told => Ok(None),
                    Ok(None) => ended(messages).map(|()| None),
                    // A stream that ends in the middle may still say why.
                    Err(Stopped::Malformed(Malformed::CutOff)) => {
                        ended(messages)?;
                        Err(FlightError::Protocol(Malformed::CutOff.to_string()).into())
                    }
                    Err(Stopped::Malformed(error)) => Err(FlightError::Protocol(error.to_string()).into()),
                    Err(Stopped::Broken(status)) => Err(status.into()),
                }
            })
            .await;
        self.over = !matches!(result, Ok(Some(_)));
        result
    }
}

/// What the trailers say, where there are any.
fn ended(messages: &Messages) -> Result<(), Failure> {
    match messages.trailers().and_then(Status::from_header_map) {
        Some(status) if status.code() != Code::Ok => Err(status.into()),
        Some(_) => Ok(()),
        None => Err(Status::unavailable("the stream ended without a status: the service went away").into()),
    }
}

pub(super) fn request(
    client: &Client,
    method: &'static str,
    call: &Call,
    metadata_only: bool,
    body: Body,
) -> Result<Request<Body>> {
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = http::Uri::try_from(format!("/arrow.flight.protocol.FlightService/{method}"))
        .map_err(|error| FlightError::Setting(error.to_string()))?;
    let headers = request.headers_mut();
    *headers = client.headers(metadata_only)?;
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if let Some(left) = call.left() {
        // Up to eight digits: milliseconds reach for a day, seconds for three years.
        let (number, unit) = match left.as_millis() {
            milliseconds if milliseconds < 100_000_000 => (milliseconds, 'm'),
            _ => (u128::from(left.as_secs()).min(99_999_999), 'S'),
        };
        if let Ok(value) = HeaderValue::try_from(format!("{number}{unit}")) {
            headers.insert("grpc-timeout", value);
        }
    }
    Ok(request)
}

/// Sends a request; the response, unless it is an error already.
pub(super) async fn respond(channel: &mut Channel, request: Request<Body>) -> Result<Response<Body>, Failure> {
    std::future::poll_fn(|cx| Service::poll_ready(channel, cx)).await.map_err(unreachable)?;
    let response = channel.call(request).await.map_err(unreachable)?;
    if let Some(status) = Status::from_header_map(response.headers())
        && status.code() != Code::Ok
    {
        return Err(status.into());
    }
    if response.status() != http::StatusCode::OK {
        return Err(Status::unavailable(format!("the service answered with HTTP status {}", response.status())).into());
    }
    Ok(response)
}

fn unreachable(error: tonic::transport::Error) -> Failure {
    Failure::from(Status::from_error(Box::new(error)))
}
