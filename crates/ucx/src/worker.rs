//! A worker: one connection's part of UCX, with its descriptor, its callbacks and what goes through it.

use std::{
    ffi::c_void,
    os::fd::{BorrowedFd, RawFd},
    ptr::{NonNull, null, null_mut},
    sync::Arc,
};

use arrowlane_memory::Growing;
use arrowlane_transport::{TransportError, frame::MAX_BODY};
use arrowlane_ucx_sys::bindings::{self as ucx, ucs_status_ptr_t, ucs_status_t};
use bytes::Bytes;

use crate::{
    context::Context,
    descriptors::Seat,
    fence, receive,
    result::{UcxError, check},
    shared::{Buffer, Handle, Shared, Span, Stage, Work},
};

/// Up to so many bytes a tagged message is received to memory that is not aligned, as it will be copied from there.
const SMALL: usize = 8 << 10;

/// UCX's part of one connection, or of one listener. Driven by one thread at a time, and may move between threads.
pub(crate) struct Worker {
    raw: ucx::ucp_worker_h,
    descriptor: RawFd,
    // Behind `raw` in the order of dropping: callbacks look into it as long as the worker is there.
    shared: Box<Shared>,
    pub(crate) context: Arc<Context>,
    /// What is left of its descriptors is somebody else's from here on.
    _seat: Seat,
}

// SAFETY: the worker is made with UCS_THREAD_MODE_SERIALIZED: any thread may use it, one at a time, which `&mut` or ownership sees to.
unsafe impl Send for Worker {}

impl Worker {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self, TransportError> {
        let seat = Seat::take()?;
        let library = context.library;
        // SAFETY: all zeros is a valid value of this C struct; the mask says which fields count.
        let mut params: ucx::ucp_worker_params_t = unsafe { std::mem::zeroed() };
        params.field_mask = u64::from(ucx::UCP_WORKER_PARAM_FIELD_THREAD_MODE | ucx::UCP_WORKER_PARAM_FIELD_CLIENT_ID);
        params.thread_mode = ucx::UCS_THREAD_MODE_SERIALIZED;
        params.client_id = context.client_id();
        let mut raw = null_mut();
        let fence = fence::changing(library);
        // SAFETY: the context is alive, and stays so as long as the worker.
        let status = unsafe { (library.ucp.ucp_worker_create)(context.raw, &params, &mut raw) };
        drop(fence);
        check(library, "making a worker of UCX (raise this process's limit of open files, ulimit -n)", status)?;
        let shared = Box::new(Shared::new(library));
        let mut worker = Self { raw, descriptor: -1, shared, context: Arc::clone(context), _seat: seat };
        // SAFETY: the worker is alive; the descriptor stays the worker's.
        let status = unsafe { (library.ucp.ucp_worker_get_efd)(raw, &mut worker.descriptor) };
        check(library, "getting the descriptor of a worker of UCX", status)?;
        worker.shared.serve(raw);
        worker.listen_for_metadata()?;
        Ok(worker)
    }

    fn listen_for_metadata(&self) -> Result<(), TransportError> {
        // SAFETY: as in `new`.
        let mut params: ucx::ucp_am_handler_param_t = unsafe { std::mem::zeroed() };
        params.field_mask = u64::from(
            ucx::UCP_AM_HANDLER_PARAM_FIELD_ID
                | ucx::UCP_AM_HANDLER_PARAM_FIELD_FLAGS
                | ucx::UCP_AM_HANDLER_PARAM_FIELD_CB
                | ucx::UCP_AM_HANDLER_PARAM_FIELD_ARG,
        );
        params.id = 0;
        params.flags = ucx::UCP_AM_FLAG_WHOLE_MSG;
        params.cb = Some(receive::metadata_arrived);
        params.arg = self.argument();
        // SAFETY: the callback's argument is the state, which is dropped after the worker.
        let status = unsafe { (self.library().ucp.ucp_worker_set_am_recv_handler)(self.raw, &params) };
        check(self.library(), "listening for active messages", status)
    }

