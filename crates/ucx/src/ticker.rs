//! A young connection's descriptor.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use arrowlane_transport::TransportError;
use rustix::{
    event::{Timespec, epoll},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};

/// So often one looks while it ticks.
const TICK: Duration = Duration::from_millis(20);

/// A worker's descriptor, and a timer beside it while the connection is young: a client's deadline needs one, and 1.13 with `UCX_CM_USE_ALL_DEVICES=n`
/// loses the first event of one connection in twenty. It stops with the first message, or when its time is over.
pub(crate) struct Ticker {
    both: OwnedFd,
    timer: Option<OwnedFd>,
    until: Instant,
}

impl Ticker {
    /// Ticks for so long.
    pub(crate) fn new(time: Duration) -> Result<Self, TransportError> {
        let both = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| TransportError::io("epoll_create", e))?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map_err(|e| TransportError::io("timerfd_create", e))?;
        let tick = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos() as _ };
        let every = Itimerspec { it_interval: tick, it_value: tick };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)
            .map_err(|e| TransportError::io("timerfd_settime", e))?;
        let ticker = Self { both, timer: None, until: Instant::now() + time };
        ticker.watch(timer.as_fd())?;
        Ok(Self { timer: Some(timer), ..ticker })
    }

    pub(crate) fn watch(&self, descriptor: BorrowedFd<'_>) -> Result<(), TransportError> {
        epoll::add(&self.both, descriptor, epoll::EventData::new_u64(0), epoll::EventFlags::IN)
            .map_err(|e| TransportError::io("epoll_ctl", e))
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.both.as_fd()
    }

    /// Takes notice of a tick.
    pub(crate) fn look(&mut self) {
        if let Some(timer) = &self.timer {
            let _ = rustix::io::read(timer, &mut [0u8; 8]); // nothing to read: it has not ticked
            if Instant::now() >= self.until {
                self.stop();
            }
        }
    }

    /// Ticks for so long from now on, where it ticks at all.
    pub(crate) fn extend(&mut self, time: Duration) {
        self.until = Instant::now() + time;
    }

    pub(crate) fn stop(&mut self) {
        if let Some(timer) = self.timer.take() {
            let _ = epoll::delete(&self.both, &timer); // closed right after, which takes it out too
        }
    }
}
