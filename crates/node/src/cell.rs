//! What an external `ArrayBuffer` keeps alive.

use std::sync::Arc;

use arrowlane_memory::Block;
use arrowlane_plane::Body;
use parking_lot::Mutex;

/// The owner of the memory under an `ArrayBuffer`.
pub enum Keep {
    /// A received (or imported, or copied) body.
    Body(#[expect(dead_code, reason = "held for its Drop")] Arc<Body>),
    /// A block that is being written.
    Block(#[expect(dead_code, reason = "held for its Drop")] Arc<Block>),
}

/// Shared by an `ArrayBuffer`'s finalizer and by the handle that may detach it: whoever comes first lets go, the other
/// finds it done. The finalizer may run late and on teardown; nothing waits for it.
#[derive(Clone)]
pub struct Cell(Arc<Mutex<Option<Keep>>>);

impl Cell {
    pub fn new(keep: Keep) -> Self {
        Self(Arc::new(Mutex::new(Some(keep))))
    }

    /// Whether it is the same one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Lets go, once.
    pub fn release(&self) {
        let kept = self.0.lock().take();
        drop(kept);
    }
}
