//! The server's socket.

use std::{net::SocketAddr, sync::Arc};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
    net::getsockname,
};
use rustls::ServerConfig;

use super::{TcpEndpoint, address, credentials, line::Line, socket};
use crate::{Endpoint, Listener, TransportError, system::accept_stream};

/// A socket that listens at one address.
pub struct TcpListener {
    socket: OwnedFd,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
}

impl TcpListener {
    /// Listens at the first of the addresses where that is possible.
    pub(super) fn bind(
        text: &str,
        addresses: Vec<SocketAddr>,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Self, TransportError> {
        let mut failed = Errno::ADDRNOTAVAIL;
        for address in addresses {
            match socket::listening(address) {
                Ok(socket) => {
                    let bound = getsockname(&socket).and_then(SocketAddr::try_from);
                    let address = bound.map_err(|e| TransportError::io("getsockname", e))?;
                    return Ok(Self { socket, address, tls });
                }
                Err(error) => failed = error,
            }
        }
        Err(match failed {
            Errno::ADDRINUSE => TransportError::Taken(text.into()),
            error => TransportError::io("listen", error),
        })
    }

    /// As [`accept`](Listener::accept).
    ///
    /// # Errors
    /// As there.
    pub fn accept_one(&mut self) -> Result<Option<TcpEndpoint>, TransportError> {
        loop {
            match accept_stream(&self.socket) {
                Ok(socket) => {
                    socket::prepare(&socket)?;
                    let tls =
                        self.tls.clone().map(|config| credentials::accept(config, "a client".into())).transpose()?;
                    return Ok(Some(TcpEndpoint::accepted(Line::new(socket, tls.map(Box::new)))));
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(TransportError::io("accept", error)),
            }
        }
    }
}

impl Listener for TcpListener {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn address(&self) -> String {
        address::display(self.address)
    }

    fn parameters(&self) -> Vec<(String, String)> {
        self.tls.iter().map(|_| (address::TLS.into(), "1".into())).collect()
    }

    fn accept(&mut self) -> Result<Option<Box<dyn Endpoint>>, TransportError> {
        Ok(self.accept_one()?.map(|endpoint| Box::new(endpoint) as _))
    }
}
