//! What UCX calls when something arrives.

use std::ffi::c_void;

use arrowlane_transport::frame::MAX_PAYLOAD;
use arrowlane_ucx_sys::bindings::{self as ucx, ucs_status_ptr_t, ucs_status_t};

use crate::{
    shared::{Arrival, Buffer, EACH, Shared, Stage},
    worker::handle,
};

impl Shared {
    fn arrived(&self, tag: Option<u64>, length: usize, stage: Stage) {
        let mut arrivals = self.arrivals.lock();
        arrivals.cost = arrivals.cost.saturating_add(length.saturating_add(EACH));
        arrivals.queue.push_back(Arrival { tag, length, stage });
    }

    /// Notes all tagged messages that UCX has, without receiving them.
    pub(crate) fn take_tagged(&self) {
        let Some(worker) = self.worker() else { return };
        loop {
            let mut info = ucx::ucp_tag_recv_info_t { sender_tag: 0, length: 0 };
            // SAFETY: the worker is alive as long as this state serves it, and this runs on the thread that drives it: between calls, or in a
            // handler, from where it may be asked.
            let message = unsafe { (self.library.ucp.ucp_tag_probe_nb)(worker, 0, 0, 1, &mut info) };
            let Some(message) = handle(message) else { return };
            self.arrived(Some(info.sender_tag), info.length, Stage::Tagged(message));
        }
    }
}

/// An active message came.
pub(crate) unsafe extern "C" fn metadata_arrived(
    argument: *mut c_void,
    _header: *const c_void,
    _header_length: usize,
    data: *mut c_void,
    length: usize,
    param: *const ucx::ucp_am_recv_param_t,
) -> ucs_status_t {
    // SAFETY: the argument is the state that the handler was set with; it outlives the worker.
    let shared = unsafe { &*argument.cast::<Shared>() };
    // Tagged messages that came before this one are noted before it.
    shared.take_tagged();
    if length > MAX_PAYLOAD {
        let what = format!("a metadata message of {length} bytes is over the limit of {MAX_PAYLOAD}");
        shared.offence.lock().get_or_insert(what);
        return ucx::UCS_OK;
    }
    // SAFETY: UCX passes a description that is valid during the call.
    let attributes = unsafe { (*param).recv_attr };
    if attributes & u64::from(ucx::UCP_AM_RECV_ATTR_FLAG_RNDV) != 0 {
        let Some(description) = handle(data) else { return ucx::UCS_OK };
        shared.arrived(None, length, Stage::Announced(description));
        return ucx::UCS_INPROGRESS;
    }
    let bytes = if data.is_null() || length == 0 {
        Vec::new()
    } else {
        // SAFETY: it is not a rendezvous, so `data` points to `length` bytes, at any alignment, during the call.
        unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) }.to_vec()
    };
    shared.arrived(None, length, Stage::Whole(Buffer::Small(bytes)));
    ucx::UCS_OK
}

/// A tagged message was received.
pub(crate) unsafe extern "C" fn tagged_received(
    request: ucs_status_ptr_t,
    status: ucs_status_t,
    _info: *const ucx::ucp_tag_recv_info_t,
    user_data: *mut c_void,
) {
    // SAFETY: UCX hands over what the operation was started with, once.
    unsafe { Shared::completed(request, status, user_data) };
}

/// The bytes of an active message that was announced were received.
pub(crate) unsafe extern "C" fn metadata_received(
    request: *mut c_void,
    status: ucs_status_t,
    _length: usize,
    user_data: *mut c_void,
) {
    // SAFETY: as above.
    unsafe { Shared::completed(request, status, user_data) };
}

/// The connection failed: the peer closed it, died, or was never there.
pub(crate) unsafe extern "C" fn connection_failed(argument: *mut c_void, _ep: ucx::ucp_ep_h, status: ucs_status_t) {
    // SAFETY: the argument is the state that the endpoint was made with; it outlives the endpoint's worker.
    unsafe { &*argument.cast::<Shared>() }.fail(status);
}
