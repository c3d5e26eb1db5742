//! `DoGet`: a snapshot as messages.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_flight::Ticket;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message as _;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;

use super::Shared;
use super::held::{self, Held};
use crate::encode::schema_part;
use crate::frames::{frames_of, unary};
use crate::location::LOCATIONS_HEADER;
use crate::{Caller, Part};

/// So many characters of an error's message are told to the caller.
const MAX_REASON: usize = 2 << 10;

/// Longest ticket that is looked at.
const MAX_TICKET: usize = 64 << 10;

pub(super) async fn answer(
    shared: Arc<Shared>,
    caller: Caller,
    mut body: Body,
    deadline: Option<Instant>,
) -> Result<Response<Body>, Status> {
    let request = timeout(shared.options.silence, unary(&mut body, "a ticket", MAX_TICKET)).await;
    let request = request.map_err(|_| Status::deadline_exceeded("a request without its ticket"))?;
    let request = request.map_err(|stopped| stopped.status())?;
    let ticket = Ticket::decode(&request[..]).map_err(|_| Status::invalid_argument("no ticket"))?;
    if !shared.options.inline && !caller.metadata_only {
        return Err(Status::failed_precondition(format!(
            "this server sends no data over gRPC: ask for locations with the request header {LOCATIONS_HEADER}: 1 and \
             redeem the ticket at one of them"
        )));
    }
    let snapshot = shared.catalog.redeem(&ticket.ticket, &caller).map_err(|error| error.status())?;
    let first = schema_part(&snapshot.schema());
    let queue = frames_of(&first, None).map_err(Status::internal)?;
    let (held, guard) = held::hold(snapshot, shared.options.stall);
    let state = Sending { held, queue, deadline, _guard: guard };
    Ok(response(unfold(Some(state), |state| async { state?.next().await })))
}

/// A response whose status comes last.
pub(super) fn response(frames: impl Stream<Item = Result<Frame<Bytes>, Status>> + Send + 'static) -> Response<Body> {
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The last frame of a response.
pub(super) fn trailers(status: &Status) -> Frame<Bytes> {
    let mut headers = HeaderMap::new();
    // Headers have a limit, beyond which the whole connection ends.
    let message = status.message();
    let short: String = message.chars().take(MAX_REASON).collect();
    let status = &if short.len() < message.len() { Status::new(status.code(), short) } else { status.clone() };
    if status.add_header(&mut headers).is_err() {
        headers.insert("grpc-status", HeaderValue::from_static("13"));
    }
    Frame::trailers(headers)
}

/// What is left to be sent. Dropped when the caller goes away, and the snapshot with it.
struct Sending {
    held: Held,
    queue: VecDeque<Bytes>,
    deadline: Option<Instant>,
    _guard: AbortOnDropHandle<()>,
}

type Step = Option<(Result<Frame<Bytes>, Status>, Option<Sending>)>;

impl Sending {
    async fn next(mut self) -> Step {
        while self.queue.is_empty() {
            let part = match self.part().await {
                Ok(Some(part)) => part,
                Ok(None) => return Some((Ok(trailers(&Status::ok(""))), None)),
                Err(status) => return Some((Ok(trailers(&status)), None)),
            };
            if part.is_empty() {
                // So that a call that was given up is noticed here.
                tokio::task::yield_now().await;
                continue;
            }
            match frames_of(&part, None) {
                Ok(frames) => self.queue = frames,
                Err(why) => return Some((Ok(trailers(&Status::resource_exhausted(why))), None)),
            }
        }
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Some((Ok(trailers(&late())), None));
        }
        let piece = self.queue.pop_front().unwrap_or_default();
        Some((Ok(Frame::data(piece)), Some(self)))
    }

    async fn part(&mut self) -> Result<Option<Part>, Status> {
        let mut snapshot = self.held.take().ok_or_else(|| {
            Status::aborted("the caller read nothing for so long that the server gave the stream up; ask again")
        })?;
        let (result, snapshot) = if snapshot.blocks() {
            let read = tokio::task::spawn_blocking(move || (snapshot.next(), snapshot));
            let read = match self.deadline {
                Some(deadline) => timeout_at(deadline, read).await.map_err(|_| late())?,
                None => read.await,
            };
            read.map_err(|_| Status::internal("reading the dataset stopped unexpectedly"))?
        } else {
            (snapshot.next(), snapshot)
        };
        self.held.put_back(snapshot);
        result.map_err(|error| error.status())
    }
}

fn late() -> Status {
    Status::deadline_exceeded("the caller's deadline passed before everything was sent")
}
