//! Clients that fetch metadata over one connection and bodies over another (`docs/wire.md`, "Two connections").

use arrowlane_dissociated::DataUri;
use arrowlane_transport::{Endpoint, Split, TransportError};

use crate::topic::{BODIES_ALONE, DATA_HALF, METADATA_HALF, TAGS};

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
    /// Bodies, whose metadata comes by other means.
    Bodies,
}

/// Tagged messages that came behind a ticket, in their order.
pub(super) type Rest = Vec<(u64, Vec<u8>)>;

/// A visitor that waits for the other half.
pub(super) struct Half {
    pub(super) wanted: Wanted,
    /// As it was shown, with all that it asks for.
    pub(super) ticket: Vec<u8>,
    /// What it said while it waited.
    pub(super) rest: Rest,
}

impl Half {
    /// Whether the two belong together.
    pub(super) fn fits(&self, wanted: Wanted, ticket: &[u8]) -> bool {
        let sides = [self.wanted.side, wanted.side];
        (sides == [Side::Metadata, Side::Data] || sides == [Side::Data, Side::Metadata])
            && self.wanted.extended == wanted.extended
            && self.ticket == ticket
    }
}

/// What was said over both, with the tags of a combined connection.
pub(super) fn said(rest: Rest) -> Rest {
    let combined = |tag| match tag {
        tag if tag == METADATA_HALF[1] => TAGS.want_data_ext,
        tag => tag,
    };
    rest.into_iter().map(|(tag, body)| (combined(tag), body)).collect()
}

impl Wanted {
    pub(super) fn of(tag: u64) -> Option<Self> {
        let sides = [
            (Side::Both, [TAGS.want_data, TAGS.want_data_ext]),
            (Side::Metadata, METADATA_HALF),
            (Side::Data, DATA_HALF),
            (Side::Bodies, [BODIES_ALONE; 2]),
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
