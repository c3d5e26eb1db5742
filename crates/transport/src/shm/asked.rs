//! Tags that a client was told.

use arrowlane_dissociated::DataUri;

use crate::TransportError;

/// The tags of a URI. Servers greet with one URI; what they offer beside that has others.
pub(super) struct Asked {
    want_data: u64,
    want_data_ext: Option<u64>,
}

impl Asked {
    pub(super) fn of(uri: &DataUri) -> Self {
        Self { want_data: uri.want_data, want_data_ext: uri.want_data_ext }
    }

    /// A greeting with these tags in it.
    pub(super) fn tags_in(self, greeting: &str) -> Result<String, TransportError> {
        let Self { want_data, want_data_ext } = self;
        let greeting = DataUri::parse(greeting).map_err(|error| TransportError::Framing(error.to_string()))?;
        Ok(DataUri { want_data, want_data_ext, ..greeting }.to_string())
    }
}
