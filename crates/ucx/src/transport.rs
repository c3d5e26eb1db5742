//! What `ucx:` names.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use arrowlane_dissociated::DataUri;
use arrowlane_transport::{Endpoint, Listener, Transport, TransportError};
use arrowlane_ucx_sys::{Library, Search, Version, load};
use url::Url;

use crate::{
    UcxEndpoint, UcxListener,
    connecting::Connecting,
    context::{DEVICES, Devices},
};

/// How the transport is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the library is looked for, when it is first needed; a process has one, so the first to ask decides.
    pub search: Search,
    /// So long a client waits for its connection.
    pub connect: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { search: Search::default(), connect: Duration::from_secs(10) }
    }
}

/// The library that a process uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its release.
    pub version: Version,
    /// The file it was loaded from.
    pub path: PathBuf,
}

/// `ucx://host:port`. Opens no library before something listens or connects, or [`probe`](Self::probe) is called.
#[derive(Debug, Clone, Default)]
pub struct UcxTransport {
    options: Options,
}

impl UcxTransport {
    /// A transport with these options.
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Loads the library where that has not happened, and says which it is. No socket is opened.
    ///
    /// Call this, or the first `listen` or `connect`, on a thread that nobody else reads the environment beside: see [`arrowlane_ucx_sys::load`].
    ///
    /// # Errors
    /// [`TransportError::Unavailable`] with what to install.
    pub fn probe(&self) -> Result<Found, TransportError> {
        let library = self.library()?;
        Ok(Found { version: library.version(), path: library.path().into() })
    }

    fn library(&self) -> Result<&'static Library, TransportError> {
        load(&self.options.search)
            .map_err(|error| TransportError::Unavailable { scheme: "ucx", reason: error.to_string() })
    }
}

impl Transport for UcxTransport {
    fn scheme(&self) -> &'static str {
        "ucx"
    }

    fn listen(&self, address: &Url) -> Result<Box<dyn Listener>, TransportError> {
        let bad = |reason: &str| TransportError::BadUri { address: address.to_string(), reason: reason.into() };
        if address.scheme() != "ucx" {
            return Err(bad("its scheme is not ucx"));
        }
        let host = address.host_str().filter(|host| !host.is_empty()).unwrap_or("127.0.0.1");
        if address.query().is_some() || !matches!(address.path(), "" | "/") {
            return Err(bad("it is ucx://host:port, with nothing behind it"));
        }
        let resolved = resolve(host, address.port().unwrap_or(0)).map_err(|reason| bad(&reason))?;
        let library = self.library()?;
        let first = resolved.first().ok_or_else(|| bad("its host has no address"))?;
        Ok(Box::new(UcxListener::bind(library, *first, host)?))
    }

    fn connect(&self, uri: &DataUri) -> Result<Box<dyn Endpoint>, TransportError> {
        let bad = |reason: &str| TransportError::BadUri { address: uri.to_string(), reason: reason.into() };
        if uri.scheme != "ucx" {
            return Err(bad("its scheme is not ucx"));
        }
        let host = uri.host.as_deref().ok_or_else(|| bad("it names no host"))?;
        let port = uri.port.filter(|port| *port > 0).ok_or_else(|| bad("it names no port"))?;
        let addresses = resolve(host, port).map_err(|reason| bad(&reason))?;
        let library = self.library()?;
        let peer = format!("ucx://{host}:{port}");
        let (name, value) = DEVICES;
        let devices = if uri.extra(name) == Some(value) { Devices::One } else { Devices::All };
        let (connection, connecting) =
            Connecting::start(library, uri.to_string(), peer, addresses, self.options.connect, devices)?;
        Ok(Box::new(UcxEndpoint::new(connection, Some(connecting))))
    }
}

/// The addresses of a host, each once.
fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let found = (bare, port).to_socket_addrs().map_err(|error| format!("its host cannot be resolved ({error})"))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}
