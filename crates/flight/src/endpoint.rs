//! `DoGet` as a transport: for clients that have no better way.

use std::{collections::VecDeque, sync::Arc};

use arrow_buffer::Buffer;
use arrowlane_dissociated::{BodyType, DataTag, Metadata, Outbox, Serial};
use arrowlane_transport::{
    Endpoint, Inbox, Progress, TransportError,
    fd::{AsFd, BorrowedFd},
    system::Alarm,
};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{CallOptions, Cancellation, Client, FlightError, Get, Message, Result};

/// The scheme.
const SCHEME: &str = "grpc";
/// What the one tag that is there means: the ticket.
const WANT_DATA: u64 = 1;
/// So many bytes may wait to be read; one message of any size.
const AHEAD: usize = 32 << 20;

/// A stream of `DoGet`, behind the same trait as every other transport: the ticket begins the call, its messages arrive as
/// metadata and bodies. What comes lies where it was received; it was copied on its way through gRPC.
pub struct GrpcEndpoint {
    client: Client,
    options: CallOptions,
    shared: Arc<Shared>,
    greeted: bool,
    metadata_only: bool,
    serial: Serial,
}

struct Shared {
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
        let options = CallOptions { cancel: Cancellation::new(), ..CallOptions::default() };
        let shared = Shared { arrived: Mutex::default(), alarm: Alarm::new()?, room: Notify::new() };
        // So that the greeting is handed over.
        shared.alarm.ring();
        Ok(Self { client, options, shared: Arc::new(shared), greeted: false, metadata_only, serial: Serial(0) })
    }

    fn begin(&self, ticket: Vec<u8>) {
        let (client, options, shared) = (self.client.clone(), self.options.clone(), Arc::clone(&self.shared));
        let metadata_only = self.metadata_only;
        let runtime = self.client.runtime().clone();
        let read = async move {
            let end = shared.fill(&client, ticket, metadata_only, &options).await;
            shared.arrived.lock().end = Some(end);
            shared.alarm.ring();
        };
        drop(runtime.spawn(read));
    }
}

impl Shared {
    async fn fill(&self, client: &Client, ticket: Vec<u8>, metadata_only: bool, options: &CallOptions) -> Result<()> {
        let mut get: Get = match metadata_only {
            true => client.get_metadata(ticket, options).await?,
            false => client.get(ticket, options).await?,
        };
        if let Some(schema) = get.take_schema_message() {
            self.put(schema);
        }
        while let Some(message) = get.next().await? {
            while self.arrived.lock().bytes > AHEAD {
                self.room.notified().await;
            }
            self.put(message);
        }
        Ok(())
    }

    fn put(&self, message: Message) {
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
        if tag == WANT_DATA {
            self.begin(parts.concat());
        }
    }
}

impl Endpoint for GrpcEndpoint {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.shared.alarm.as_fd()
    }

    fn receive(&mut self, budget: usize, inbox: &mut dyn Inbox) -> std::result::Result<Progress, TransportError> {
        self.shared.alarm.quiet();
        if !std::mem::replace(&mut self.greeted, true) {
            inbox.greeting(Self::GREETING)?;
        }
        let mut taken = 0;
        while let Some(next) = self.shared.take() {
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
                self.shared.alarm.ring();
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
        self.options.cancel.cancel();
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
