//! The few libuv functions that we call, found at run time.
//!
//! Node exports libuv's symbols from its own executable. Bun and Deno do not, or export stubs that abort, so there the
//! fallback in `wake` is used.

use std::ffi::{c_int, c_uint, c_void};

use libloading::os::unix::Library;

/// `uv_loop_t`, `uv_handle_t` and their kin: only ever handled by address.
pub type Opaque = c_void;

pub type PollCallback = unsafe extern "C" fn(handle: *mut Opaque, status: c_int, events: c_int);
pub type PrepareCallback = unsafe extern "C" fn(handle: *mut Opaque);
pub type CloseCallback = unsafe extern "C" fn(handle: *mut Opaque);

/// `uv_handle_type`: `UV_POLL` and `UV_PREPARE`, fixed by libuv's ABI since 1.0.
pub const POLL: c_uint = 8;
pub const PREPARE: c_uint = 9;
/// `UV_READABLE`.
pub const READABLE: c_int = 1;

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident: fn($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        /// libuv's functions. Copyable addresses, valid as long as the process: they belong to its executable.
        #[derive(Clone, Copy)]
        pub struct Uv { $($(#[$doc])* pub $name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)* }

        impl Uv {
            /// Finds all of them, or says which is missing.
            pub fn find() -> Result<Self, String> {
                let own = Library::this();
                $(
                    // SAFETY: the name is libuv's and the signature is that of its header; symbols of the executable
                    // itself are never unloaded, so the address may outlive `own`.
                    let $name = unsafe {
                        let symbol = own.get::<unsafe extern "C" fn($($arg),*) $(-> $ret)?>(
                            format!("uv_{}", stringify!($name).trim_end_matches('_')).as_bytes(),
                        );
                        *symbol.map_err(|error| format!("uv_{}: {error}", stringify!($name)))?
                    };
                )*
                Ok(Self { $($name),* })
            }
        }
    };
}

functions! {
    handle_size: fn(c_uint) -> usize;
    handle_set_data: fn(*mut Opaque, *mut c_void);
    handle_get_data: fn(*const Opaque) -> *mut c_void;
    poll_init: fn(*mut Opaque, *mut Opaque, c_int) -> c_int;
    poll_start: fn(*mut Opaque, c_int, PollCallback) -> c_int;
    poll_stop: fn(*mut Opaque) -> c_int;
    prepare_init: fn(*mut Opaque, *mut Opaque) -> c_int;
    prepare_start: fn(*mut Opaque, PrepareCallback) -> c_int;
    prepare_stop: fn(*mut Opaque) -> c_int;
    close: fn(*mut Opaque, CloseCallback);
    /// `uv_ref`; `ref` is a keyword of Rust's.
    ref_: fn(*mut Opaque);
    unref: fn(*mut Opaque);
}

impl Uv {
    /// As [`find`](Self::find), once per process.
    pub fn find_cached() -> Result<Self, String> {
        static FOUND: std::sync::OnceLock<Result<Uv, String>> = std::sync::OnceLock::new();
        FOUND.get_or_init(Self::find).clone()
    }
}
