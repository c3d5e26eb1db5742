//! Streams of gRPC as a transport: `DoGet`, for clients that have no better way, and both sides of `DoExchange`.

use std::{collections::VecDeque, future::Future, sync::Arc, time::Duration};

use arrow_buffer::Buffer;
use arrowlane_dissociated::{BodyType, DataTag, Metadata, Outbox, Serial};
use arrowlane_transport::{
    Endpoint, Inbox, Progress, TransportError,
    fd::{AsFd, BorrowedFd},
    system::Alarm,
};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Notify};
use tokio_util::sync::CancellationToken;

use crate::{CallOptions, CatalogError, Client, Descriptor, FlightError, Get, Message, Result, Snapshot};

/// The scheme.
const SCHEME: &str = "grpc";
/// What the one tag that is there means: the ticket.
const WANT_DATA: u64 = 1;
/// Longer than anything takes: a year.
const UNBOUNDED: Duration = Duration::from_secs(365 * 24 * 3600);
/// So many bytes may wait to be read; one message of any size.
const AHEAD: usize = 32 << 20;

/// A stream of messages behind the same trait as every other transport: the ticket begins it, its messages arrive as
/// metadata and bodies. What comes lies where it was received; it was copied on its way through gRPC.
pub struct GrpcEndpoint {
    begin: Option<Begin>,
    cancel: CancellationToken,
    arrivals: Arc<Arrivals>,
    greeted: bool,
    serial: Serial,
}

/// Starts the stream, which is given the ticket.
type Begin = Box<dyn FnOnce(Vec<u8>) + Send>;

/// What came and was not read, for whoever fills it.
pub(crate) struct Arrivals {
    arrived: Mutex<Arrived>,
    alarm: Alarm,
    /// There is room again.
    room: Notify,
}

#[derive(Default)]
struct Arrived {
    messages: VecDeque<Message>,
    bytes: usize,
    /// How the stream ended.
    end: Option<Result<()>>,
}

/// What comes next.
enum Taken {
    Message(Message),
    End(Result<()>),
}

impl GrpcEndpoint {
    /// The greeting that stands for a connection: there is nothing but `want_data`.
    pub const GREETING: &str = "grpc://service?want_data=1";

    /// Reads one ticket's data over the client's connection; the call begins with the ticket. With `metadata_only`, bodies come
    /// over another connection.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn new(client: Client, metadata_only: bool) -> std::result::Result<Self, TransportError> {
        let runtime = client.runtime().handle().clone();
        Self::made(runtime, move |ticket, cancel, arrivals| async move {
            let options = CallOptions { cancel, ..CallOptions::default() };
            let mut get: Get = match metadata_only {
                true => client.get_metadata(ticket, &options).await?,
                false => client.get(ticket, &options).await?,
            };
            // Topics may be silent.
            get.wait_for_ever();
            if let Some(schema) = get.take_schema_message() {
                arrivals.put(schema).await;
            }
            while let Some(message) = get.next().await? {
                arrivals.put(message).await;
            }
            Ok(())
        })
    }

    /// Sends what `snapshot` gives under a descriptor, and reads what is answered (`DoExchange`).
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn exchange(
        client: Client,
        descriptor: Descriptor,
        snapshot: impl FnOnce(&CancellationToken) -> std::result::Result<Box<dyn Snapshot>, CatalogError> + Send + 'static,
    ) -> std::result::Result<Self, TransportError> {
        let runtime = client.runtime().handle().clone();
        Self::made(runtime, move |_, cancel, arrivals| async move {
            let given_up = cancel.clone();
            let make = move || snapshot(&given_up).map(|snapshot| (snapshot.schema(), snapshot));
            let made = tokio::task::spawn_blocking(make).await;
            let unusable = |reason: String| FlightError::Encode(reason);
            let made = made.map_err(|error| unusable(error.to_string()))?;
            let (schema, snapshot) = made.map_err(|error| unusable(error.to_string()))?;
            // It takes as long as both sides have something to say.
            let options = CallOptions { cancel, deadline: Some(UNBOUNDED) };
            let conversation = client.exchange(&descriptor, schema, &options).await?;
            conversation.through(snapshot, |message| arrivals.put(message)).await
        })
    }

    /// Reads what `fill` puts there, until it ends or this is dropped.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub(crate) fn over<F: Future<Output = Result<()>> + Send + 'static>(
        runtime: Handle,
        fill: impl FnOnce(Arc<Arrivals>) -> F + Send + 'static,
    ) -> std::result::Result<Self, TransportError> {
        Self::made(runtime, move |_, _, arrivals| fill(arrivals))
    }

    fn made<F: Future<Output = Result<()>> + Send + 'static>(
        runtime: Handle,
        fill: impl FnOnce(Vec<u8>, CancellationToken, Arc<Arrivals>) -> F + Send + 'static,
    ) -> std::result::Result<Self, TransportError> {
        let arrivals = Arc::new(Arrivals { arrived: Mutex::default(), alarm: Alarm::new()?, room: Notify::new() });
        // So that the greeting is handed over.
        arrivals.alarm.ring();
        let cancel = CancellationToken::new();
        let (theirs, there) = (cancel.clone(), Arc::clone(&arrivals));
        let begin = move |ticket| {
            let mut filling = Filling { arrivals: there, end: None };
            drop(runtime.spawn(async move {
                let fill = fill(ticket, theirs.clone(), Arc::clone(&filling.arrivals));
                tokio::select! {
                    end = fill => drop(filling.end.replace(end)),
                    // Nobody reads any more, so there may never be room.
                    () = theirs.cancelled() => {}
                }
            }));
        };
        Ok(Self { begin: Some(Box::new(begin)), cancel, arrivals, greeted: false, serial: Serial(0) })
    }
}

