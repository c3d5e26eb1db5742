//! What the headers do with macros.

use std::ptr::NonNull;

use crate::bindings::{UCS_ERR_LAST, UCS_OK, ucs_status_ptr_t, ucs_status_t};

/// What a function returned that may have finished its work at once (`UCS_PTR_*` in the headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done or has failed, and no callback will be called.
    Done(ucs_status_t),
    /// A callback will be called; the request is to be freed then.
    Pending(NonNull<std::ffi::c_void>),
}

/// Reads a `ucs_status_ptr_t`: null for "done", an address near the end of the address space for an error, else a request.
pub fn outcome(pointer: ucs_status_ptr_t) -> Outcome {
    let Some(request) = NonNull::new(pointer) else { return Outcome::Done(UCS_OK) };
    let status = pointer as isize;
    match ucs_status_t::try_from(status) {
        Ok(status) if (UCS_ERR_LAST..0).contains(&status) => Outcome::Done(status),
        _ => Outcome::Pending(request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::UCS_ERR_CANCELED;

    #[test]
    fn null_is_done_a_small_negative_number_an_error_and_all_else_a_request() {
        let address = |value: isize| value as ucs_status_ptr_t;
        assert_eq!(outcome(address(0)), Outcome::Done(UCS_OK));
        assert_eq!(outcome(address(-16)), Outcome::Done(UCS_ERR_CANCELED));
        assert!(matches!(outcome(address(-101)), Outcome::Pending(_)));
        assert!(matches!(outcome(address(0x7fff_0000_1000)), Outcome::Pending(_)));
    }
}
