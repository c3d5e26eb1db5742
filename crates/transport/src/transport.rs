//! What a scheme names: how one connects, and where connections come in.

use arrowlane_dissociated::DataUri;
use rustix::fd::BorrowedFd;
use url::Url;

use crate::{Endpoint, TransportError};

/// A way in which processes are connected.
pub trait Transport: Send + Sync {
    /// The URI scheme, without a colon.
    fn scheme(&self) -> &'static str;

    /// Listens at `scheme://host:port`; port 0 leaves the choice of one to the system. Options of the transport are the
    /// address's query. May block: called off event loops.
    ///
    /// # Errors
    /// When the address is not this transport's, is taken, or what the transport needs is not on this machine
    /// ([`TransportError::Unavailable`]).
    fn listen(&self, address: &Url) -> Result<Box<dyn Listener>, TransportError>;

    /// Starts to connect to the server that a data URI names. Whether that works shows in the endpoint's
    /// [`receive`](Endpoint::receive): the first message that it hands over is a greeting, the server's own where the
    /// transport has one, else the URI as soon as the connection stands. May block for a name to be resolved: called
    /// off event loops.
    ///
    /// # Errors
    /// When the URI is not this transport's, or it is known at once that nobody can be reached there.
    fn connect(&self, uri: &DataUri) -> Result<Box<dyn Endpoint>, TransportError>;
}

/// Where connections come in. Closed on drop; the connections that came live on.
pub trait Listener: Send {
    /// Polls readable when [`accept`](Self::accept) has something to do.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Where clients reach it: a URI without a query, with the port that was bound.
    fn address(&self) -> String;

    /// What clients need beside the address and the tags: further parameters of the URIs that lead here.
    fn parameters(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The next connection, or `None` when nobody waits. Never blocks.
    ///
    /// # Errors
    /// When one could not be taken; those behind it still can be.
    fn accept(&mut self) -> Result<Option<Box<dyn Endpoint>>, TransportError>;
}
