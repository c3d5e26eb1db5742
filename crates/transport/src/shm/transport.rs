//! Shared memory by its scheme.

use std::sync::Arc;

use arrowlane_dissociated::DataUri;
use url::Url;

use super::{Folder, ShmListener, path_of_uri};
use crate::{Endpoint, Listener, Transport, TransportError};

/// Names that begin so are servers' own, and no topics.
const SERVER: &str = "@server-";

/// `shm:`, between processes of one user on one machine. Listeners get a socket of their own in the user's folder.
pub struct ShmTransport;

impl Transport for ShmTransport {
    fn scheme(&self) -> &'static str {
        "shm"
    }

    /// `shm:` and nothing else: the path is chosen here.
    fn listen(&self, address: &Url) -> Result<Box<dyn Listener>, TransportError> {
        if address.has_host() || !matches!(address.path(), "" | "/") || address.query().is_some() {
            return Err(bad(address.as_str(), "write just \"shm:\"; the path of the socket is chosen for you"));
        }
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).map_err(|e| TransportError::io("getrandom", std::io::Error::other(e)))?;
        let name = format!("{SERVER}{}-{:016x}", std::process::id(), u64::from_ne_bytes(random));
        Ok(Box::new(ShmListener::bind(Arc::new(Folder::open_default()?), &name)?))
    }

    fn connect(&self, uri: &DataUri) -> Result<Box<dyn Endpoint>, TransportError> {
        let path = path_of_uri(&uri.path);
        let (Some(parent), Some(file), None) = (path.parent(), path.file_name().and_then(|f| f.to_str()), &uri.host)
        else {
            return Err(bad(&uri.path, "it names no socket of this machine"));
        };
        let folder = Folder::open_existing(parent)?;
        Ok(Box::new(ShmListener::connect_file(&folder, file)?))
    }
}

fn bad(address: &str, reason: &str) -> TransportError {
    TransportError::BadUri { address: address.into(), reason: reason.into() }
}
