//! Keeping the addon's code in memory: its threads may outlive the last environment that loaded it. On Linux the linker is told
//! so (`build.rs`).

use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW,
};

/// From here on the system keeps this library as long as the process lives.
pub fn pin() {
    static HERE: u8 = 0;
    let mut module = std::ptr::null_mut();
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN;
    // SAFETY: with these flags the name is an address in the library that is meant, and this one is. The place for the handle
    // outlives the call; a pinned library's handle needs no care.
    if unsafe { GetModuleHandleExW(flags, (&raw const HERE).cast(), &mut module) } == 0 {
        tracing::warn!(error = %std::io::Error::last_os_error(), "the native part may be unloaded while it is in use");
    }
}
