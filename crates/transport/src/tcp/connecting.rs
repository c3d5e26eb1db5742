//! The way to a server, without waiting.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
};

use super::{address, line::Line, socket, tls::Tls};
use crate::{
    Interest, TransportError,
    system::{Poller, Timer},
};

/// A client's descriptor: its socket, whichever that is at the time, and the deadline until the connection stands.
///
/// It polls readable for room to write as well, where that is waited for.
pub(super) struct Watch {
    poller: Poller,
    deadline: Option<(Timer, Instant, Duration)>,
    interest: Interest,
    peer: String,
}

impl Watch {
    /// Nothing to watch yet; `peer` is whom the connection is to be with.
    pub(super) fn new(peer: String, within: Duration) -> Result<Self, TransportError> {
        let (poller, timer) = (Poller::new()?, Timer::new()?);
        let until = Instant::now() + within;
        timer.once(within.max(Duration::from_nanos(1)))?;
        poller.add(timer.as_fd(), 0, Interest::Read)?;
        Ok(Self { poller, deadline: Some((timer, until, within)), interest: Interest::ReadWrite, peer })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.poller.descriptor()
    }

    /// # Errors
    /// [`TransportError::TimedOut`] when the connection should stand by now.
    pub(super) fn check(&self) -> Result<(), TransportError> {
        match &self.deadline {
            Some((_, until, after)) if Instant::now() >= *until => {
                Err(TransportError::TimedOut { peer: self.peer.clone(), after: *after })
            }
            _ => Ok(()),
        }
    }

    /// Watches a new socket; the one before was taken out.
    fn add(&mut self, socket: &OwnedFd) -> Result<(), TransportError> {
        self.interest = Interest::ReadWrite;
        self.poller.add(socket.as_fd(), 1, self.interest)
    }

    /// To be called before a socket is closed that did not connect.
    fn remove(&self, socket: &OwnedFd) {
        self.poller.delete(socket.as_fd());
    }

    /// The connection stands: there is no deadline any more.
    pub(super) fn stands(&mut self) {
        if let Some((timer, ..)) = self.deadline.take() {
            self.poller.delete(timer.as_fd());
        }
    }

    /// Whether room is waited for.
    pub(super) fn wait_for_room(&mut self, socket: BorrowedFd<'_>, wanted: bool) -> Result<(), TransportError> {
        let interest = if wanted { Interest::ReadWrite } else { Interest::Read };
        if interest != self.interest {
            self.poller.change(socket, 1, interest)?;
            self.interest = interest;
        }
        Ok(())
    }
}

/// A socket on its way to one of several addresses.
pub(super) struct Connecting {
    /// Closed, and so no longer watched, when the next address is tried.
    socket: Option<OwnedFd>,
    address: SocketAddr,
    rest: VecDeque<SocketAddr>,
    failed: Option<Errno>,
    /// For the connection that is made.
    tls: Option<Box<Tls>>,
}

impl Connecting {
    /// Sets out for the first address.
    ///
    /// # Errors
    /// When it is known at once that none can be reached.
    pub(super) fn start(
        addresses: Vec<SocketAddr>,
        tls: Option<Box<Tls>>,
        watch: &mut Watch,
    ) -> Result<Self, TransportError> {
        let mut rest = VecDeque::from(addresses);
        let Some(address) = rest.pop_front() else { return Err(TransportError::NotFound(address::SCHEME.into())) };
        let mut this = Self { socket: None, address, rest, failed: None, tls };
        match socket::connecting(address) {
            Ok(socket) => this.set_out(socket, watch)?,
            Err(error) => this.try_next(error, watch)?,
        }
        Ok(this)
    }

    /// The line, when it is connected; `None` while it is on its way.
    ///
    /// # Errors
    /// When no address is left, or it takes too long.
    pub(super) fn turn(&mut self, watch: &mut Watch) -> Result<Option<Line>, TransportError> {
        loop {
            let Some(socket) = &self.socket else { return Err(TransportError::Closed) };
            match socket::has_connected(socket) {
                Ok(true) => break,
                Ok(false) => return watch.check().map(|()| None),
                Err(error) => self.try_next(error, watch)?,
            }
        }
        let Some(socket) = self.socket.take() else { return Ok(None) };
        socket::prepare(&socket)?;
        Ok(Some(Line::new(socket, self.tls.take())))
    }

    fn try_next(&mut self, error: Errno, watch: &mut Watch) -> Result<(), TransportError> {
        if let Some(socket) = self.socket.take() {
            watch.remove(&socket);
        }
        self.failed = Some(error);
        while let Some(next) = self.rest.pop_front() {
            self.address = next;
            match socket::connecting(next) {
                Ok(socket) => return self.set_out(socket, watch),
                Err(error) => self.failed = Some(error),
            }
        }
        Err(match self.failed.unwrap_or(error) {
            Errno::CONNREFUSED => TransportError::NotFound(address::display(self.address)),
            other => TransportError::io("connect", other),
        })
    }

    fn set_out(&mut self, socket: OwnedFd, watch: &mut Watch) -> Result<(), TransportError> {
        watch.add(&socket)?;
        self.socket = Some(socket);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::system::wait_readable;

    fn closed() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("an address")
    }

    /// As an event loop does it: called when the descriptor says so.
    fn connected(addresses: Vec<SocketAddr>) -> Result<Line, TransportError> {
        let mut watch = Watch::new("x".into(), Duration::from_secs(60))?;
        let mut connecting = Connecting::start(addresses, None, &mut watch)?;
        loop {
            if let Some(line) = connecting.turn(&mut watch)? {
                return Ok(line);
            }
            assert!(wait_readable(watch.descriptor(), None));
        }
    }

    #[test]
    fn of_several_addresses_the_first_that_answers_is_taken() {
        let open = TcpListener::bind("127.0.0.1:0").expect("bound");
        let line = connected(vec![closed(), closed(), open.local_addr().expect("an address")]).expect("the third");
        let (_, from) = open.accept().expect("accepted");
        let own = rustix::net::getsockname(line.socket()).expect("a name");
        assert_eq!(SocketAddr::try_from(own).expect("of the internet"), from);
    }

    #[test]
    fn where_none_answers_the_last_one_is_named() {
        let (first, last) = (closed(), closed());
        let error = connected(vec![first, last]).err().expect("nobody is there");
        assert!(matches!(&error, TransportError::NotFound(who) if *who == address::display(last)), "{error}");
    }
}
