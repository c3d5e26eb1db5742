//! The calls without bodies.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, BasicAuth, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, Location, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures_util::stream::{self, BoxStream, StreamExt};
use prost::Message as _;
use prost_types::Timestamp;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use super::calls::ask;
use crate::auth::Credentials;
use crate::encode::write_schema;
use crate::{Caller, CatalogError, Locations, Minted, REUSE_CONNECTION};

/// Longest name of a dataset.
const MAX_NAME: usize = 4096;

pub(super) struct Control(pub Arc<Shared>);

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// Who calls, as `Calls` found out.
fn caller_of<T>(request: &Request<T>) -> Caller {
    request.extensions().get::<Caller>().cloned().unwrap_or_default()
}

/// The name that a descriptor asks for: a path, its parts joined by `/`, or a command that is text.
pub(super) fn name_of(descriptor: &FlightDescriptor) -> Result<String, Status> {
    let name = match DescriptorType::try_from(descriptor.r#type) {
        Ok(DescriptorType::Path) => descriptor.path.join("/"),
        Ok(DescriptorType::Cmd) => std::str::from_utf8(&descriptor.cmd)
            .map_err(|_| Status::invalid_argument("the command is not the name of a dataset: it is not UTF-8"))?
            .to_owned(),
        _ => return Err(Status::invalid_argument("a descriptor that is neither a path nor a command")),
    };
    match name.len() {
        0 => Err(Status::invalid_argument("a descriptor without a name")),
        length if length > MAX_NAME => Err(Status::invalid_argument(format!("a name of {length} bytes"))),
        _ => Ok(name),
    }
}

impl Control {
    fn info(&self, descriptor: FlightDescriptor, caller: &Caller) -> Result<FlightInfo, Status> {
        let minted = self.0.catalog.mint(&name_of(&descriptor)?, caller).map_err(|error| error.status())?;
        let total = |n: Option<u64>| n.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1);
        let description = &minted.description;
        Ok(FlightInfo {
            schema: write_schema(&description.schema),
            flight_descriptor: Some(descriptor),
            total_records: total(description.rows),
            total_bytes: total(description.bytes),
            ordered: description.ordered,
            endpoint: vec![endpoint(minted, caller.locations)],
            ..FlightInfo::default()
        })
    }
}

fn endpoint(minted: Minted, shape: Locations) -> FlightEndpoint {
    let reuse = (shape != Locations::Split).then(|| REUSE_CONNECTION.to_owned());
    let data = if shape == Locations::Inline { Vec::new() } else { minted.locations };
    let expires = minted.expires.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    FlightEndpoint {
        ticket: Some(Ticket { ticket: minted.ticket }),
        location: reuse.into_iter().chain(data).map(|uri| Location { uri }).collect(),
        expiration_time: expires.map(|since| Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
        }),
        ..FlightEndpoint::default()
    }
}

#[tonic::async_trait]
impl FlightService for Control {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    /// Turns a name and a password, in the header or in the older form inside the message, into a token.
    async fn handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Answer<Self::HandshakeStream> {
        let Some(hook) = &self.0.options.authenticate else {
            return Err(Status::unimplemented("this server asks nobody who they are"));
        };
        let caller = caller_of(&request);
        let (metadata, _, mut messages) = request.into_parts();
        let headers = metadata.into_headers();
        let mut credentials = Credentials::of(&headers).map_err(|denied| Status::unauthenticated(denied.0))?;
        if credentials == Credentials::None {
            let first = messages.message().await?;
            let payload = first.map(|message| message.payload).unwrap_or_default();
            let basic =
                BasicAuth::decode(payload).map_err(|_| Status::unauthenticated("a handshake without credentials"))?;
            credentials = Credentials::Basic { user: basic.username, password: basic.password };
        }
        let identity = ask(&**hook, credentials, &caller).await?;
        let token = self.0.tokens.hand_out(identity)?;
        let header = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Status::internal("the token does not fit into a header"))?;
        let message = HandshakeResponse { protocol_version: 0, payload: token.into() };
        let mut response = Response::new(stream::iter([Ok(message)]).boxed());
        response.metadata_mut().insert("authorization", header);
        Ok(response)
    }

    /// All datasets that the caller may see, each with a ticket of its own.
    async fn list_flights(&self, request: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        let caller = caller_of(&request);
        if !request.get_ref().expression.is_empty() {
            return Err(Status::invalid_argument("this server lists everything; leave the criteria empty"));
        }
        let names = self.0.catalog.list(&caller).map_err(|error| error.status())?;
        let this = Self(Arc::clone(&self.0));
        let infos = stream::iter(names).filter_map(move |name| {
            let info = match this.info(FlightDescriptor::new_path(vec![name]), &caller) {
                // It went between the list and now.
                Err(status) if status.code() == tonic::Code::NotFound => None,
                other => Some(other),
            };
            std::future::ready(info)
        });
        Ok(Response::new(infos.boxed()))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        let caller = caller_of(&request);
        self.info(request.into_inner(), &caller).map(Response::new)
    }

    /// Datasets are there or not; nothing is to be waited for.
    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<PollInfo> {
        let caller = caller_of(&request);
        let info = self.info(request.into_inner(), &caller)?;
        Ok(Response::new(PollInfo { info: Some(info), progress: Some(1.0), ..PollInfo::default() }))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        let caller = caller_of(&request);
        let name = name_of(request.get_ref())?;
        let description = self.0.catalog.describe(&name, &caller).map_err(|error| error.status())?;
        Ok(Response::new(SchemaResult { schema: write_schema(&description.schema) }))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn do_action(&self, request: Request<Action>) -> Answer<Self::DoActionStream> {
        let action = request.into_inner().r#type.chars().take(100).collect::<String>();
        Err(CatalogError::Unsupported(format!("there is no action {action:?}; this server has none")).status())
    }

    async fn do_get(&self, _: Request<Ticket>) -> Answer<Self::DoGetStream> {
        Err(elsewhere())
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        Err(elsewhere())
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoExchangeStream> {
        Err(elsewhere())
    }
}

/// `Calls` answers the three calls with bodies; they do not come here.
fn elsewhere() -> Status {
    Status::internal("a call with a body came to the service without")
}
