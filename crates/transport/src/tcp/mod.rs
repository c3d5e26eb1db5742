//! Over a network: TCP sockets on the reactor (`docs/adr/0011-tcp-on-the-reactor.md`).
//!
//! Untagged and tagged messages share one connection, framed as `docs/wire.md` ("TCP") has it. Memory is not lent: bodies
//! are sent from where they lie and arrive in memory of their own. Nothing is listened to but what is asked for.

mod address;
mod connecting;
mod credentials;
mod endpoint;
mod framing;
mod input;
mod line;
mod listener;
mod output;
mod socket;
mod tls;

use std::{sync::Arc, time::Duration};

use arrowlane_dissociated::DataUri;
use url::Url;

pub use credentials::{Identity, Roots};
pub use endpoint::TcpEndpoint;
pub use listener::TcpListener;

use self::{
    connecting::{Connecting, Watch},
    credentials::Credentials,
};
use crate::{Endpoint, Listener, Transport, TransportError};

/// How connections are made.
#[derive(Debug, Clone)]
pub struct TcpConfig {
    /// A connection that does not stand after so long, TLS included, fails.
    pub connect_within: Duration,
    /// What listeners with `tls=1` show to clients.
    pub identity: Option<Identity>,
    /// By what clients know servers with `tls=1`.
    pub roots: Roots,
    /// The name that a server's certificate has to have, where that is not the host of its URI.
    pub server_name: Option<String>,
}

impl Default for TcpConfig {
    fn default() -> Self {
        let connect_within = Duration::from_secs(10);
        Self { connect_within, identity: None, roots: Roots::System, server_name: None }
    }
}

/// The scheme `tcp`, and `tcp` with the parameter `tls=1`: the same messages in TLS 1.3.
///
/// A listening address may have that parameter and no other; a client does what the URI says. Clients check the server's
/// certificate against [`TcpConfig::roots`] and the URI's host; servers ask for none.
#[derive(Debug, Clone)]
pub struct TcpTransport {
    connect_within: Duration,
    credentials: Arc<Credentials>,
}

impl Default for TcpTransport {
    /// With the default configuration: nothing to prove itself by, the system's roots.
    fn default() -> Self {
        let TcpConfig { connect_within, .. } = TcpConfig::default();
        Self { connect_within, credentials: Arc::default() }
    }
}

impl TcpTransport {
    /// With this configuration.
    ///
    /// # Errors
    /// [`TransportError::Credentials`] when certificates or key cannot be used.
    pub fn new(config: TcpConfig) -> Result<Self, TransportError> {
        let credentials = Credentials::new(config.identity.as_ref(), config.roots, config.server_name)?;
        Ok(Self { connect_within: config.connect_within, credentials: Arc::new(credentials) })
    }

    /// As [`listen`](Transport::listen).
    ///
    /// # Errors
    /// As there.
    pub fn bind(&self, address: &Url) -> Result<TcpListener, TransportError> {
        let text = address.as_str();
        own(address.scheme(), text)?;
        let mut tls = None;
        for (name, value) in address.query_pairs() {
            if name != address::TLS || tls.replace(value.into_owned()).is_some() {
                let reason = "tls=1 is the only parameter that it can have, once".into();
                return Err(TransportError::BadUri { address: text.into(), reason });
            }
        }
        let tls = address::wants_tls(text, tls.as_deref())?.then(|| self.credentials.server()).transpose()?;
        let addresses = address::resolve(text, address.host_str(), address.port())?;
        TcpListener::bind(text, addresses, tls)
    }

    /// As [`connect`](Transport::connect).
    ///
    /// # Errors
    /// As there.
    pub fn dial(&self, uri: &DataUri) -> Result<TcpEndpoint, TransportError> {
        let text = uri.to_string();
        own(&uri.scheme, &text)?;
        let addresses = address::resolve(&text, uri.host.as_deref(), uri.port)?;
        let peer = format!("{}:{}", uri.host.as_deref().unwrap_or_default(), uri.port.unwrap_or_default());
        let tls = match address::wants_tls(&text, uri.extra(address::TLS))? {
            false => None,
            true => Some(Box::new(self.credentials.connect(uri.host.as_deref().unwrap_or_default(), peer.clone())?)),
        };
        let mut watch = Watch::new(peer, self.connect_within)?;
        let connecting = Connecting::start(addresses, tls, &mut watch)?;
        Ok(TcpEndpoint::connecting(connecting, watch, text))
    }
}

fn own(scheme: &str, text: &str) -> Result<(), TransportError> {
    if scheme == address::SCHEME {
        return Ok(());
    }
    Err(TransportError::BadUri { address: text.into(), reason: "its scheme is not tcp".into() })
}

impl Transport for TcpTransport {
    fn scheme(&self) -> &'static str {
        address::SCHEME
    }

    fn listen(&self, address: &Url) -> Result<Box<dyn Listener>, TransportError> {
        Ok(Box::new(self.bind(address)?))
    }

    fn connect(&self, uri: &DataUri) -> Result<Box<dyn Endpoint>, TransportError> {
        Ok(Box::new(self.dial(uri)?))
    }
}
