//! Eight bytes through a lane, without Arrow: the floor that a hand-off is measured against.

use std::{
    path::Path,
    sync::{Arc, Weak},
};

use arrowlane_transport::{Interest, Readiness, Source, TransportError, system};
use parking_lot::Mutex;
use rustix::{
    fd::{AsFd, OwnedFd},
    net::{RecvFlags, SendFlags, bind, listen, recv, send},
};

use crate::{Event, Lane, PlaneError};

/// One end of a unix socket over which numbers travel; each arrives as [`Event::Pulse`].
pub struct Pulse {
    id: u32,
    lane: Weak<Lane>,
    state: Mutex<State>,
}

struct State {
    socket: OwnedFd,
    listening: bool,
    key: Option<u64>,
}

/// The reactor's way to a pulse, which it must not keep alive by itself.
struct Reference(Weak<Pulse>);

impl Pulse {
    /// Listens at a path for the one other end, or connects to it.
    pub fn open(path: &Path, listening: bool, lane: &Arc<Lane>) -> Result<Arc<Self>, PlaneError> {
        let io = |what: &'static str| move |e: rustix::io::Errno| TransportError::io(what, e);
        let socket = system::stream_socket().map_err(io("socket"))?;
        let address = system::UnixAddress::new(path).map_err(io("address"))?;
        if listening {
            bind(&socket, &address).map_err(io("bind"))?;
            listen(&socket, 1).map_err(io("listen"))?;
        } else {
            system::connect_stream(&socket, &address).map_err(io("connect"))?;
        }
        let state = Mutex::new(State { socket, listening, key: None });
        let pulse = Arc::new(Self { id: Lane::next_id(), lane: Arc::downgrade(lane), state });
        pulse.watch(&mut pulse.state.lock(), lane)?;
        Ok(pulse)
    }

    /// Its id in events.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Sends a number to the other end.
    pub fn send(&self, value: f64) -> Result<(), PlaneError> {
        let sent = send(&self.state.lock().socket, &value.to_le_bytes(), SendFlags::empty());
        sent.map(|_| ()).map_err(|e| TransportError::io("send", e).into())
    }

    fn watch(self: &Arc<Self>, state: &mut State, lane: &Lane) -> Result<(), PlaneError> {
        let source = Arc::new(Reference(Arc::downgrade(self)));
        state.key = Some(lane.reactor().watch(state.socket.as_fd(), Interest::Read, source, 0)?);
        Ok(())
    }

    fn ready(self: &Arc<Self>) -> Result<(), PlaneError> {
        let Some(lane) = self.lane.upgrade() else { return Ok(()) };
        let mut state = self.state.lock();
        if state.listening {
            let accepted = system::accept_stream(&state.socket).map_err(|e| TransportError::io("accept", e))?;
            state.unwatch(&lane);
            state.socket = accepted;
            state.listening = false;
            return self.watch(&mut state, &lane);
        }
        let mut bytes = [0u8; 8];
        match recv(&state.socket, &mut bytes, RecvFlags::empty()) {
            Ok((8, _)) => lane.emit(self.id, Event::Pulse(f64::from_le_bytes(bytes))),
            Err(rustix::io::Errno::AGAIN) => {}
            _ => state.unwatch(&lane),
        }
        Ok(())
    }
}

impl State {
    fn unwatch(&mut self, lane: &Lane) {
        if let Some(key) = self.key.take() {
            lane.reactor().forget(key, self.socket.as_fd());
        }
    }
}

impl Source for Reference {
    fn ready(&self, _token: u64, _readiness: Readiness) {
        if let Some(pulse) = self.0.upgrade()
            && let Err(error) = pulse.ready()
        {
            tracing::warn!(%error, "a pulse failed");
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.upgrade() {
            self.state.get_mut().unwatch(&lane);
        }
    }
}
