//! Where a ticket can be redeemed, and how a Flight service is addressed.

use arrowlane_dissociated::DataUri;
use url::{Host, Url};

use crate::FlightError;

/// "Over the connection that this came through" (Flight's own words for it).
pub const REUSE_CONNECTION: &str = "arrow-flight-reuse-connection://?";

/// The request header with which a client asks for data URIs: `1` for combined ones, `split` for the example's shape.
pub const LOCATIONS_HEADER: &str = "arrowlane-locations";

/// The request header with which a client asks `DoGet` for metadata alone, because the bodies come over a data URI.
pub const METADATA_ONLY_HEADER: &str = "arrowlane-metadata-only";

/// Longest location that is read.
const MAX_LOCATION: usize = 16 << 10;

/// One location of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Over the connection that the FlightInfo came through.
    Reuse,
    /// At another Flight service.
    Flight(String),
    /// By Dissociated IPC.
    Data(DataUri),
    /// Something else, `https:` for instance.
    Other(String),
}

impl Location {
    /// Reads a location. What cannot be read is `Other`: one location that nobody understands does not spoil the rest.
    pub fn read(uri: &str) -> Self {
        if uri.starts_with("arrow-flight-reuse-connection:") {
            return Self::Reuse;
        }
        if uri.len() > MAX_LOCATION {
            return Self::Other(uri.chars().take(200).collect());
        }
        if let Ok(data) = DataUri::parse(uri) {
            return Self::Data(data);
        }
        match ControlUri::parse(uri) {
            Ok(_) => Self::Flight(uri.to_owned()),
            Err(_) => Self::Other(uri.to_owned()),
        }
    }
}

/// The address of a Flight service: `grpc+tcp://host:port`, `grpc://…` (the same) or `grpc+tls://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlUri {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Name or address; an IPv6 address in brackets.
    pub host: String,
    /// The port; 0 lets a server's system choose.
    pub port: u16,
}

impl ControlUri {
    /// Reads an address.
    ///
    /// # Errors
    /// [`FlightError::BadUri`] for another scheme, a missing host or port, a user name, path, query or fragment.
    pub fn parse(text: &str) -> Result<Self, FlightError> {
        let fail =
            |reason: &str| FlightError::BadUri { uri: text.chars().take(200).collect(), reason: reason.to_owned() };
        if text.contains(|c: char| c.is_ascii_control() || c == ' ') {
            return Err(fail("a space or control character"));
        }
        let url = Url::parse(text).map_err(|error| fail(&error.to_string()))?;
        let tls = match url.scheme() {
            "grpc+tcp" | "grpc" => false,
            "grpc+tls" => true,
            _ => return Err(fail("its scheme is none of grpc+tcp, grpc and grpc+tls")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(fail("credentials belong into the options, not into the address"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(fail("a path, query or fragment"));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => format!("[{address}]"),
            _ => return Err(fail("no host")),
        };
        let port = url.port().ok_or_else(|| fail("no port"))?;
        Ok(Self { tls, host, port })
    }

    /// `host:port`.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl std::fmt::Display for ControlUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}", if self.tls { "grpc+tls" } else { "grpc+tcp" }, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("grpc+tcp://127.0.0.1:0", "grpc+tcp://127.0.0.1:0"),
            ("grpc://localhost:8815/", "grpc+tcp://localhost:8815"),
            ("grpc+tls://[::1]:1", "grpc+tls://[::1]:1"),
        ] {
            assert_eq!(ControlUri::parse(text).unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_is_no_address_of_a_service_is_refused() {
        for text in [
            "",
            "127.0.0.1:1",
            "http://a:1",
            "grpc+tcp://a",
            "grpc+tcp://:1",
            "grpc+tcp://a:99999",
            "grpc+tcp://u:p@a:1",
            "grpc+tcp://a:1/x",
            "grpc+tcp://a:1?want_data=1",
            "grpc+tcp://a:\n1",
            "grpc+unix:///a",
        ] {
            assert!(ControlUri::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_location_that_nobody_understands_is_kept_as_it_is() {
        assert_eq!(Location::read(REUSE_CONNECTION), Location::Reuse);
        assert!(matches!(Location::read("ucx://h:1?want_data=7"), Location::Data(uri) if uri.want_data == 7));
        assert!(matches!(Location::read("grpc+tls://h:1"), Location::Flight(_)));
        for text in ["https://x/y", "ucx://h:1?want_data=x", "", "::"] {
            assert_eq!(Location::read(text), Location::Other(text.to_owned()));
        }
    }
}
