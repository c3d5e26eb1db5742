//! A snapshot that is let go when nobody reads it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::Snapshot;

/// The snapshot of one call, and since when it lies there untouched. While it is being read, it is nobody's but the reader's.
#[derive(Clone)]
pub(super) struct Held(Arc<Mutex<Lying>>);

struct Lying {
    snapshot: Option<Box<dyn Snapshot>>,
    since: Instant,
}

/// Holds a snapshot. It goes when it was not taken for as long as `stall`: flow control stops whoever does not read, and nothing else would
/// ever look at the call again.
pub(super) fn hold(snapshot: Box<dyn Snapshot>, stall: Duration) -> (Held, AbortOnDropHandle<()>) {
    let held = Held(Arc::new(Mutex::new(Lying { snapshot: Some(snapshot), since: Instant::now() })));
    let watched = held.clone();
    let guard = tokio::spawn(async move {
        loop {
            let since = watched.0.lock().since;
            // A time that the clock cannot say does not come.
            let Some(end) = since.checked_add(stall) else { return };
            sleep_until(end).await;
            let mut lies = watched.0.lock();
            if lies.since == since && lies.snapshot.is_some() {
                lies.snapshot = None;
                return;
            }
            if lies.snapshot.is_none() {
                // Being read: what takes long there is the server's own doing.
                lies.since = Instant::now();
            }
        }
    });
    (held, AbortOnDropHandle::new(guard))
}

impl Held {
    /// The snapshot, to read from it; `None` when it was let go.
    pub fn take(&self) -> Option<Box<dyn Snapshot>> {
        self.0.lock().snapshot.take()
    }

    pub fn put_back(&self, snapshot: Box<dyn Snapshot>) {
        *self.0.lock() = Lying { snapshot: Some(snapshot), since: Instant::now() };
    }
}
