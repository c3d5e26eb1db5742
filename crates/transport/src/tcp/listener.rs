//! The server's socket.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{io::Errno, net::getsockname};

use super::{TcpEndpoint, address, line::Line, socket};
use crate::{Endpoint, Listener, TransportError, system::accept_stream};

/// A socket that listens at one address.
pub struct TcpListener {
    socket: OwnedFd,
    address: SocketAddr,
}

impl TcpListener {
    /// Listens at the first of the addresses where that is possible.
    pub(super) fn bind(text: &str, addresses: Vec<SocketAddr>) -> Result<Self, TransportError> {
        let mut failed = Errno::ADDRNOTAVAIL;
        for address in addresses {
            match socket::listening(address) {
                Ok(socket) => {
                    let bound = getsockname(&socket).and_then(|name| SocketAddr::try_from(name));
                    let address = bound.map_err(|e| TransportError::io("getsockname", e))?;
                    return Ok(Self { socket, address });
                }
                Err(error) => failed = error,
            }
        }
        Err(match failed {
            Errno::ADDRINUSE => TransportError::Taken(text.into()),
            error => TransportError::io("listen", error),
        })
    }
}

impl Listener for TcpListener {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn address(&self) -> String {
        address::display(self.address)
    }

    fn accept(&mut self) -> Result<Option<Box<dyn Endpoint>>, TransportError> {
        loop {
            match accept_stream(&self.socket) {
                Ok(socket) => {
                    socket::prepare(&socket)?;
                    return Ok(Some(Box::new(TcpEndpoint::accepted(Line::plain(socket)))));
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(TransportError::io("accept", error)),
            }
        }
    }
}
