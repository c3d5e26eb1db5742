//! Which transports exist: the one place that knows.

use std::sync::LazyLock;

use arrowlane_dissociated::DataUri;
use arrowlane_plane::PlaneError;
use arrowlane_transport::{
    Endpoint, Listener, Transport, TransportError,
    shm::ShmTransport,
    tcp::{Identity, Roots, TcpConfig, TcpTransport},
};
#[cfg(target_os = "linux")]
use arrowlane_ucx::UcxTransport;
use url::Url;

static ALL: LazyLock<Vec<Box<dyn Transport>>> = LazyLock::new(|| {
    vec![
        Box::new(ShmTransport),
        Box::new(TcpTransport::default()),
        #[cfg(target_os = "linux")]
        Box::new(UcxTransport::new(arrowlane_ucx::Options::default())),
    ]
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

/// Release and file of the UCX library, or what is missing. Loads it.
#[cfg(target_os = "linux")]
pub fn probe_ucx() -> Result<String, String> {
    let found = UcxTransport::new(arrowlane_ucx::Options::default()).probe().map_err(|error| error.to_string())?;
    Ok(format!("{} at {}", found.version, found.path.display()))
}

/// Why there is no UCX.
#[cfg(not(target_os = "linux"))]
pub fn probe_ucx() -> Result<String, String> {
    Err("ucx: is there on Linux only".into())
}

/// How the ends of a connection in TLS know each other. All in PEM.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// What a server shows: its certificates and its key.
    pub identity: Option<(String, String)>,
    /// Whom a client trusts, where that is not whom the system does.
    pub roots: Option<String>,
    /// The name that a server's certificate has to have, where that is not its host's.
    pub server_name: Option<String>,
}

impl Tls {
    /// Only `tcp:` can do that.
    fn tcp(&self) -> Result<TcpTransport, PlaneError> {
        let identity = self
            .identity
            .clone()
            .map(|(certificates, key)| Identity { certificates: certificates.into_bytes(), key: key.into_bytes() });
        let roots = self.roots.clone().map_or(Roots::System, |roots| Roots::Pem(roots.into_bytes()));
        let server_name = self.server_name.clone();
        Ok(TcpTransport::new(TcpConfig { identity, roots, server_name, ..TcpConfig::default() })?)
    }
}

/// Listens at `scheme:` or `scheme://host:port`. May block.
pub fn listen(address: &str, tls: &Tls) -> Result<Box<dyn Listener>, PlaneError> {
    let url = Url::parse(address).map_err(|error| bad(address, error.to_string()))?;
    if url.scheme() == "tcp" && tls.identity.is_some() {
        return Ok(tls.tcp()?.listen(&url)?);
    }
    Ok(of(url.scheme(), address)?.listen(&url)?)
}

/// Starts to connect to the server that a data URI names. May block.
pub fn connect(uri: &DataUri, tls: &Tls) -> Result<Box<dyn Endpoint>, PlaneError> {
    if uri.scheme == "tcp" && (tls.roots.is_some() || tls.server_name.is_some()) {
        return Ok(tls.tcp()?.connect(uri)?);
    }
    Ok(of(&uri.scheme, &uri.to_string())?.connect(uri)?)
}
