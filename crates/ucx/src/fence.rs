//! Keeps connections from opening descriptors while another gives its own up.
//!
//! UCX before 1.18 aborts the process (`async.c`, `handler->async == async`) when a worker closes a descriptor for which an event is queued, and another worker
//! watches a new one of the same number before the first has looked at its queue. So whoever closes an endpoint lets its worker look at once, and nobody
//! opens one in between. What UCX's own thread accepts in that moment cannot be kept out.

use arrowlane_ucx_sys::Library;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The first release that forgets the events of a descriptor with the descriptor.
const MENDED: (u32, u32) = (1, 18);

static DESCRIPTORS: RwLock<()> = RwLock::new(());

fn is_needed(library: &Library) -> bool {
    let version = library.version();
    (version.major, version.minor) < MENDED
}

/// For calls in which a worker may close descriptors of its own, and looks at its queue.
pub(crate) fn working(library: &Library) -> Option<RwLockReadGuard<'static, ()>> {
    is_needed(library).then(|| DESCRIPTORS.read())
}

/// For calls that open descriptors, and for closing one with the look that belongs to it: no worker works meanwhile.
pub(crate) fn changing(library: &Library) -> Option<RwLockWriteGuard<'static, ()>> {
    is_needed(library).then(|| DESCRIPTORS.write())
}
