//! A client's way to its connection: one address after the other, until a deadline.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arrowlane_transport::TransportError;

use crate::{
    connection::Connection,
    context::{Context, Long, Reach},
    ending,
    ticker::Ticker,
};

/// How it stands with a connection.
pub(crate) enum Standing {
    /// Not yet.
    Waits,
    /// Since now; the URI to greet with.
    Stands(String),
    /// Since before.
    Stood,
}

/// What a client has beside its connection.
pub(crate) struct Connecting {
    deadline: Instant,
    after: Duration,
    /// `None` once the connection stands.
    uri: Option<String>,
    peer: String,
    library: &'static arrowlane_ucx_sys::Library,
    others: VecDeque<SocketAddr>,
}

impl Connecting {
    /// Starts with the first address that can be tried.
    pub(crate) fn start(
        library: &'static arrowlane_ucx_sys::Library,
        uri: String,
        peer: String,
        addresses: Vec<SocketAddr>,
        after: Duration,
    ) -> Result<(Connection, Self, Ticker), TransportError> {
        let ticker = Ticker::new(after + Duration::from_secs(1))?;
        let deadline = Instant::now() + after;
        let mut connecting = Self { deadline, after, uri: Some(uri), peer, library, others: addresses.into() };
        let connection = connecting.next(&ticker)?.ok_or_else(|| TransportError::NotFound(connecting.peer.clone()))?;
        Ok((connection, connecting, ticker))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.uri.is_none()
    }

    /// Looks how it stands; goes on to the next address where one leads nowhere.
    pub(crate) fn look(
        &mut self,
        connection: &mut Connection,
        ticker: &mut Ticker,
    ) -> Result<Standing, TransportError> {
        if self.uri.is_none() {
            return Ok(Standing::Stood);
        }
        if let Some(status) = connection.worker.shared().failure() {
            return match self.next(ticker)? {
                Some(next) => {
                    next.worker.signal();
                    ending::close(std::mem::replace(connection, next));
                    Ok(Standing::Waits)
                }
                None => {
                    let error = connection.worker.error(status);
                    Err(match error.is_nobody() {
                        true => TransportError::NotFound(self.peer.clone()),
                        false if error.is_gone() => self.timed_out(),
                        false => error.during("connecting over UCX"),
                    })
                }
            };
        }
        if *connection.worker.shared().stands.lock() {
            ticker.extend(crate::YOUNG);
            return Ok(self.uri.take().map_or(Standing::Stood, Standing::Stands));
        }
        if Instant::now() >= self.deadline {
            return Err(self.timed_out());
        }
        Ok(Standing::Waits)
    }

    fn timed_out(&self) -> TransportError {
        TransportError::TimedOut { peer: self.peer.clone(), after: self.after }
    }

    fn next(&mut self, ticker: &Ticker) -> Result<Option<Connection>, TransportError> {
        let Some(address) = self.others.pop_front() else { return Ok(None) };
        let context: Arc<Context> = Context::shared(self.library, Reach::of(address.ip()), Long::Pieces)?;
        let connection = Connection::connect(&context, address)?;
        ticker.watch(connection.worker.descriptor())?;
        Ok(Some(connection))
    }
}
