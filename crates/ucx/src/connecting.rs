//! A client's way to its connection: one address after the other, until a deadline.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use arrowlane_transport::TransportError;
use rustix::{
    event::{Timespec, epoll},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};

use crate::{
    connection::Connection,
    context::{Context, Devices, Long, Reach},
    ending,
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
    /// The worker's descriptor and the timer; it stays the same when another address is tried.
    both: OwnedFd,
    timer: Option<OwnedFd>,
    deadline: Instant,
    after: Duration,
    /// `None` once the connection stands.
    uri: Option<String>,
    peer: String,
    library: &'static arrowlane_ucx_sys::Library,
    others: VecDeque<SocketAddr>,
    devices: Devices,
}

impl Connecting {
    /// Starts with the first address that can be tried.
    pub(crate) fn start(
        library: &'static arrowlane_ucx_sys::Library,
        uri: String,
        peer: String,
        addresses: Vec<SocketAddr>,
        after: Duration,
        devices: Devices,
    ) -> Result<(Connection, Self), TransportError> {
        let both = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| TransportError::io("epoll_create", e))?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map_err(|e| TransportError::io("timerfd_create", e))?;
        let value = Timespec { tv_sec: after.as_secs() as _, tv_nsec: (after.subsec_nanos().max(1)) as _ };
        let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)
            .map_err(|e| TransportError::io("timerfd_settime", e))?;
        watch(&both, timer.as_fd())?;
        let deadline = Instant::now() + after;
        let (timer, uri, others) = (Some(timer), Some(uri), addresses.into());
        let mut connecting = Self { both, timer, deadline, after, uri, peer, library, others, devices };
        let connection = connecting.next()?.ok_or_else(|| TransportError::NotFound(connecting.peer.clone()))?;
        Ok((connection, connecting))
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.both.as_fd()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.uri.is_none()
    }

    /// Looks how it stands; goes on to the next address where one leads nowhere.
    pub(crate) fn look(&mut self, connection: &mut Connection) -> Result<Standing, TransportError> {
        if self.uri.is_none() {
            return Ok(Standing::Stood);
        }
        if let Some(status) = connection.worker.shared().failure() {
            return match self.next()? {
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
            if let Some(timer) = self.timer.take() {
                let _ = epoll::delete(&self.both, &timer); // closed right after, which takes it out too
            }
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

    /// The next address that can be tried; the error of the last one that could not be, where none is left.
    fn next(&mut self) -> Result<Option<Connection>, TransportError> {
        let mut failure = None;
        while let Some(address) = self.others.pop_front() {
            match self.begin(address) {
                Ok(connection) => return Ok(Some(connection)),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    fn begin(&self, address: SocketAddr) -> Result<Connection, TransportError> {
        let context: Arc<Context> = Context::shared(self.library, Reach::of(address.ip()), Long::Pieces, self.devices)?;
        let mut connection = Connection::connect(&context, address)?;
        // Who offers one device is one of us.
        connection.knows_end = self.devices == Devices::One;
        watch(&self.both, connection.worker.descriptor())?;
        Ok(connection)
    }
}

fn watch(both: &OwnedFd, descriptor: BorrowedFd<'_>) -> Result<(), TransportError> {
    epoll::add(both, descriptor, epoll::EventData::new_u64(0), epoll::EventFlags::IN)
        .map_err(|e| TransportError::io("epoll_ctl", e))
}
