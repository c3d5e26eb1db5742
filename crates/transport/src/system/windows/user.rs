//! Who runs a process.

use std::{
    io,
    os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle},
    ptr,
    sync::OnceLock,
};

use rustix::fd::{AsFd, AsRawFd};
use windows_sys::Win32::{
    Foundation::{HANDLE, LocalFree},
    Networking::WinSock::{SIO_AF_UNIX_GETPEERPID, WSAIoctl},
    Security::{Authorization::ConvertSidToStringSidW, GetTokenInformation, PSID, TOKEN_QUERY, TOKEN_USER, TokenUser},
    System::Threading::{GetCurrentProcess, OpenProcess, OpenProcessToken, PROCESS_QUERY_LIMITED_INFORMATION},
};

use super::last_error;
use crate::TransportError;

/// The user that this process runs as: the text of a security identifier, which says all of it.
pub(crate) fn own_user() -> Result<String, TransportError> {
    static OWN: OnceLock<String> = OnceLock::new();
    if let Some(known) = OWN.get() {
        return Ok(known.clone());
    }
    // SAFETY: takes nothing, and gives a constant that stands for this process.
    let own = user_of(unsafe { GetCurrentProcess() }).map_err(|e| TransportError::io("reading our own user", e))?;
    Ok(OWN.get_or_init(|| own).clone())
}

/// User and process at the other end.
///
/// # Errors
/// Also where the process is gone, or does not let us see whose it is: then it is nobody to talk to.
pub(crate) fn peer_of(socket: impl AsFd) -> Result<(String, Option<u32>), TransportError> {
    let raw = socket.as_fd().as_raw_fd();
    let (mut pid, mut length) = (0u32, 0);
    // SAFETY: an open socket, and places of the lengths that are said, which outlive the call: there is no OVERLAPPED.
    let got = unsafe {
        WSAIoctl(
            raw as _,
            SIO_AF_UNIX_GETPEERPID,
            ptr::null(),
            0,
            (&raw mut pid).cast(),
            size_of::<u32>() as u32,
            &mut length,
            ptr::null_mut(),
            None,
        )
    };
    if got != 0 || pid == 0 {
        return Err(TransportError::io("SIO_AF_UNIX_GETPEERPID", last_error()));
    }
    // SAFETY: takes numbers only.
    let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
    if process.is_null() {
        return Err(TransportError::io("opening the peer's process", io::Error::last_os_error()));
    }
    // SAFETY: the handle was just opened, and nobody else has it.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    let user = user_of(process.as_raw_handle()).map_err(|e| TransportError::io("reading the peer's user", e))?;
    Ok((user, Some(pid)))
}

/// Whose a process is.
fn user_of(process: HANDLE) -> io::Result<String> {
    let mut token = ptr::null_mut();
    // SAFETY: an open handle of a process, and a place for another, which outlive the call.
    if unsafe { OpenProcessToken(process, TOKEN_QUERY, &mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just opened, and nobody else has it.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    // Aligned for what is written to it, and longer than the longest identifier.
    let (mut place, mut length) = ([0u64; 32], 0);
    // SAFETY: an open token, and a place of the length that is said, which outlives the call.
    let got = unsafe {
        let size = size_of_val(&place) as u32;
        GetTokenInformation(token.as_raw_handle(), TokenUser, place.as_mut_ptr().cast(), size, &mut length)
    };
    if got == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system wrote a TOKEN_USER to the start of the place, whose identifier lies behind it in the same place.
    unsafe { text_of((*place.as_ptr().cast::<TOKEN_USER>()).User.Sid) }
}

/// A security identifier as text.
///
/// # Safety
/// The caller's pointer leads to a whole identifier.
pub(super) unsafe fn text_of(identifier: PSID) -> io::Result<String> {
    let mut text = ptr::null_mut();
    // SAFETY: the identifier is whole, as the caller promises; the place for a pointer outlives the call.
    if unsafe { ConvertSidToStringSidW(identifier, &mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system gave a text that a NUL ends, which is ours to free, once, and is not used afterwards.
    unsafe {
        let length = (0..).take_while(|at| *text.add(*at) != 0).count();
        let copied = String::from_utf16_lossy(std::slice::from_raw_parts(text, length));
        LocalFree(text.cast());
        Ok(copied)
    }
}
