//! Calls to a Flight service.

mod call;
mod connect;
mod conversation;
mod get;

use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Criteria, Empty, FlightInfo, Ticket};
use arrow_schema::SchemaRef;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

pub use self::call::CallOptions;
pub use self::conversation::Conversation;
pub use self::get::Get;

use self::call::Call;
use crate::encode::read_schema;
use crate::frames::MessageLimits;
use crate::location::{LOCATIONS_HEADER, METADATA_ONLY_HEADER};
use crate::{ByteCounts, Credentials, Descriptor, FlightError, Info, Locations, Result, Runtime};

/// Longest answer of a control call.
const MAX_ANSWER: usize = 64 << 20;

/// Most entries of a list that are read.
const MAX_LISTED: usize = 1 << 20;

/// How a client connects, and what it says with every call.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Whom to trust at `grpc+tls:` addresses.
    pub tls: ClientTls,
    /// Presented with every call. A name and a password are turned into a token first, where the service does that.
    pub credentials: Credentials,
    /// Further request headers.
    pub headers: Vec<(String, String)>,
    /// Which data URIs to ask the service for.
    pub locations: Locations,
    /// For calls that bring none of their own: until the whole answer is there; of streams, until each message is.
    pub deadline: Duration,
    /// Longest message that is taken, in bytes; at most 2 GiB.
    pub max_message: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            tls: ClientTls::default(),
            credentials: Credentials::None,
            headers: Vec::new(),
            locations: Locations::Combined,
            deadline: Duration::from_secs(30),
            max_message: MessageLimits::default().message,
        }
    }
}

/// Whom to trust. All in PEM.
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    /// Root certificates; `None` for those of the system.
    pub roots: Option<Vec<u8>>,
    /// The name that the server's certificate must have, where that is not the host's.
    pub name: Option<String>,
    /// This client's own certificate and key, for servers that ask for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A connection to a Flight service.
///
/// Methods are called inside the [`Runtime`] (`client.runtime().spawn(…)`, or `block_on` from a thread of its own). Cloning shares the connection,
/// which is made again when it broke. Several calls may run at once.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    control: FlightServiceClient<Channel>,
    /// What is presented with every call.
    authorization: Option<tonic::metadata::AsciiMetadataValue>,
    options: ClientOptions,
    counts: ByteCounts,
    uri: String,
    /// The runtime outlives the connection, whose tasks run on it.
    runtime: Runtime,
}

