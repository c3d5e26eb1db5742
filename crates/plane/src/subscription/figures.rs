//! What a subscription knows of itself, also after its end.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use arrowlane_dissociated::{Fields, ProtocolError};
use parking_lot::Mutex;

use crate::{Policy, link::Link};

/// A subscription's figures at a moment.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionStatistics {
    /// How it is served; `None` until its publisher said so.
    pub policy: Option<Policy>,
    /// Batches that it was not sent because its queue was full, as its publishers said.
    pub dropped: u64,
    /// How often it went over to another publisher.
    pub reconnects: u64,
    /// Leases that have not ended: batches, and the dictionaries that it keeps.
    pub leases: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// The counts behind them. Read from any thread.
#[derive(Default)]
pub struct Figures {
    policy: Mutex<Option<Policy>>,
    /// Told by publishers before the present one.
    before: AtomicU64,
    dropped: AtomicU64,
    reconnects: AtomicU64,
    links: Mutex<Vec<Weak<Link>>>,
}

impl Figures {
    /// What they are now.
    pub fn read(&self) -> SubscriptionStatistics {
        let links: Vec<_> = self.links.lock().iter().filter_map(Weak::upgrade).collect();
        SubscriptionStatistics {
            policy: *self.policy.lock(),
            dropped: self.before.load(Ordering::Acquire) + self.dropped.load(Ordering::Acquire),
            reconnects: self.reconnects.load(Ordering::Acquire),
            leases: links.iter().map(|link| link.leases()).sum(),
            bytes: links.iter().map(|link| link.bytes()).sum(),
        }
    }

    /// Bytes of the queue that it was granted; 0 until its publisher said so.
    pub(super) fn queue_bytes(&self) -> u64 {
        self.policy.lock().map_or(0, |policy| policy.queue.bytes)
    }

    /// Leases over this connection count from now on.
    pub(super) fn connected(&self, link: &Arc<Link>) {
        let mut links = self.links.lock();
        links.retain(|known| known.strong_count() > 0);
        links.push(Arc::downgrade(link));
    }

    /// Another publisher counts from nothing.
    pub(super) fn lost(&self) {
        self.before.fetch_add(self.dropped.swap(0, Ordering::AcqRel), Ordering::AcqRel);
        *self.policy.lock() = None;
    }

    pub(super) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::AcqRel);
    }

    /// What the publisher said; the drops all together when that is news.
    pub(super) fn told(&self, fields: &Fields) -> Result<Option<u64>, ProtocolError> {
        if let Some(policy) = Policy::read(fields)? {
            *self.policy.lock() = Some(policy);
        }
        let Some(dropped) = fields.number("dropped")? else { return Ok(None) };
        let known = self.dropped.swap(dropped, Ordering::AcqRel);
        if dropped < known {
            let detail = format!("{dropped} batches dropped, after {known}");
            return Err(ProtocolError::Layout { what: "notice", detail });
        }
        Ok((dropped > known).then(|| self.read().dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(count: &str) -> Fields {
        Fields::parse(&format!("dropped={count}")).expect("fields")
    }

    #[test]
    fn drops_add_up_over_publishers_and_never_run_backwards() {
        let figures = Figures::default();
        assert_eq!(figures.told(&dropped("3")), Ok(Some(3)));
        assert_eq!(figures.told(&dropped("3")), Ok(None));
        figures.lost();
        assert_eq!(figures.told(&dropped("2")), Ok(Some(5)));
        assert!(figures.told(&dropped("1")).is_err());
        assert!(figures.told(&dropped("many")).is_err());
        assert_eq!(figures.told(&Fields::parse("colour=red").expect("fields")), Ok(None), "unknown names");
    }
}
