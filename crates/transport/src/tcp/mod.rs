//! Over a network: TCP sockets on the reactor (`docs/adr/0011-tcp-on-the-reactor.md`).
//!
//! Untagged and tagged messages share one connection, framed as `docs/wire.md` ("TCP") has it. Memory is not lent: bodies
//! are sent from where they lie and arrive in memory of their own. Nothing is listened to but what is asked for.

mod address;
mod connecting;
mod endpoint;
mod framing;
mod input;
mod line;
mod linger;
mod listener;
mod output;
mod socket;

use std::time::Duration;

use arrowlane_dissociated::DataUri;
use url::Url;

pub use endpoint::TcpEndpoint;
pub use listener::TcpListener;

use self::connecting::{Connecting, Watch};
use crate::{Endpoint, Listener, Transport, TransportError};

/// How connections are made.
#[derive(Debug, Clone)]
pub struct TcpConfig {
    /// A connection that does not stand after so long fails.
    pub connect_within: Duration,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self { connect_within: Duration::from_secs(10) }
    }
}

/// The scheme `tcp`.
#[derive(Debug, Clone, Default)]
pub struct TcpTransport {
    config: TcpConfig,
}

impl TcpTransport {
    /// With this configuration.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn new(config: TcpConfig) -> Result<Self, TransportError> {
        Ok(Self { config })
    }
}

fn own(scheme: &str, address: &impl ToString) -> Result<(), TransportError> {
    if scheme == address::SCHEME {
        return Ok(());
    }
    Err(TransportError::BadUri { address: address.to_string(), reason: "its scheme is not tcp".into() })
}

impl Transport for TcpTransport {
    fn scheme(&self) -> &'static str {
        address::SCHEME
    }

    fn listen(&self, address: &Url) -> Result<Box<dyn Listener>, TransportError> {
        own(address.scheme(), address)?;
        let addresses = address::resolve(address.as_str(), address.host_str(), address.port())?;
        Ok(Box::new(TcpListener::bind(address.as_str(), addresses)?))
    }

    fn connect(&self, uri: &DataUri) -> Result<Box<dyn Endpoint>, TransportError> {
        own(&uri.scheme, uri)?;
        let text = uri.to_string();
        let addresses = address::resolve(&text, uri.host.as_deref(), uri.port)?;
        let mut watch = Watch::new(self.config.connect_within)?;
        let connecting = Connecting::start(addresses, &mut watch)?;
        Ok(Box::new(TcpEndpoint::connecting(connecting, watch, text)))
    }
}