impl Client {
    /// Connects to `grpc+tcp://host:port`, `grpc://…` or `grpc+tls://…`, and introduces itself.
    ///
    /// # Errors
    /// An address that is none, no connection, a refusal.
    pub async fn connect(uri: &str, options: ClientOptions, call: &CallOptions) -> Result<Self> {
        let runtime = Runtime::shared()?;
        let counts = ByteCounts::default();
        let limit = Call::begin("Connect", call, options.deadline);
        let channel = limit.run(connect::channel(uri, &options, counts.clone())).await?;
        let control = FlightServiceClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER);
        let credentials = options.credentials.clone();
        let mut client = Self { channel, control, authorization: None, options, counts, uri: uri.to_owned(), runtime };
        client.authorization = connect::authorize(&client, &credentials, call).await?;
        Ok(client)
    }

    /// The address that it was connected to.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Bytes that went over this client's connections.
    pub fn counts(&self) -> ByteCounts {
        self.counts.clone()
    }

    /// The threads that calls run on.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// All datasets that the service lists.
    ///
    /// # Errors
    /// Of every call: what the service answers, no connection, the deadline, the cancellation.
    pub async fn list(&self, options: &CallOptions) -> Result<Vec<Info>> {
        let call = Call::begin("ListFlights", options, self.options.deadline);
        call.run(async {
            let request = self.request(&call, Criteria::default())?;
            let mut answers: Streaming<FlightInfo> = self.control.clone().list_flights(request).await?.into_inner();
            let mut infos = Vec::new();
            while let Some(info) = answers.message().await? {
                if infos.len() == MAX_LISTED {
                    return Err(Failure::Other(FlightError::Protocol(format!("more than {MAX_LISTED} datasets"))));
                }
                infos.push(Info::of(&info)?);
            }
            Ok(infos)
        })
        .await
    }

    /// Where a dataset is, and with which ticket it is read.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn info(&self, descriptor: &Descriptor, options: &CallOptions) -> Result<Info> {
        let call = Call::begin("GetFlightInfo", options, self.options.deadline);
        call.run(async {
            let request = self.request(&call, descriptor.to_flight())?;
            let info = self.control.clone().get_flight_info(request).await?.into_inner();
            Ok(Info::of(&info)?)
        })
        .await
    }

    /// As [`info`](Self::info), for services that need time: asks again until the answer is complete.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn poll(&self, descriptor: &Descriptor, options: &CallOptions) -> Result<Info> {
        let call = Call::begin("PollFlightInfo", options, self.options.deadline);
        call.run(async {
            let mut next = descriptor.to_flight();
            loop {
                let request = self.request(&call, next)?;
                let answer = self.control.clone().poll_flight_info(request).await?.into_inner();
                match (answer.flight_descriptor, answer.info) {
                    (Some(again), _) => next = again,
                    (None, Some(info)) => return Ok(Info::of(&info)?),
                    (None, None) => {
                        let text = "a complete answer without a FlightInfo".to_owned();
                        return Err(Failure::Other(FlightError::Protocol(text)));
                    }
                }
                // A service holds its answer until there is news; one that does not is not to be asked in a tight loop.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    /// A dataset's schema.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn schema(&self, descriptor: &Descriptor, options: &CallOptions) -> Result<SchemaRef> {
        let call = Call::begin("GetSchema", options, self.options.deadline);
        call.run(async {
            let request = self.request(&call, descriptor.to_flight())?;
            let answer = self.control.clone().get_schema(request).await?.into_inner();
            Ok(read_schema(&answer.schema)?)
        })
        .await
    }

    /// Names of the actions that the service knows, each with a description.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn actions(&self, options: &CallOptions) -> Result<Vec<(String, String)>> {
        let call = Call::begin("ListActions", options, self.options.deadline);
        call.run(async {
            let mut answers = self.control.clone().list_actions(self.request(&call, Empty {})?).await?.into_inner();
            let mut actions = Vec::new();
            while let Some(action) = answers.message().await? {
                actions.push((action.r#type, action.description));
            }
            Ok(actions)
        })
        .await
    }

    /// Reads a ticket's data over this connection.
    ///
    /// # Errors
    /// As [`list`](Self::list); what goes wrong later, [`Get`] reports.
    pub async fn get(&self, ticket: impl Into<bytes::Bytes>, options: &CallOptions) -> Result<Get> {
        Get::begin(self, Ticket { ticket: ticket.into() }, false, options).await
    }

    /// Reads a ticket's metadata over this connection, where the bodies come over a data URI: messages have no bodies.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn get_metadata(&self, ticket: impl Into<bytes::Bytes>, options: &CallOptions) -> Result<Get> {
        Get::begin(self, Ticket { ticket: ticket.into() }, true, options).await
    }

    /// Uploads batches of one schema.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn put(&self, descriptor: &Descriptor, schema: SchemaRef, options: &CallOptions) -> Result<Conversation> {
        Conversation::begin(self, "DoPut", descriptor, schema, options).await
    }

    /// Sends batches and is answered with batches.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn exchange(
        &self,
        descriptor: &Descriptor,
        schema: SchemaRef,
        options: &CallOptions,
    ) -> Result<Conversation> {
        Conversation::begin(self, "DoExchange", descriptor, schema, options).await
    }

    fn request<T>(&self, call: &Call, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(self.headers(false)?);
        if let Some(left) = call.left() {
            request.set_timeout(left);
        }
        Ok(request)
    }

    fn headers(&self, metadata_only: bool) -> Result<http::HeaderMap> {
        let mut headers = http::HeaderMap::new();
        for (name, value) in &self.options.headers {
            let wrong = |_| FlightError::Setting(format!("{name:?} with its value is no request header"));
            let key = http::HeaderName::try_from(name.as_str()).map_err(|_| wrong(()))?;
            headers.append(key, http::HeaderValue::try_from(value.as_str()).map_err(|_| wrong(()))?);
        }
        let locations = match self.options.locations {
            Locations::Inline => None,
            Locations::Combined => Some("1"),
            Locations::Split => Some("split"),
        };
        if let Some(value) = locations {
            headers.insert(LOCATIONS_HEADER, http::HeaderValue::from_static(value));
        }
        if metadata_only {
            headers.insert(METADATA_ONLY_HEADER, http::HeaderValue::from_static("1"));
        }
        if let Some(authorization) = &self.authorization {
            // Its bytes are those of a header: that is what a metadata value is.
            if let Ok(value) = http::HeaderValue::from_bytes(authorization.as_bytes()) {
                headers.insert(http::header::AUTHORIZATION, value);
            }
        }
        Ok(headers)
    }

    fn limits(&self) -> MessageLimits {
        let default = MessageLimits::default();
        MessageLimits { message: self.options.max_message.min(default.message), ..default }
    }
}

/// Why a call failed, before it is known to the caller by its name.
enum Failure {
    Status(Box<Status>),
    Other(FlightError),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<FlightError> for Failure {
    fn from(error: FlightError) -> Self {
        Self::Other(error)
    }
}
