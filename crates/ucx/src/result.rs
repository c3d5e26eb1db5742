//! UCX's status codes as errors.

use std::{ffi::CStr, io};

use arrowlane_transport::TransportError;
use arrowlane_ucx_sys::{
    Library,
    bindings::{
        UCS_ERR_CANCELED, UCS_ERR_CONNECTION_RESET, UCS_ERR_ENDPOINT_TIMEOUT, UCS_ERR_NOT_CONNECTED, UCS_ERR_REJECTED,
        UCS_ERR_TIMED_OUT, UCS_ERR_UNREACHABLE, UCS_OK, ucs_status_t,
    },
};

/// What UCX answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("UCX: {text} ({status})")]
pub struct UcxError {
    /// The code, negative.
    pub status: ucs_status_t,
    /// The library's own words for it.
    pub text: String,
}

impl UcxError {
    pub(crate) fn new(library: &Library, status: ucs_status_t) -> Self {
        // SAFETY: the function takes any number and returns a C string: a constant, or one in memory of the calling thread, copied here.
        let text = unsafe { CStr::from_ptr((library.ucp.ucs_status_string)(status)) };
        Self { status, text: text.to_string_lossy().into_owned() }
    }

    /// Whether it says that nobody is there.
    pub(crate) fn is_nobody(&self) -> bool {
        matches!(self.status, UCS_ERR_REJECTED | UCS_ERR_UNREACHABLE | UCS_ERR_NOT_CONNECTED | UCS_ERR_CONNECTION_RESET)
    }

    /// Whether it says that the peer went away.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_nobody() || matches!(self.status, UCS_ERR_CANCELED | UCS_ERR_ENDPOINT_TIMEOUT | UCS_ERR_TIMED_OUT)
    }

    pub(crate) fn during(self, what: &'static str) -> TransportError {
        TransportError::io(what, io::Error::other(self))
    }
}

/// Nothing for success, an error with what was attempted for everything else.
pub(crate) fn check(library: &Library, what: &'static str, status: ucs_status_t) -> Result<(), TransportError> {
    if status == UCS_OK { Ok(()) } else { Err(UcxError::new(library, status).during(what)) }
}
