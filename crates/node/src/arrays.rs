//! External `ArrayBuffer`s over memory of ours.

use std::{
    ffi::c_void,
    ptr::NonNull,
    rc::{Rc, Weak},
};

use napi::{Env, check_status, sys};

use crate::{
    cell::{Cell, Keep},
    error::{Result, node},
    host::{Entry, Host},
};

/// What the finalizer of an `ArrayBuffer` has to do.
struct Last {
    cell: Cell,
    host: Weak<Host>,
    entry: Entry,
}

/// An `ArrayBuffer` over `length` bytes at `pointer`, which `keep` owns, and the cell to let go of it early. When it is
/// collected first, `entry` is let go of. An empty one needs no memory (Node aborts on a null pointer with a length).
pub fn external(
    host: &Rc<Host>,
    pointer: NonNull<u8>,
    length: usize,
    keep: Keep,
    entry: Entry,
) -> Result<(sys::napi_value, Cell)> {
    let cell = Cell::new(keep);
    let last = Last { cell: cell.clone(), host: Rc::downgrade(host), entry };
    let hint = Box::into_raw(Box::new(last));
    let mut value = std::ptr::null_mut();
    // SAFETY: the host is that of the current environment. The memory stays valid until `finalize` ran or the buffer was detached:
    // `keep` owns it and is released only there. `hint` is owned by the finalizer, which Node calls exactly once.
    let status = unsafe {
        sys::napi_create_external_arraybuffer(
            host.env(),
            pointer.as_ptr().cast::<c_void>(),
            length,
            Some(finalize),
            hint.cast::<c_void>(),
            &mut value,
        )
    };
    if status != sys::Status::napi_ok {
        // SAFETY: on failure Node-API does not take the hint, so the box is still ours.
        drop(unsafe { Box::from_raw(hint) });
        cell.release();
    }
    check_status!(status, "this runtime cannot show native memory as an ArrayBuffer").map_err(node)?;
    Ok((value, cell))
}

/// Takes the memory away from an `ArrayBuffer`: its length and that of every view become 0.
pub fn detach(env: &Env, buffer: sys::napi_value) -> Result<()> {
    // SAFETY: `env` is the current environment and `buffer` a value of the current scope; another type is refused with
    // a status.
    let status = unsafe { sys::napi_detach_arraybuffer(env.raw(), buffer) };
    check_status!(status, "an ArrayBuffer could not be detached").map_err(node)
}

unsafe extern "C" fn finalize(_env: sys::napi_env, _data: *mut c_void, hint: *mut c_void) {
    // SAFETY: `hint` is the box that `external` made, and this is the one call that owns it; it comes on the environment's
    // thread, as the counts of `Rc` ask for.
    let Last { cell, host, entry } = *unsafe { Box::from_raw(hint.cast::<Last>()) };
    cell.release();
    if let Some(host) = host.upgrade() {
        host.collected(entry, &cell);
    }
}
