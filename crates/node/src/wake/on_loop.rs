//! Handles of libuv's on the loop itself.

use std::{
    ffi::{c_int, c_void},
    os::fd::AsRawFd,
    ptr,
    rc::Rc,
};

use napi::sys;

use crate::{
    host::Host,
    uv::{self, Opaque, Uv},
};

/// Handles on the loop, which hold one strong count of the host. The memory of both belongs to libuv until their close callbacks
/// ran.
pub struct OnLoop {
    uv: Uv,
    poll: *mut Opaque,
    prepare: *mut Opaque,
}

impl OnLoop {
    /// Starts to watch the lane of `host`.
    pub(super) fn start(uv: Uv, host: &Rc<Host>) -> Result<Self, String> {
        let mut uv_loop = ptr::null_mut();
        // SAFETY: `env` is the current environment; the loop lives as long as it does.
        let status = unsafe { sys::napi_get_uv_event_loop(host.env(), &mut uv_loop) };
        if status != sys::Status::napi_ok {
            return Err("this environment has no event loop of libuv's".into());
        }
        // SAFETY: both handles are zeroed memory of the size libuv asks for, owned by libuv from `init` until the close
        // callback frees them. The loop is this thread's. Their data is a counted reference to the host, given back in
        // `on_closed` of the poll handle, the last of the two to close.
        unsafe {
            let poll = libc::calloc(1, (uv.handle_size)(uv::POLL));
            let prepare = libc::calloc(1, (uv.handle_size)(uv::PREPARE));
            if poll.is_null() || prepare.is_null() {
                libc::free(poll);
                libc::free(prepare);
                return Err("no memory for the loop's handles".into());
            }
            if (uv.poll_init)(uv_loop.cast(), poll, host.lane.descriptor().as_raw_fd()) != 0 {
                libc::free(poll);
                libc::free(prepare);
                return Err("the descriptor cannot be watched by libuv".into());
            }
            (uv.prepare_init)(uv_loop.cast(), prepare); // cannot fail
            let data = Rc::into_raw(Rc::clone(host)).cast_mut().cast::<c_void>();
            (uv.handle_set_data)(poll, data);
            (uv.handle_set_data)(prepare, data);
            (uv.poll_start)(poll, uv::READABLE, on_readable);
            (uv.prepare_start)(prepare, on_prepare);
            (uv.unref)(poll);
            (uv.unref)(prepare);
            Ok(Self { uv, poll, prepare })
        }
    }

    pub(super) fn hold(&self, hold: bool) {
        let Self { uv, poll, .. } = self;
        // SAFETY: the handles live until `stop`, after which the host calls this no more; this is the loop's thread.
        unsafe { (if hold { uv.ref_ } else { uv.unref })(*poll) };
    }

    pub(super) fn stop(&self) {
        let Self { uv, poll, prepare } = self;
        // SAFETY: both handles are live and on this thread's loop; `on_closed` frees them.
        unsafe {
            (uv.poll_stop)(*poll);
            (uv.prepare_stop)(*prepare);
            (uv.close)(*prepare, on_prepare_closed);
            (uv.close)(*poll, on_closed);
        }
    }
}

unsafe extern "C" fn on_readable(handle: *mut Opaque, _status: c_int, _events: c_int) {
    // SAFETY: the handle's data is the host, of which the handle holds a count until `on_closed`.
    unsafe { with_host(handle, |host| host.turn()) };
}

unsafe extern "C" fn on_prepare(handle: *mut Opaque) {
    // SAFETY: as for `on_readable`; the poll handle, which holds the count, closes after this one stopped.
    unsafe { with_host(handle, |host| host.idle()) };
}

unsafe fn with_host(handle: *mut Opaque, f: impl FnOnce(&Rc<Host>)) {
    let Ok(uv) = Uv::find_cached() else { return };
    // SAFETY: upheld by the callers: the data is a live `Rc<Host>`; a second count keeps it through the call.
    let host = unsafe {
        let data = (uv.handle_get_data)(handle).cast::<Host>().cast_const();
        Rc::increment_strong_count(data);
        Rc::from_raw(data)
    };
    f(&host);
}

unsafe extern "C" fn on_prepare_closed(handle: *mut Opaque) {
    // SAFETY: libuv is done with the handle; its memory is calloc's.
    unsafe { libc::free(handle) };
}

unsafe extern "C" fn on_closed(handle: *mut Opaque) {
    let Ok(uv) = Uv::find_cached() else { return };
    // SAFETY: the handle's count of the host is taken back, once; libuv is done with the handle's memory.
    let host = unsafe {
        let host = Rc::from_raw((uv.handle_get_data)(handle).cast::<Host>().cast_const());
        libc::free(handle);
        host
    };
    host.closed();
}