    pub(crate) fn library(&self) -> &'static arrowlane_ucx_sys::Library {
        self.shared.library
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// For callbacks that are given a pointer of the caller's.
    pub(crate) fn argument(&self) -> *mut c_void {
        std::ptr::from_ref::<Shared>(&self.shared).cast_mut().cast()
    }

    pub(crate) fn raw(&self) -> ucx::ucp_worker_h {
        self.raw
    }

    /// Polls readable when [`progress`](Self::progress) has something to do, as far as [`arm`](Self::arm) said so.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the worker's and open as long as the worker, which the result borrows.
        unsafe { BorrowedFd::borrow_raw(self.descriptor) }
    }

    /// Lets UCX work. Whether it did something.
    pub(crate) fn progress(&self) -> bool {
        let fence = fence::working(self.library());
        // SAFETY: the worker is alive, and no other thread uses it (see `Send`).
        let done = unsafe { (self.library().ucp.ucp_worker_progress)(self.raw) };
        drop(fence);
        self.shared.let_go();
        self.shared.take_tagged();
        done > 0
    }

    /// From now on, events make the descriptor readable. `false`: there are some already.
    pub(crate) fn arm(&self) -> Result<bool, TransportError> {
        // SAFETY: as in `progress`.
        match unsafe { (self.library().ucp.ucp_worker_arm)(self.raw) } {
            ucx::UCS_ERR_BUSY => Ok(false),
            status => check(self.library(), "arming a worker of UCX", status).map(|()| true),
        }
    }

    /// Makes the descriptor readable, until it is armed.
    pub(crate) fn signal(&self) {
        // SAFETY: as in `progress`.
        unsafe { (self.library().ucp.ucp_worker_signal)(self.raw) };
    }

    pub(crate) fn error(&self, status: ucs_status_t) -> UcxError {
        UcxError::new(self.library(), status)
    }

    /// Sends a metadata message: active message 0, without a header.
    pub(crate) fn send_metadata(&self, ep: ucx::ucp_ep_h, bytes: Vec<u8>) {
        self.shared.run(Work::Copied(bytes), |work, user_data| {
            let Work::Copied(bytes) = work else { return null_mut() };
            let params = params(user_data, Callback::Send(sent));
            // SAFETY: the endpoint is alive; the operation keeps the bytes until its callback.
            unsafe {
                (self.library().ucp.ucp_am_send_nbx)(ep, 0, null(), 0, bytes.as_ptr().cast(), bytes.len(), &params)
            }
        });
    }

    /// Sends a tagged message that was copied.
    pub(crate) fn send_tagged(&self, ep: ucx::ucp_ep_h, tag: u64, bytes: Vec<u8>) {
        self.shared.run(Work::Copied(bytes), |work, user_data| {
            let Work::Copied(bytes) = work else { return null_mut() };
            let params = params(user_data, Callback::Send(sent));
            // SAFETY: as above.
            unsafe { (self.library().ucp.ucp_tag_send_nbx)(ep, bytes.as_ptr().cast(), bytes.len(), tag, &params) }
        });
    }

    /// Sends a body from where it lies. It is done when the peer has taken the message: bodies that wait at the peer are counted.
    pub(crate) fn send_body(&self, ep: ucx::ucp_ep_h, tag: u64, mut parts: Vec<Bytes>) {
        parts.retain(|part| !part.is_empty());
        let span = |part: &Bytes| Span(ucx::ucp_dt_iov { buffer: part.as_ptr().cast_mut().cast(), length: part.len() });
        let spans: Box<[Span]> = parts.iter().map(span).collect();
        let length = parts.iter().map(Bytes::len).sum();
        self.shared.run(Work::Body { parts, spans, length }, |work, user_data| {
            let Work::Body { parts, spans, .. } = work else { return null_mut() };
            let mut params = params(user_data, Callback::Send(sent));
            let (buffer, count) = match (&parts[..], &spans[..]) {
                ([], _) => (null(), 0),
                ([one], _) => (one.as_ptr().cast::<c_void>(), one.len()),
                (_, spans) => {
                    params.op_attr_mask |= ucx::UCP_OP_ATTR_FIELD_DATATYPE;
                    params.datatype = u64::from(ucx::UCP_DATATYPE_IOV);
                    (spans.as_ptr().cast(), spans.len())
                }
            };
            // SAFETY: the endpoint is alive; the operation keeps the list and the bytes until its callback.
            unsafe { (self.library().ucp.ucp_tag_send_sync_nbx)(ep, buffer, count, tag, &params) }
        });
    }

    /// Sends the message behind which nothing follows; done when the peer has taken it.
    pub(crate) fn send_end(&self, ep: ucx::ucp_ep_h) {
        self.shared.run(Work::End, |_, user_data| {
            let params = params(user_data, Callback::Send(sent));
            // SAFETY: the endpoint is alive; there are no bytes.
            unsafe { (self.library().ucp.ucp_tag_send_sync_nbx)(ep, null(), 0, crate::END_TAG, &params) }
        });
    }

    /// Asks to be told when the connection stands.
    pub(crate) fn await_connection(&self, ep: ucx::ucp_ep_h) {
        self.shared.run(Work::Connecting, |_, user_data| {
            let params = params(user_data, Callback::Send(sent));
            // SAFETY: the endpoint is alive.
            unsafe { (self.library().ucp.ucp_ep_flush_nbx)(ep, &params) }
        });
    }

    /// Closes an endpoint at once; operations that are not done fail.
    pub(crate) fn close(&self, ep: ucx::ucp_ep_h) {
        let fence = fence::changing(self.library());
        self.shared.run(Work::Closing, |_, user_data| {
            let mut params = params(user_data, Callback::Send(sent));
            params.op_attr_mask |= ucx::UCP_OP_ATTR_FIELD_FLAGS;
            params.flags = ucx::UCP_EP_CLOSE_FLAG_FORCE;
            // SAFETY: the endpoint is alive, and is not used after this: its owner gave it up.
            unsafe { (self.library().ucp.ucp_ep_close_nbx)(ep, &params) }
        });
        if fence.is_some() {
            // SAFETY: as in `progress`. It has the worker look at events of the descriptor that was closed.
            unsafe { (self.library().ucp.ucp_worker_progress)(self.raw) };
        }
        drop(fence);
        self.shared.let_go();
    }

    /// Starts to receive messages that have arrived, as many as may be received ahead.
    pub(crate) fn begin(&self) -> Result<(), TransportError> {
        loop {
            let (number, tag, length, stage) = {
                let mut arrivals = self.shared.arrivals.lock();
                let Some(place) = arrivals.next() else { return Ok(()) };
                let first = arrivals.first;
                let Some(arrival) = arrivals.queue.get_mut(place) else { return Ok(()) };
                let (tag, length) = (arrival.tag, arrival.length);
                let stage = match arrival.stage {
                    Stage::Whole(_) | Stage::Lost => None,
                    _ => Some(std::mem::replace(&mut arrival.stage, Stage::Begun)),
                };
                arrivals.begun += 1;
                arrivals.bytes += length;
                (first + place as u64, tag, length, stage)
            };
            let Some(stage) = stage else { continue };
            match self.receive(number, tag.is_some() && length > SMALL, length, &stage) {
                Ok(()) => {}
                Err(error) => {
                    self.discard(stage);
                    return Err(error);
                }
            }
        }
    }

    fn receive(&self, number: u64, aligned: bool, length: usize, stage: &Stage) -> Result<(), TransportError> {
        if length as u64 > MAX_BODY {
            return Err(TransportError::Framing(format!("a body of {length} bytes is over the limit of {MAX_BODY}")));
        }
        let (buffer, pointer) = if aligned {
            let mut memory = Growing::whole(length)?;
            let pointer: *mut c_void = memory.spare()?.as_mut_ptr().cast();
            (Buffer::Aligned(memory), pointer)
        } else {
            // Untagged ones are as long as metadata may be, which was checked when they came.
            let mut memory = vec![0; length];
            let pointer = memory.as_mut_ptr().cast();
            (Buffer::Small(memory), pointer)
        };
        self.shared.run(Work::Receiving(number, buffer), |_, user_data| match stage {
            Stage::Tagged(message) => {
                let params = params(user_data, Callback::Tagged(receive::tagged_received));
                // SAFETY: the message was taken out by a probe and is received once; the operation keeps the `length` bytes until its callback.
                unsafe {
                    (self.library().ucp.ucp_tag_msg_recv_nbx)(self.raw, pointer, length, message.0.as_ptr(), &params)
                }
            }
            Stage::Announced(data) => {
                let params = params(user_data, Callback::Metadata(receive::metadata_received));
                // SAFETY: the handler kept this description by its answer, and it is received once; the memory as above.
                unsafe {
                    (self.library().ucp.ucp_am_recv_data_nbx)(self.raw, data.0.as_ptr(), pointer, length, &params)
                }
            }
            _ => null_mut(),
        });
        Ok(())
    }

    /// Lets a message go that was not received; its sender hears that it was taken.
    fn discard(&self, stage: Stage) {
        match stage {
            Stage::Tagged(message) => self.shared.run(Work::Discarding, |_, user_data| {
                let params = params(user_data, Callback::Tagged(receive::tagged_received));
                // SAFETY: the message was taken out by a probe and is received once, to no memory.
                unsafe {
                    (self.library().ucp.ucp_tag_msg_recv_nbx)(self.raw, null_mut(), 0, message.0.as_ptr(), &params)
                }
            }),
            // SAFETY: the handler kept this description by its answer, and nothing was received with it.
            Stage::Announced(data) => unsafe {
                (self.library().ucp.ucp_am_data_release)(self.raw, data.0.as_ptr());
            },
            _ => {}
        }
    }

    /// Lets everything go that arrived.
    pub(crate) fn discard_all(&self) {
        let arrivals = {
            let mut arrivals = self.shared.arrivals.lock();
            arrivals.first += arrivals.queue.len() as u64;
            (arrivals.begun, arrivals.bytes, arrivals.cost) = (0, 0, 0);
            std::mem::take(&mut arrivals.queue)
        };
        for arrival in arrivals {
            self.discard(arrival.stage);
        }
    }

    /// Asks UCX to give up all receives. Those whose sender is gone are not given up by itself.
    pub(crate) fn cancel_receives(&self) {
        for request in self.shared.receiving() {
            // SAFETY: the request is alive: its callback, which frees it, was not called.
            unsafe { (self.library().ucp.ucp_request_cancel)(self.raw, request.as_ptr()) };
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _fence = fence::changing(self.library());
        // SAFETY: the worker is alive and used by nobody else. What it had under way is freed after it, with the state.
        unsafe { (self.library().ucp.ucp_worker_destroy)(self.raw) };
    }
}

