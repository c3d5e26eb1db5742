//! Metadata and body of one message, until both are there.

use super::ReceivedBody;
use crate::{Header, KeyValues};

/// A message of which some part has arrived.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) header: Option<(Header, KeyValues)>,
    pub(super) body: Option<ReceivedBody>,
}

impl Slot {
    pub(super) fn bodyless(&self) -> bool {
        self.header.as_ref().is_some_and(|(h, _)| h.body_length() == 0)
    }

    pub(super) fn complete(&self) -> bool {
        self.header.is_some() && (self.body.is_some() || self.bodyless())
    }
}
