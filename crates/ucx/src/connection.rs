//! A worker with the one endpoint that it is for.

use std::{ffi::c_void, mem::zeroed, net::SocketAddr, ptr::null_mut, sync::Arc};

use arrowlane_transport::TransportError;
use arrowlane_ucx_sys::bindings as ucx;

use crate::{
    context::{Context, Devices, Long},
    fence,
    receive::connection_failed,
    result::check,
    worker::Worker,
};

/// One side of a connection.
pub(crate) struct Connection {
    pub(crate) ep: ucx::ucp_ep_h,
    pub(crate) worker: Worker,
    /// Whether [`Worker::send_end`] was called.
    pub(crate) ending: bool,
    /// Whether the peer may know what that is. A server that does not is owed nothing when its client leaves.
    pub(crate) knows_end: bool,
}

/// Why a request to connect was not accepted.
pub(crate) enum Unaccepted {
    /// It is there still, to be turned away.
    Kept(TransportError),
    /// It was used up.
    Gone(TransportError),
}

// SAFETY: the endpoint is its worker's, and goes with it wherever it is used.
unsafe impl Send for Connection {}

impl Connection {
    /// Starts to connect. Whether that works shows later.
    pub(crate) fn connect(context: &Arc<Context>, address: SocketAddr) -> Result<Self, TransportError> {
        let address = Address::from(address);
        let connection = Self::new(Worker::new(context)?, |params| {
            params.field_mask |= u64::from(ucx::UCP_EP_PARAM_FIELD_FLAGS | ucx::UCP_EP_PARAM_FIELD_SOCK_ADDR);
            params.flags = ucx::UCP_EP_PARAMS_FLAGS_CLIENT_SERVER | ucx::UCP_EP_PARAMS_FLAGS_SEND_CLIENT_ID;
            params.sockaddr = address.as_ucx();
        })?;
        connection.worker.await_connection(connection.ep);
        Ok(connection)
    }

    /// Answers a request to connect to a listener of `context`. Once there is a worker for it, it is used up in any case.
    pub(crate) fn accept(context: &Arc<Context>, request: ucx::ucp_conn_request_h) -> Result<Self, Unaccepted> {
        // SAFETY: all zeros is a valid value of this C struct; the mask says which fields count.
        let mut attributes: ucx::ucp_conn_request_attr_t = unsafe { zeroed() };
        attributes.field_mask = u64::from(ucx::UCP_CONN_REQUEST_ATTR_FIELD_CLIENT_ID);
        // SAFETY: the request is alive, and the struct is written.
        let status = unsafe { (context.library.ucp.ucp_conn_request_query)(request, &mut attributes) };
        let client = Some(attributes.client_id).filter(|_| status == ucx::UCS_OK);
        let same = client.is_some_and(|client| context.is_release_of(client));
        let long = if same { Long::Announced } else { Long::Pieces };
        let context = Context::shared(context.library, context.reach, long, Devices::of(client));
        let worker = context.and_then(|context| Worker::new(&context)).map_err(Unaccepted::Kept)?;
        let made = Self::new(worker, |params| {
            params.field_mask |= u64::from(ucx::UCP_EP_PARAM_FIELD_CONN_REQUEST);
            params.conn_request = request;
        });
        made.map_err(Unaccepted::Gone)
    }

    fn new(worker: Worker, set: impl FnOnce(&mut ucx::ucp_ep_params_t)) -> Result<Self, TransportError> {
        // SAFETY: all zeros is a valid value of this C struct; the mask says which fields count.
        let mut params: ucx::ucp_ep_params_t = unsafe { zeroed() };
        params.field_mask = u64::from(ucx::UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | ucx::UCP_EP_PARAM_FIELD_ERR_HANDLER);
        params.err_mode = ucx::UCP_ERR_HANDLING_MODE_PEER;
        params.err_handler.cb = Some(connection_failed);
        params.err_handler.arg = worker.argument();
        set(&mut params);
        let mut ep = null_mut();
        let _fence = fence::changing(worker.library());
        // SAFETY: the worker is alive, what the parameters point to lives through the call, and the handler's argument outlives the worker.
        let status = unsafe { (worker.library().ucp.ucp_ep_create)(worker.raw(), &params, &mut ep) };
        check(worker.library(), "connecting over UCX", status)?;
        Ok(Self { ep, worker, ending: false, knows_end: true })
    }

    /// Nothing follows what was sent. A peer that would not know is not told.
    pub(crate) fn send_end(&mut self) {
        if !std::mem::replace(&mut self.ending, true) && self.knows_end {
            self.worker.send_end(self.ep);
        }
    }
}

/// A socket's address as C has it.
pub(crate) enum Address {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::V4(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Self::V6(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }
}

impl Address {
    /// Points into `self`.
    pub(crate) fn as_ucx(&self) -> ucx::ucs_sock_addr_t {
        let (addr, length): (*const c_void, usize) = match self {
            Self::V4(v4) => (std::ptr::from_ref(v4).cast(), size_of_val(v4)),
            Self::V6(v6) => (std::ptr::from_ref(v6).cast(), size_of_val(v6)),
        };
        ucx::ucs_sock_addr_t { addr: addr.cast(), addrlen: length as libc::socklen_t }
    }

    /// The port of what a function of C's wrote.
    pub(crate) fn port_of(storage: &libc::sockaddr_storage) -> u16 {
        // SAFETY: both structs fit into the storage, which is aligned for them, and have the port at the same place after the family.
        let v4 = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
        u16::from_be(v4.sin_port)
    }
}
