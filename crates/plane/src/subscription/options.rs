//! What is subscribed to, and how.

use crate::Request;

/// What to subscribe to.
#[derive(Debug, Clone)]
pub enum Target {
    /// A topic of this user on this machine.
    Topic(String),
}

/// How a subscription behaves.
#[derive(Debug, Clone)]
pub struct SubscriptionOptions {
    /// Wait for a publisher that is not there yet. Otherwise [`TransportError::NotFound`](arrowlane_transport::TransportError::NotFound).
    pub wait: bool,
    /// Wait for the next publisher when one goes away without ending its stream ([`Event::Lost`](crate::Event::Lost),
    /// [`Event::Reconnected`](crate::Event::Reconnected)). Otherwise [`PlaneError::PublisherLost`](crate::PlaneError::PublisherLost).
    pub reconnect: bool,
    /// How it would like to be served.
    pub request: Request,
    /// Fail ([`PlaneError::CopyRequired`](crate::PlaneError::CopyRequired)) where batches are not lent but copied on their way.
    pub strict: bool,
}

impl Default for SubscriptionOptions {
    fn default() -> Self {
        Self { wait: true, reconnect: false, request: Request::default(), strict: false }
    }
}
