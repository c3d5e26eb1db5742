//! From the text of an address to sockets' addresses, and back.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::TransportError;

/// The scheme, without a colon.
pub(super) const SCHEME: &str = "tcp";

/// The parameter that asks for TLS.
pub(super) const TLS: &str = "tls";

/// What the parameter says: `1` and `0` are all it can be.
pub(super) fn wants_tls(text: &str, value: Option<&str>) -> Result<bool, TransportError> {
    match value {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(other) => Err(TransportError::BadUri {
            address: text.into(),
            reason: format!("tls is {:?}; it can be 1 or 0", other.chars().take(20).collect::<String>()),
        }),
    }
}

/// The addresses that a host's name and a port mean, in the system's order. Blocks while the name is resolved.
pub(super) fn resolve(text: &str, host: Option<&str>, port: Option<u16>) -> Result<Vec<SocketAddr>, TransportError> {
    let bad = |reason: &str| TransportError::BadUri { address: text.into(), reason: reason.into() };
    let host = host.filter(|host| !host.is_empty()).ok_or_else(|| bad("it names no host"))?;
    let port = port.ok_or_else(|| bad("it names no port"))?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let unknown = |reason: String| TransportError::BadUri {
        address: text.into(),
        reason: format!("the host \"{bare}\" was not found ({reason})"),
    };
    let found: Vec<_> = (bare, port).to_socket_addrs().map_err(|error| unknown(error.to_string()))?.collect();
    if found.is_empty() { Err(unknown("it has no address".into())) } else { Ok(found) }
}

/// As it is written: an IPv6 address in brackets.
pub(super) fn display(address: SocketAddr) -> String {
    format!("{SCHEME}://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in ["127.0.0.1:80", "[::1]:9"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(display(address), format!("tcp://{text}"));
            let (host, port) = text.rsplit_once(':').expect("two parts");
            assert_eq!(resolve("x", Some(host), port.parse().ok()).expect("resolved"), [address]);
        }
    }

    #[test]
    fn an_address_without_host_or_port_is_refused() {
        for (host, port) in [(None, Some(1)), (Some(""), Some(1)), (Some("127.0.0.1"), None), (Some("a b"), Some(1))] {
            let error = resolve("tcp://x", host, port).expect_err("refused");
            assert!(matches!(error, TransportError::BadUri { .. }), "{error}");
        }
    }
}
