//! What a publisher says of itself when somebody connects.

use std::path::Path;

use arrowlane_dissociated::uri::DataUri;
use arrowlane_transport::shm::uri_path;

use crate::{Lending, PlaneError};

/// The tags that a topic's publisher listens to. Their values are free; they only have to differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tags {
    pub want_data: u64,
    pub free_data: u64,
    pub want_data_ext: u64,
    /// Whether it knows the extension, and frees.
    pub extended: bool,
    pub frees: bool,
    /// Whether it reads returns from a page that the subscriber hands it.
    pub returns: bool,
    /// Whether it knows of policies: a subscriber may ask for one, and is told which it got.
    pub policies: bool,
    /// How bodies come: `"shm"`, lent; `"unix"`, inside their messages though both are on one machine; or the network's
    /// scheme.
    pub via: &'static str,
}

pub(crate) const TAGS: Tags = Tags {
    want_data: 1 << 62 | 1,
    free_data: 1 << 62 | 2,
    want_data_ext: 1 << 62 | 3,
    extended: true,
    frees: true,
    returns: true,
    policies: true,
    via: LENT,
};

/// The tags of a server's halves, for clients that fetch metadata over one connection and bodies over another.
pub(crate) const METADATA_HALF: [u64; 2] = [1 << 62 | 4, 1 << 62 | 5];
pub(crate) const DATA_HALF: [u64; 2] = [1 << 62 | 6, 1 << 62 | 7];
/// The tag for bodies alone, where the metadata comes by other means; servers' URIs have it as the parameter [`BODIES`].
pub(crate) const BODIES_ALONE: u64 = 1 << 62 | 8;
/// The parameter of a URI with that tag.
pub(crate) const BODIES: &str = "bodies";

/// The URI under which bodies alone are asked for at the server of a combined one: without the extension, as there is nobody to
/// tell.
///
/// # Errors
/// Where the server does not offer that.
pub fn bodies_alone(uri: &DataUri) -> Result<DataUri, PlaneError> {
    let tag = uri.extra(BODIES).and_then(|tag| tag.parse().ok());
    let Some(want_data) = tag else {
        return Err(PlaneError::NotPermitted("this server does not send bodies without their metadata".into()));
    };
    Ok(DataUri { want_data, want_data_ext: None, ..uri.clone() })
}

/// The scheme of a publisher that lends its memory.
const LENT: &str = "shm";
/// The scheme of a publisher whose bodies come through its socket.
pub(crate) const INLINE: &str = "unix";
/// The scheme of Flight's `DoGet`, whose bodies are copied on their way through gRPC.
pub(crate) const GRPC: &str = "grpc";

/// The scheme of a connection within the process.
pub(crate) const INPROC: &str = "inproc";

/// The URI that a publisher greets with.
pub(crate) fn uri(path: &Path, topic: &str, lending: &Lending) -> String {
    let mut extra: Vec<(String, String)> = vec![("boot".into(), boot_id()), ("topic".into(), topic.into())];
    if !lending.copies() {
        extra.push(("returns".into(), "1".into()));
    }
    extra.push(("policies".into(), "1".into()));
    let uri = DataUri {
        scheme: if lending.copies() { INLINE } else { LENT }.into(),
        path: uri_path(path),
        want_data: TAGS.want_data,
        free_data: Some(TAGS.free_data),
        want_data_ext: Some(TAGS.want_data_ext),
        extra,
        ..DataUri::default()
    };
    uri.to_string()
}

/// The URI by which clients reach a server over the network: its address, and its tags.
pub(crate) fn remote_uri(address: &str, parameters: Vec<(String, String)>) -> Result<String, PlaneError> {
    let Tags { want_data, free_data, want_data_ext, .. } = TAGS;
    let mut uri = DataUri::parse(&format!("{address}?want_data={want_data}"))?;
    uri.free_data = Some(free_data);
    uri.want_data_ext = Some(want_data_ext);
    uri.extra = parameters;
    uri.extra.push(("policies".into(), "1".into()));
    Ok(uri.to_string())
}

/// The URIs of the two halves of a combined one: metadata, and bodies.
pub(crate) fn halves_of(uri: &str) -> Result<[DataUri; 2], PlaneError> {
    let whole = DataUri::parse(uri)?;
    let half = |[want_data, want_data_ext]: [u64; 2]| DataUri {
        want_data,
        want_data_ext: Some(want_data_ext),
        ..whole.clone()
    };
    Ok([DataUri { free_data: None, ..half(METADATA_HALF) }, half(DATA_HALF)])
}

/// Reads a greeting that came over `scheme`, and checks that one from a unix socket is of this boot of this machine.
pub(crate) fn read_greeting(greeting: &str, scheme: &'static str) -> Result<(DataUri, Tags), PlaneError> {
    let uri = DataUri::parse(greeting)?;
    let boot = uri.extra.iter().find(|(name, _)| name == "boot").map(|(_, value)| value.as_str());
    let via = [scheme, INLINE].into_iter().find(|scheme| *scheme == uri.scheme);
    let local = [LENT, INLINE].contains(&scheme);
    let Some(via) = via.filter(|_| !local || boot.is_none_or(|boot| boot == boot_id())) else {
        return Err(PlaneError::Remote {
            code: "ERR_OTHER_HOST".into(),
            message: "its memory belongs to another machine or another boot of this one".into(),
        });
    };
    let tags = Tags {
        want_data: uri.want_data,
        free_data: uri.free_data.unwrap_or(TAGS.free_data),
        want_data_ext: uri.want_data_ext.unwrap_or(uri.want_data),
        extended: uri.want_data_ext.is_some(),
        frees: uri.free_data.is_some(),
        returns: uri.want_data_ext.is_some() && uri.extra("returns") == Some("1"),
        policies: uri.want_data_ext.is_some() && uri.extra("policies") == Some("1"),
        via,
    };
    Ok((uri, tags))
}

/// Where another schema differs from the topic's.
pub(crate) fn difference(known: &arrow_schema::Schema, other: &arrow_schema::Schema) -> String {
    let fields = known.fields().iter().zip(other.fields());
    match fields.into_iter().find(|(a, b)| a != b) {
        Some((known, other)) => format!("it has {other} where the topic has {known}"),
        None if known.fields().len() != other.fields().len() => {
            format!("it has {} columns, the topic {}", other.fields().len(), known.fields().len())
        }
        None => "the schemas' metadata differ".into(),
    }
}

fn boot_id() -> String {
    static BOOT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    BOOT.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
    })
    .clone()
}
