//! Who one is and whom one trusts: certificates and keys for TLS.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::TLS13,
};

use super::{address::SCHEME, tls::Tls};
use crate::TransportError;

/// A server's certificate and key.
#[derive(Clone)]
pub struct Identity {
    /// PEM: the server's certificate, and those between it and a root.
    pub certificates: Vec<u8>,
    /// PEM: the private key, as PKCS #8, PKCS #1 or SEC 1.
    pub key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)") // a key is nobody's to print
    }
}

/// Whose signature a client believes.
#[derive(Debug, Clone, Default)]
pub enum Roots {
    /// Those that the operating system, or `SSL_CERT_FILE`, names. Read when the first connection with TLS is made.
    #[default]
    System,
    /// PEM: these certificates and no others.
    Pem(Vec<u8>),
}

/// What TLS is made with, checked.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    server: Option<Arc<ServerConfig>>,
    roots: Roots,
    server_name: Option<String>,
    client: OnceLock<Arc<ClientConfig>>,
}

impl Credentials {
    pub(super) fn new(
        identity: Option<&Identity>,
        roots: Roots,
        server_name: Option<String>,
    ) -> Result<Self, TransportError> {
        let server = identity.map(server_config).transpose()?.map(Arc::new);
        let this = Self { server, roots, server_name, client: OnceLock::new() };
        if let Roots::Pem(_) = this.roots {
            this.client()?;
        }
        Ok(this)
    }

    /// What a listener accepts connections with.
    pub(super) fn server(&self) -> Result<Arc<ServerConfig>, TransportError> {
        self.server.clone().ok_or_else(|| TransportError::Unavailable {
            scheme: SCHEME,
            reason: "tls=1 was asked for, and no certificate and key are configured".into(),
        })
    }

    fn client(&self) -> Result<Arc<ClientConfig>, TransportError> {
        if let Some(known) = self.client.get() {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(client_config(&self.roots)?);
        Ok(Arc::clone(self.client.get_or_init(|| made)))
    }

    /// A client's session with the server of that name.
    pub(super) fn connect(&self, host: &str, peer: String) -> Result<Tls, TransportError> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let name = self.server_name.as_deref().unwrap_or(bare);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| bad(format!("\"{name}\" is no name that a certificate can have")))?;
        let session = ClientConnection::new(self.client()?, name).map_err(|e| bad(e.to_string()))?;
        Ok(Tls::new(session, peer))
    }
}

/// A server's session with whoever has connected.
pub(super) fn accept(config: Arc<ServerConfig>, peer: String) -> Result<Tls, TransportError> {
    let session = ServerConnection::new(config).map_err(|e| bad(e.to_string()))?;
    Ok(Tls::new(session, peer))
}

fn server_config(identity: &Identity) -> Result<ServerConfig, TransportError> {
    let chain = certificates(&identity.certificates)?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key)
        .map_err(|e| bad(format!("the server's key is not a private key in PEM: {e}")))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(|e| bad(e.to_string()))?;
    let made = builder.with_no_client_auth().with_single_cert(chain, key);
    let mut made = made.map_err(|e| bad(format!("certificate and key do not go together: {e}")))?;
    // A client that comes back is as good as a new one.
    made.send_tls13_tickets = 0;
    Ok(made)
}

fn client_config(roots: &Roots) -> Result<ClientConfig, TransportError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Pem(pem) => {
            for certificate in certificates(pem)? {
                store.add(certificate).map_err(|e| bad(format!("a root certificate: {e}")))?;
            }
        }
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            if store.add_parsable_certificates(found.certs).0 == 0 {
                let why = found.errors.first().map_or_else(String::new, |e| format!(" ({e})"));
                return Err(bad(format!(
                    "this system names no certificate authorities{why}: install ca-certificates, or configure roots"
                )));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(|e| bad(e.to_string()))?;
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(some) if !some.is_empty() => Ok(some),
        Ok(_) => Err(bad("there is no certificate in the PEM text".into())),
        Err(error) => Err(bad(format!("a certificate is not PEM: {error}"))),
    }
}

fn bad(reason: String) -> TransportError {
    TransportError::Credentials { reason }
}
