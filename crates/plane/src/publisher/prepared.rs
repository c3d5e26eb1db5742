//! A publisher before it joins a lane.

use std::sync::Arc;

use arrowlane_memory::{DEFAULT_SEGMENT, Pool, PoolConfig};
use arrowlane_transport::shm::{Folder, ShmListener};

use super::{Lending, Publisher, PublisherOptions};
use crate::PlaneError;

/// What can be prepared on any thread before a publisher joins a lane: everything that may block.
pub struct Prepared {
    pub(super) topic: String,
    pub(super) listener: Option<ShmListener>,
    pub(super) pool: Pool,
    pub(super) lending: Lending,
    pub(super) options: PublisherOptions,
}

/// What those begin with whom nobody finds by a name: there may be one for each dataset, or each client.
const SMALL_SEGMENT: u64 = 4 << 20;

impl Publisher {
    /// Takes the topic's name and its first memory. Blocks: called off the event loop.
    pub fn prepare(folder: Arc<Folder>, topic: &str, options: PublisherOptions) -> Result<Prepared, PlaneError> {
        let prepared = Self::prepare_with(topic, options, DEFAULT_SEGMENT)?;
        let listener = ShmListener::bind(folder, topic)?;
        Ok(Prepared { listener: Some(listener), ..prepared })
    }

    /// As [`prepare`](Self::prepare), for one that nobody finds by its name: subscribers are [admitted](Self::admit).
    pub fn prepare_unlisted(topic: &str, options: PublisherOptions) -> Result<Prepared, PlaneError> {
        Self::prepare_with(topic, options, SMALL_SEGMENT)
    }

    fn prepare_with(topic: &str, options: PublisherOptions, segment: u64) -> Result<Prepared, PlaneError> {
        let lending = Lending::of_this_process()?;
        if let Some(refusal) = lending.refusal().filter(|_| options.strict) {
            return Err(refusal);
        }
        let pool = Pool::new(PoolConfig { segment, ..lending.pool(options.memory) })?;
        pool.grow(1)?;
        Ok(Prepared { topic: topic.into(), listener: None, pool, lending, options })
    }
}
