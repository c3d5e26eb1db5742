//! What a FlightInfo says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, flight_descriptor::DescriptorType};
use arrow_schema::SchemaRef;
use arrowlane_dissociated::DataUri;
use bytes::Bytes;
use prost::Message as _;

use crate::encode::read_schema;
use crate::{FlightError, Location};

/// Most endpoints that are read, and most locations of one.
const MAX_ENDPOINTS: usize = 1 << 16;
const MAX_LOCATIONS: usize = 64;

/// What a Flight service is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// A dataset by its name, or a path of names.
    Path(Vec<String>),
    /// Something that the service understands: a query, for instance.
    Command(Bytes),
}

impl Descriptor {
    /// A dataset by its name.
    pub fn name(name: impl Into<String>) -> Self {
        Self::Path(vec![name.into()])
    }

    pub(crate) fn to_flight(&self) -> FlightDescriptor {
        match self {
            Self::Path(path) => FlightDescriptor::new_path(path.clone()),
            Self::Command(command) => FlightDescriptor::new_cmd(command.clone()),
        }
    }

    fn from_flight(descriptor: &FlightDescriptor) -> Option<Self> {
        match DescriptorType::try_from(descriptor.r#type) {
            Ok(DescriptorType::Path) => Some(Self::Path(descriptor.path.clone())),
            Ok(DescriptorType::Cmd) => Some(Self::Command(descriptor.cmd.clone())),
            _ => None,
        }
    }
}

/// A FlightInfo, read. Where it comes from does not matter.
#[derive(Clone, Debug)]
pub struct Info {
    /// What was asked for.
    pub descriptor: Option<Descriptor>,
    /// The schema, where the service says it beforehand.
    pub schema: Option<SchemaRef>,
    /// Where the parts of the dataset are.
    pub endpoints: Vec<Endpoint>,
    /// Rows in all, where known.
    pub rows: Option<u64>,
    /// Bytes in all, where known.
    pub bytes: Option<u64>,
    /// Whether the endpoints are in the order of the data.
    pub ordered: bool,
    /// What the service adds.
    pub app_metadata: Bytes,
}

/// A part of a dataset: a ticket and where to redeem it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// What is presented; opaque.
    pub ticket: Bytes,
    /// In the order of the service's preference.
    pub locations: Vec<Location>,
    /// When the ticket ends, where the service says so.
    pub expires: Option<SystemTime>,
    /// What the service adds.
    pub app_metadata: Bytes,
}

/// The ways to an endpoint's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape<'a> {
    /// Any of the locations, each for itself. Data URIs in the service's order; maybe none.
    Any(Vec<&'a DataUri>),
    /// Both of them together, as the C++ example has it.
    Split {
        /// Where metadata comes from.
        metadata: &'a DataUri,
        /// Where bodies come from.
        data: &'a DataUri,
    },
}

impl Info {
    /// Reads an encoded FlightInfo, from whatever control plane it came.
    ///
    /// # Errors
    /// [`FlightError::Protocol`] for bytes that are none, a schema that cannot be read, or more endpoints than make sense.
    pub fn read(bytes: &[u8]) -> Result<Self, FlightError> {
        let info =
            FlightInfo::decode(bytes).map_err(|error| FlightError::Protocol(format!("no FlightInfo: {error}")))?;
        Self::of(&info)
    }

    pub(crate) fn of(info: &FlightInfo) -> Result<Self, FlightError> {
        let too_many = |what: &str, n: usize| Err(FlightError::Protocol(format!("a FlightInfo with {n} {what}")));
        if info.endpoint.len() > MAX_ENDPOINTS {
            return too_many("endpoints", info.endpoint.len());
        }
        if let Some(endpoint) = info.endpoint.iter().find(|endpoint| endpoint.location.len() > MAX_LOCATIONS) {
            return too_many("locations of one endpoint", endpoint.location.len());
        }
        Ok(Self {
            descriptor: info.flight_descriptor.as_ref().and_then(Descriptor::from_flight),
            schema: if info.schema.is_empty() { None } else { Some(read_schema(&info.schema)?) },
            endpoints: info.endpoint.iter().map(Endpoint::of).collect(),
            rows: u64::try_from(info.total_records).ok(),
            bytes: u64::try_from(info.total_bytes).ok(),
            ordered: info.ordered,
            app_metadata: info.app_metadata.clone(),
        })
    }

    /// The name in the descriptor, as our servers and most others have it.
    pub fn name(&self) -> Option<String> {
        match self.descriptor.as_ref()? {
            Descriptor::Path(path) => Some(path.join("/")),
            Descriptor::Command(_) => None,
        }
    }
}

impl Endpoint {
    fn of(endpoint: &FlightEndpoint) -> Self {
        let expires = endpoint.expiration_time.as_ref().and_then(|time| {
            let seconds = Duration::from_secs(u64::try_from(time.seconds).ok()?);
            UNIX_EPOCH.checked_add(seconds)?.checked_add(Duration::from_nanos(u64::try_from(time.nanos).ok()?))
        });
        Self {
            ticket: endpoint.ticket.as_ref().map(|ticket| ticket.ticket.clone()).unwrap_or_default(),
            locations: endpoint.location.iter().map(|location| Location::read(&location.uri)).collect(),
            expires,
            app_metadata: endpoint.app_metadata.clone(),
        }
    }

    /// Whether `DoGet` at the service that this came from may be asked for it: it says so, or says nothing.
    pub fn is_here(&self) -> bool {
        self.locations.is_empty() || self.locations.contains(&Location::Reuse)
    }

    /// Other Flight services that the ticket can be redeemed at.
    pub fn elsewhere(&self) -> impl Iterator<Item = &str> {
        self.locations.iter().filter_map(|location| match location {
            Location::Flight(uri) => Some(uri.as_str()),
            _ => None,
        })
    }

    /// How data URIs belong together. Flight's locations can replace each other, so two are two ways; exactly two data URIs and nothing
    /// else are the example's shape, in which they are halves.
    pub fn shape(&self) -> Shape<'_> {
        if let [Location::Data(metadata), Location::Data(data)] = &self.locations[..] {
            return Shape::Split { metadata, data };
        }
        Shape::Any(
            self.locations
                .iter()
                .filter_map(|location| match location {
                    Location::Data(uri) => Some(uri),
                    _ => None,
                })
                .collect(),
        )
    }
}
