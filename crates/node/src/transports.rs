//! Which transports exist: the one place that knows.

use std::sync::LazyLock;

use arrowlane_dissociated::DataUri;
use arrowlane_plane::PlaneError;
use arrowlane_transport::{Endpoint, Listener, Transport, TransportError, shm::ShmTransport, tcp::TcpTransport};
use arrowlane_ucx::UcxTransport;
use url::Url;

static ALL: LazyLock<Vec<Box<dyn Transport>>> = LazyLock::new(|| {
    let ucx = UcxTransport::new(arrowlane_ucx::Options::default());
    vec![Box::new(ShmTransport), Box::new(TcpTransport::default()), Box::new(ucx)]
});

fn of(scheme: &str, address: &str) -> Result<&'static dyn Transport, PlaneError> {
    ALL.iter().find(|transport| transport.scheme() == scheme).map(|transport| &**transport).ok_or_else(|| {
        let known: Vec<_> = ALL.iter().map(|transport| format!("{}:", transport.scheme())).collect();
        bad(address, format!("there is no transport \"{scheme}:\"; there are {}", known.join(", ")))
    })
}

fn bad(address: &str, reason: String) -> PlaneError {
    TransportError::BadUri { address: address.into(), reason }.into()
}

/// Listens at `scheme:` or `scheme://host:port`. May block.
pub fn listen(address: &str) -> Result<Box<dyn Listener>, PlaneError> {
    let url = Url::parse(address).map_err(|error| bad(address, error.to_string()))?;
    Ok(of(url.scheme(), address)?.listen(&url)?)
}

/// Starts to connect to the server that a data URI names. May block.
pub fn connect(uri: &str) -> Result<Box<dyn Endpoint>, PlaneError> {
    let parsed = DataUri::parse(uri)?;
    Ok(of(&parsed.scheme, uri)?.connect(&parsed)?)
}
