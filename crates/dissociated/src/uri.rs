//! Data URIs: where a stream's data comes from, and the tags it is asked for and given back with.

mod base64url;
mod percent;

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::{ProtocolError, Result};

/// `scheme://host:port/path?want_data=…[&free_data=…][&want_data_ext=…][&remote_handle=…][&…]`
///
/// Tags use all 64 bits. `Display` writes what [`parse`](Self::parse) reads: tags in decimal, the handle in base64url
/// without padding, everything else percent-encoded, `//` always there.
///
/// ```
/// use arrowlane_dissociated::DataUri;
/// let uri = DataUri::parse("shm:///run/user/1/x.sock?want_data=18446744073709551615&boot=b").unwrap();
/// assert_eq!(uri.want_data, u64::MAX);
/// assert_eq!(uri.extra("boot"), Some("b"));
/// assert_eq!(DataUri::parse(&uri.to_string()).unwrap(), uri);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DataUri {
    /// Names the transport; lower case.
    pub scheme: String,
    /// Host without port; an IPv6 address in brackets. None for paths on this machine.
    pub host: Option<String>,
    /// Port, if named.
    pub port: Option<u16>,
    /// Decoded path; starts with `/` or is empty.
    pub path: String,
    /// The tag to ask for data with.
    pub want_data: u64,
    /// The tag to give addresses back with; without it leases end with the connection.
    pub free_data: Option<u64>,
    /// The tag that declares the extension.
    pub want_data_ext: Option<u64>,
    /// What the transport needs to reach the memory.
    pub remote_handle: Option<Vec<u8>>,
    /// All further parameters, in order.
    pub extra: Vec<(String, String)>,
}

impl DataUri {
    /// Reads a URI.
    ///
    /// # Errors
    /// Text that is no URI with `//`, a missing or repeated parameter of ours, a tag that is not an unsigned 64-bit
    /// decimal, a handle that is not base64, a user name or fragment.
    pub fn parse(text: &str) -> Result<Self> {
        let fail = |why: String| ProtocolError::Uri(why);
        // The URL standard drops these silently, and "1\n2" would be read as 12.
        if text.contains(|c: char| c.is_ascii_control() || c == ' ') {
            return Err(fail("a space or control character".into()));
        }
        let url = Url::parse(text).map_err(|e| fail(e.to_string()))?;
        if !text[url.scheme().len()..].starts_with("://") {
            return Err(fail(format!("no '//' after '{}:'", url.scheme())));
        }
        if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(fail("a user name, password or fragment".into()));
        }
        let mut uri = Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str().filter(|h| !h.is_empty()).map(Into::into),
            port: url.port(),
            path: percent::decode(url.path()).ok_or_else(|| fail("the path is not UTF-8".into()))?,
            ..Self::default()
        };
        let mut want_data = None;
        for (name, value) in url.query_pairs() {
            match &*name {
                "want_data" => once(&name, &mut want_data, decimal(&name, &value)?)?,
                "free_data" => once(&name, &mut uri.free_data, decimal(&name, &value)?)?,
                "want_data_ext" => once(&name, &mut uri.want_data_ext, decimal(&name, &value)?)?,
                "remote_handle" => {
                    let handle = base64url::decode(&value).ok_or_else(|| fail("remote_handle is not base64".into()))?;
                    once(&name, &mut uri.remote_handle, handle)?;
                }
                _ => uri.extra.push((name.into_owned(), value.into_owned())),
            }
        }
        uri.want_data = want_data.ok_or_else(|| fail("want_data is missing".into()))?;
        Ok(uri)
    }

    /// The first further parameter of that name.
    #[must_use]
    pub fn extra(&self, name: &str) -> Option<&str> {
        self.extra.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl FromStr for DataUri {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for DataUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if let Some(host) = &self.host {
            f.write_str(host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        percent::encode(&self.path, percent::PATH, f)?;
        write!(f, "?want_data={}", self.want_data)?;
        if let Some(tag) = self.free_data {
            write!(f, "&free_data={tag}")?;
        }
        if let Some(tag) = self.want_data_ext {
            write!(f, "&want_data_ext={tag}")?;
        }
        if let Some(handle) = &self.remote_handle {
            write!(f, "&remote_handle={}", base64url::encode(handle))?;
        }
        for (name, value) in &self.extra {
            f.write_str("&")?;
            percent::encode(name, percent::QUERY, f)?;
            f.write_str("=")?;
            percent::encode(value, percent::QUERY, f)?;
        }
        Ok(())
    }
}

/// Digits only: no sign, no space, nothing that `parse` would forgive.
fn decimal(name: &str, value: &str) -> Result<u64> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| value.parse().ok()).flatten().ok_or_else(|| {
        let shown: String = value.chars().take(40).collect();
        ProtocolError::Uri(format!("{name}={shown:?} is not an unsigned 64-bit decimal"))
    })
}

fn once<T>(name: &str, slot: &mut Option<T>, value: T) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(ProtocolError::Uri(format!("{name} is there twice")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
