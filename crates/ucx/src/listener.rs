//! Where connections come in.

use std::{collections::VecDeque, ffi::c_void, net::SocketAddr, os::fd::BorrowedFd, ptr::null_mut, sync::Arc};

use arrowlane_transport::{Endpoint, Listener, TransportError};
use arrowlane_ucx_sys::{Library, bindings as ucx};
use parking_lot::Mutex;

use crate::{
    UcxEndpoint,
    connection::{Address, Connection, Unaccepted},
    context::{Context, DEVICES, Devices, Long, Reach},
    fence,
    result::check,
    shared::Handle,
    worker::{Worker, handle},
};

/// Requests to connect that may wait to be accepted; those beyond are turned away.
const BACKLOG: usize = 1024;

type Requests = Mutex<VecDeque<Handle<ucx::ucp_conn_request>>>;

/// A port that clients connect to.
pub struct UcxListener {
    raw: ucx::ucp_listener_h,
    worker: Worker,
    /// Written by the callback; behind the worker in the order of dropping.
    requests: Box<Requests>,
    address: String,
    /// Which devices its connections use.
    devices: Devices,
}

// SAFETY: the listener is its worker's, which may be used on any thread, one at a time.
unsafe impl Send for UcxListener {}

impl UcxListener {
    /// Listens; `host` is how clients name the machine.
    pub(crate) fn bind(library: &'static Library, address: SocketAddr, host: &str) -> Result<Self, TransportError> {
        let context: Arc<Context> = Context::shared(library, Reach::of(address.ip()), Long::Pieces, Devices::One)?;
        let worker = Worker::new(&context)?;
        let requests: Box<Requests> = Box::default();
        let bound = Address::from(address);
        // SAFETY: all zeros is a valid value of this C struct; the mask says which fields count.
        let mut params: ucx::ucp_listener_params_t = unsafe { std::mem::zeroed() };
        params.field_mask =
            u64::from(ucx::UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | ucx::UCP_LISTENER_PARAM_FIELD_CONN_HANDLER);
        params.sockaddr = bound.as_ucx();
        params.conn_handler.cb = Some(request_came);
        params.conn_handler.arg = std::ptr::from_ref::<Requests>(&requests).cast_mut().cast();
        let mut raw = null_mut();
        let fence = fence::changing(library);
        // SAFETY: the worker is alive, the address lives through the call, and the callback's argument outlives the listener.
        let status = unsafe { (library.ucp.ucp_listener_create)(worker.raw(), &params, &mut raw) };
        drop(fence);
        if status == ucx::UCS_ERR_BUSY {
            return Err(TransportError::Taken(format!("ucx://{address}")));
        }
        check(library, "listening over UCX", status)?;
        let devices = context.devices;
        let mut listener = Self { raw, worker, requests, address: String::new(), devices };
        listener.address = format!("ucx://{host}:{}", listener.port()?);
        listener.worker.signal();
        Ok(listener)
    }

    fn port(&self) -> Result<u16, TransportError> {
        // SAFETY: as in `bind`.
        let mut attributes: ucx::ucp_listener_attr_t = unsafe { std::mem::zeroed() };
        attributes.field_mask = u64::from(ucx::UCP_LISTENER_ATTR_FIELD_SOCKADDR);
        // SAFETY: the listener is alive, and the struct is written.
        let status = unsafe { (self.worker.library().ucp.ucp_listener_query)(self.raw, &mut attributes) };
        check(self.worker.library(), "asking for the port of a listener", status)?;
        Ok(Address::port_of(&attributes.sockaddr))
    }

    fn reject(&self, request: &Handle<ucx::ucp_conn_request>) {
        let _fence = fence::changing(self.worker.library());
        // SAFETY: the request is this listener's, and is used once.
        unsafe { (self.worker.library().ucp.ucp_listener_reject)(self.raw, request.0.as_ptr()) };
    }
}

impl Listener for UcxListener {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.worker.descriptor()
    }

    fn address(&self) -> String {
        self.address.clone()
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let (name, value) = DEVICES;
        let said = (self.devices == Devices::One).then(|| (name.to_owned(), value.to_owned()));
        said.into_iter().collect()
    }

    fn accept(&mut self) -> Result<Option<Box<dyn Endpoint>>, TransportError> {
        loop {
            let request = {
                let mut requests = self.requests.lock();
                let keep = BACKLOG.min(requests.len());
                let surplus = requests.split_off(keep);
                let request = requests.pop_front();
                drop(requests);
                surplus.iter().for_each(|request| self.reject(request));
                request
            };
            if let Some(request) = request {
                // There may be more, and whoever waits for the descriptor is to come back for them.
                self.worker.signal();
                let connection = match Connection::accept(&self.worker.context, request.0.as_ptr()) {
                    Ok(connection) => connection,
                    Err(Unaccepted::Kept(error)) => {
                        self.reject(&request);
                        return Err(error);
                    }
                    Err(Unaccepted::Gone(error)) => return Err(error),
                };
                return Ok(Some(Box::new(UcxEndpoint::new(connection, None))));
            }
            if !self.worker.progress() && self.requests.lock().is_empty() && self.worker.arm()? {
                return Ok(None);
            }
        }
    }
}

impl Drop for UcxListener {
    fn drop(&mut self) {
        let waiting = std::mem::take(&mut *self.requests.lock());
        waiting.iter().for_each(|request| self.reject(request));
        let _fence = fence::changing(self.worker.library());
        // SAFETY: the listener is alive; no callback of it is called after this.
        unsafe { (self.worker.library().ucp.ucp_listener_destroy)(self.raw) };
    }
}

/// Somebody wants to connect. Called while the listener's worker progresses.
unsafe extern "C" fn request_came(request: ucx::ucp_conn_request_h, argument: *mut c_void) {
    // SAFETY: the argument is what the listener was made with; it outlives the listener.
    let requests = unsafe { &*argument.cast::<Requests>() };
    if let Some(request) = handle(request) {
        requests.lock().push_back(request);
    }
}