enum Callback {
    Send(unsafe extern "C" fn(*mut c_void, ucs_status_t, *mut c_void)),
    Tagged(unsafe extern "C" fn(*mut c_void, ucs_status_t, *const ucx::ucp_tag_recv_info_t, *mut c_void)),
    Metadata(unsafe extern "C" fn(*mut c_void, ucs_status_t, usize, *mut c_void)),
}

/// What every operation is started with: whom to tell, and what to tell him.
fn params(user_data: *mut c_void, callback: Callback) -> ucx::ucp_request_param_t {
    // SAFETY: all zeros is a valid value of this C struct; the mask says which fields count.
    let mut params: ucx::ucp_request_param_t = unsafe { std::mem::zeroed() };
    params.op_attr_mask = ucx::UCP_OP_ATTR_FIELD_CALLBACK | ucx::UCP_OP_ATTR_FIELD_USER_DATA;
    params.user_data = user_data;
    match callback {
        Callback::Send(callback) => params.cb.send = Some(callback),
        Callback::Tagged(callback) => params.cb.recv = Some(callback),
        Callback::Metadata(callback) => params.cb.recv_am = Some(callback),
    }
    params
}

unsafe extern "C" fn sent(request: ucs_status_ptr_t, status: ucs_status_t, user_data: *mut c_void) {
    // SAFETY: UCX hands over what the operation was started with, once.
    unsafe { Shared::completed(request, status, user_data) };
}

/// A pointer of UCX's that cannot be null, or nothing.
pub(crate) fn handle<T>(pointer: *mut T) -> Option<Handle<T>> {
    NonNull::new(pointer).map(Handle)
}
