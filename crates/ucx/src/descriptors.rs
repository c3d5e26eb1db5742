//! How many connections a process can have: each takes some of its descriptors.

use std::sync::atomic::{AtomicUsize, Ordering};

use arrowlane_transport::TransportError;
use rustix::process::{Resource, getrlimit};

/// Descriptors of a worker and its sockets, with its shared memory off: six, as measured, and the sockets of a connection.
const EACH: usize = 9;

/// Those of the rest of the process.
const OTHERS: usize = 64;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// The right to a worker's descriptors.
pub(crate) struct Seat(());

impl Seat {
    /// One more, where the process's limit of open files allows.
    pub(crate) fn take() -> Result<Self, TransportError> {
        let most = most();
        let taken =
            TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < most).then_some(taken + 1));
        match taken {
            Ok(_) => Ok(Self(())),
            Err(taken) => Err(TransportError::io(
                "making a connection over UCX",
                std::io::Error::other(format!(
                    "this process has {taken} already, and its limit of open files allows no more (raise it: ulimit -n)"
                )),
            )),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
}

fn most() -> usize {
    match getrlimit(Resource::Nofile).current {
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(OTHERS) / EACH,
        None => usize::MAX,
    }
}
