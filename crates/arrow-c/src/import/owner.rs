//! Who releases an imported array: the buffers made of it, together.

use std::sync::OnceLock;

use arrow_data::ffi::FFI_ArrowArray;

/// Owns an imported array once it is taken; every buffer over it holds this by `Arc`, so the last one releases it.
///
/// It starts empty: an import that fails drops its buffers and nothing is released.
#[derive(Default)]
pub(super) struct Owner {
    array: OnceLock<FFI_ArrowArray>,
}

impl Owner {
    /// Moves the array out of the caller's struct, which is marked released.
    ///
    /// # Safety
    /// `source` is valid, initialised and owned by the caller, who calls this once.
    pub(super) unsafe fn take(&self, source: *mut FFI_ArrowArray) {
        // SAFETY: the caller vouches for `source`; this is the move that the specification defines.
        let moved = unsafe {
            let moved = std::ptr::read(source);
            std::ptr::addr_of_mut!((*source).release).write(None);
            moved
        };
        // A second call would find the place taken and release its own array here: never twice the same one.
        let _ = self.array.set(moved);
    }
}
