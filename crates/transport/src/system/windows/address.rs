//! Addresses of unix sockets.

use std::path::Path;

use rustix::{
    io::Errno,
    net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque},
};
use windows_sys::Win32::Networking::WinSock::{AF_UNIX, SOCKADDR_UN};

/// A path that a unix socket has, or is to have.
pub struct UnixAddress(SOCKADDR_UN);

impl UnixAddress {
    /// The address of this path.
    ///
    /// # Errors
    /// When it is no text, has a NUL in it, or is too long.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, Errno> {
        let path = path.as_ref().to_str().ok_or(Errno::INVAL)?;
        let mut address = SOCKADDR_UN { sun_family: AF_UNIX, sun_path: [0; 108] };
        // The last byte stays what ends it.
        if path.len() >= address.sun_path.len() || path.contains('\0') {
            return Err(Errno::INVAL);
        }
        for (to, byte) in address.sun_path.iter_mut().zip(path.bytes()) {
            *to = byte as _;
        }
        Ok(Self(address))
    }
}

// SAFETY: what is handed out is a whole SOCKADDR_UN with a path that ends in it, which `self` keeps through the call.
unsafe impl SocketAddrArg for UnixAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f((&raw const self.0).cast(), size_of::<SOCKADDR_UN>() as SocketAddrLen)
    }
}
