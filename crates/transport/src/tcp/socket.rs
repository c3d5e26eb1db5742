//! Making sockets.

use std::{net::SocketAddr, time::Duration};

use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, bind, connect, getpeername, listen, sockopt},
};

use crate::{
    TransportError,
    system::{internet_socket, is_under_way, reserve_address},
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// A peer's machine that says nothing for so long is asked whether it is there.
const IDLE: Duration = Duration::from_secs(60);
/// So often, and after so many questions without an answer the connection is lost.
const PROBE: (Duration, u32) = (Duration::from_secs(10), 6);

fn socket(address: SocketAddr) -> Result<OwnedFd, Errno> {
    internet_socket(if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 })
}

/// A socket that listens there and nowhere else.
pub(super) fn listening(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = socket(address)?;
    reserve_address(&socket)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A socket that is on its way to that address.
pub(super) fn connecting(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = socket(address)?;
    match connect(&socket, &address) {
        Err(error) if !is_under_way(error) => Err(error),
        _ => Ok(socket),
    }
}

/// Whether the way was found.
///
/// # Errors
/// It was not, and why.
pub(super) fn has_connected(socket: &OwnedFd) -> Result<bool, Errno> {
    sockopt::socket_error(socket)??;
    match getpeername(socket) {
        Ok(_) => Ok(true),
        Err(Errno::NOTCONN | Errno::INVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What every connection is set to: small messages leave at once, and a machine that vanished is noticed.
pub(super) fn prepare(socket: &OwnedFd) -> Result<(), TransportError> {
    let set = || {
        sockopt::set_tcp_nodelay(socket, true)?;
        sockopt::set_socket_keepalive(socket, true)?;
        sockopt::set_tcp_keepidle(socket, IDLE)?;
        sockopt::set_tcp_keepintvl(socket, PROBE.0)?;
        sockopt::set_tcp_keepcnt(socket, PROBE.1)
    };
    match set() {
        // Some systems say so of a connection that has ended meanwhile; reading it says the same.
        Ok(()) | Err(Errno::INVAL | Errno::NOPROTOOPT) => Ok(()),
        Err(error) => Err(TransportError::io("setsockopt", error)),
    }
}
