//! Clients that fetch metadata over one connection and bodies over another (`docs/wire.md`, "Two connections").

use arrowlane_dissociated::DataUri;
use arrowlane_transport::{Endpoint, Split, TransportError};

use crate::topic::{DATA_HALF, METADATA_HALF, TAGS};

/// What a first message asks for, by its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) side: Side,
    pub(super) extended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Both,
    Metadata,
    Data,
}

impl Wanted {
    pub(super) fn of(tag: u64) -> Option<Self> {
        let sides = [
            (Side::Both, [TAGS.want_data, TAGS.want_data_ext]),
            (Side::Metadata, METADATA_HALF),
            (Side::Data, DATA_HALF),
        ];
        let (side, [plain, _]) = sides.into_iter().find(|(_, tags)| tags.contains(&tag))?;
        Some(Self { side, extended: tag != plain })
    }
}

/// Two connections, whose tickets belong together, as one. From here on its tags are those of a combined one.
pub(super) fn joined(
    metadata: Box<dyn Endpoint>,
    data: Box<dyn Endpoint>,
) -> Result<Box<dyn Endpoint>, TransportError> {
    let uri = |scheme: &str, want_data, want_data_ext| DataUri {
        scheme: scheme.into(),
        want_data,
        want_data_ext: Some(want_data_ext),
        ..DataUri::default()
    };
    let of_metadata = uri(metadata.scheme(), METADATA_HALF[0], METADATA_HALF[1]);
    let of_data = uri(data.scheme(), TAGS.want_data, TAGS.want_data_ext);
    Ok(Box::new(Split::server((metadata, &of_metadata), (data, &of_data))?))
}
