//! Who calls.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use crate::Identity;

/// A future that may be finished on any thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Decides who a caller is. Asked for every call that does not present a token which the server itself handed out.
///
/// Called from the runtime's threads. A future that is not done after 30 s counts as a refusal.
pub trait Authenticate: Send + Sync + 'static {
    /// The name that belongs to these credentials.
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials,
        peer: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Identity, Denied>>;
}

/// What a caller presents.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing at all.
    None,
    /// A token (RFC 6750).
    Bearer(String),
    /// A name and a password (RFC 7617, or Flight's own handshake).
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
}

/// Does not show secrets.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bearer(_) => f.write_str("Bearer(…)"),
            Self::Basic { user, .. } => write!(f, "Basic({user:?}, …)"),
        }
    }
}

/// A refusal, with what the caller is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

/// Where a token of the server's own travels in Flight's older handshake.
pub(crate) const OLD_TOKEN: &str = "auth-token-bin";

impl Credentials {
    /// What the headers of a call say.
    ///
    /// # Errors
    /// A header that is there and cannot be read: that is not the same as nothing.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Denied> {
        let unreadable = || Denied("the authorization header is neither Bearer nor Basic".to_owned());
        if let Some(value) = headers.get(http::header::AUTHORIZATION) {
            let text = value.to_str().map_err(|_| unreadable())?;
            let (scheme, rest) = text.split_once(' ').ok_or_else(unreadable)?;
            if scheme.eq_ignore_ascii_case("bearer") {
                return Ok(Self::Bearer(rest.trim().to_owned()));
            }
            if !scheme.eq_ignore_ascii_case("basic") {
                return Err(unreadable());
            }
            let decoded = STANDARD.decode(rest.trim()).map_err(|_| unreadable())?;
            let decoded = String::from_utf8(decoded).map_err(|_| unreadable())?;
            let (user, password) = decoded.split_once(':').ok_or_else(unreadable)?;
            return Ok(Self::Basic { user: user.to_owned(), password: password.to_owned() });
        }
        if let Some(value) = headers.get(OLD_TOKEN) {
            // Binary headers are base64 on the wire, with or without padding.
            let text = value.to_str().map_err(|_| unreadable())?.trim_end_matches('=');
            let decoded = base64::engine::general_purpose::STANDARD_NO_PAD.decode(text).map_err(|_| unreadable())?;
            return String::from_utf8(decoded).map(Self::Bearer).map_err(|_| unreadable());
        }
        Ok(Self::None)
    }

    /// The value of the authorization header; `None` where there is nothing to present.
    pub(crate) fn header(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Bearer(token) => Some(format!("Bearer {token}")),
            Self::Basic { user, password } => Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Result<Credentials, Denied> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, value.parse().unwrap());
        Credentials::of(&headers)
    }

    #[test]
    fn what_is_written_into_the_header_is_read_from_it() {
        let basic = Credentials::Basic { user: "ada".into(), password: "l:o".into() };
        for credentials in [basic, Credentials::Bearer("t.o-k".into())] {
            assert_eq!(of(&credentials.header().unwrap()), Ok(credentials));
        }
        assert_eq!(Credentials::of(&HeaderMap::new()), Ok(Credentials::None));
    }

    #[test]
    fn an_unreadable_header_is_not_taken_for_none() {
        for value in ["Bearer", "Digest x", "Basic !!", "Basic YWRh", "x"] {
            assert!(of(value).is_err(), "{value}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", Credentials::Basic { user: "ada".into(), password: "hunter2".into() });
        assert!(shown.contains("ada") && !shown.contains("hunter2"));
        assert!(!format!("{:?}", Credentials::Bearer("hunter2".into())).contains("hunter2"));
    }
}