/// Says how the stream ended, also when its task was dropped with the threads that it ran on.
struct Filling {
    arrivals: Arc<Arrivals>,
    end: Option<Result<()>>,
}

impl Drop for Filling {
    fn drop(&mut self) {
        let cancelled = || Err(FlightError::Cancelled { call: "reading a stream" });
        self.arrivals.arrived.lock().end = Some(self.end.take().unwrap_or_else(cancelled));
        self.arrivals.alarm.ring();
    }
}

impl Arrivals {
    /// Hands a message over when there is room.
    pub async fn put(&self, message: Message) {
        while self.arrived.lock().bytes > AHEAD {
            self.room.notified().await;
        }
        let mut arrived = self.arrived.lock();
        arrived.bytes += message.header.len() + message.body.len();
        arrived.messages.push_back(message);
        drop(arrived);
        self.alarm.ring();
    }

    /// The next message, or how the stream ended, once all were taken.
    fn take(&self) -> Option<Taken> {
        let mut arrived = self.arrived.lock();
        let Some(message) = arrived.messages.pop_front() else {
            return arrived.end.take().map(Taken::End);
        };
        arrived.bytes -= message.header.len() + message.body.len();
        drop(arrived);
        self.room.notify_one();
        Some(Taken::Message(message))
    }
}

impl Outbox for GrpcEndpoint {
    fn metadata(&mut self, _parts: &[&[u8]]) {}

    /// The ticket begins the call. There is nothing else to say: a stream that is not wanted any more is dropped.
    fn tagged(&mut self, tag: u64, parts: &[&[u8]]) {
        if tag == WANT_DATA
            && let Some(begin) = self.begin.take()
        {
            begin(parts.concat());
        }
    }
}

impl Endpoint for GrpcEndpoint {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.arrivals.alarm.as_fd()
    }

    fn receive(&mut self, budget: usize, inbox: &mut dyn Inbox) -> std::result::Result<Progress, TransportError> {
        self.arrivals.alarm.quiet();
        if !std::mem::replace(&mut self.greeted, true) {
            inbox.greeting(Self::GREETING)?;
        }
        let mut taken = 0;
        while let Some(next) = self.arrivals.take() {
            let message = match next {
                Taken::Message(message) => message,
                Taken::End(Err(error)) => return Err(failed(&error)),
                Taken::End(Ok(())) => {
                    let mut end = Vec::with_capacity(5);
                    Metadata::EndOfStream { serial: self.serial }.encode_into(&mut end);
                    inbox.metadata(&end)?;
                    break;
                }
            };
            taken += message.header.len() + message.body.len();
            if !message.header.is_empty() {
                let serial = self.serial;
                self.serial = serial.next();
                let mut metadata = Vec::with_capacity(message.header.len() + 5);
                Metadata::Message { serial, flatbuffer: message.header.as_slice() }.encode_into(&mut metadata);
                inbox.metadata(&metadata)?;
                if !message.body.is_empty() {
                    let body = Bytes::from_owner(Received(message.body));
                    inbox.body(DataTag::encode(serial, BodyType::Packed), body)?;
                }
            }
            if taken >= budget {
                self.arrivals.alarm.ring();
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Drained)
    }

    fn flush(&mut self) -> std::result::Result<bool, TransportError> {
        Ok(true)
    }

    fn queued(&self) -> usize {
        0
    }

    fn wants_write(&self) -> bool {
        false
    }
}

impl Drop for GrpcEndpoint {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// As an error of the transport, with Flight's code.
pub fn failed(error: &FlightError) -> TransportError {
    TransportError::Failed { code: error.code(), message: error.to_string() }
}

struct Received(Buffer);

impl AsRef<[u8]> for Received {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}
