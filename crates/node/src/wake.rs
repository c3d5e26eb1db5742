//! How the environment's loop learns that the lane has something to do.
//!
//! On Node: a `uv_poll` handle on the loop itself, and a `uv_prepare` handle that sends what a turn gathered before the
//! loop goes to sleep (`on_loop`). Elsewhere, and on Windows: a thread that waits for the lane and calls through a threadsafe
//! function (`on_thread`); twice the latency, the same meaning.

#[cfg(unix)]
mod on_loop;
mod on_thread;

use std::rc::Rc;

use napi::sys;

use self::on_thread::OnThread;
use crate::host::Host;

/// The running wake-up of one environment.
pub enum Wake {
    #[cfg(unix)]
    Loop(on_loop::OnLoop),
    Thread(OnThread),
}

impl Wake {
    /// Starts to watch the lane of `host`, of which one strong count is held until [`Wake::stop`].
    ///
    /// # Errors
    /// What libuv or Node-API refused.
    #[cfg(unix)]
    pub fn start(host: &Rc<Host>, threadsafe: bool) -> Result<Self, String> {
        if threadsafe {
            return OnThread::start(host).map(Self::Thread);
        }
        match crate::uv::Uv::find() {
            Ok(uv) => on_loop::OnLoop::start(uv, host).map(Self::Loop),
            Err(missing) => {
                tracing::debug!(missing, "libuv is not reachable; a thread polls instead");
                OnThread::start(host).map(Self::Thread)
            }
        }
    }

    /// Starts to watch the lane of `host`, of which one strong count is held until [`Wake::stop`].
    ///
    /// # Errors
    /// What Node-API refused.
    #[cfg(windows)]
    pub fn start(host: &Rc<Host>, _threadsafe: bool) -> Result<Self, String> {
        crate::pinned::pin();
        OnThread::start(host).map(Self::Thread)
    }

    /// Why the event loop itself cannot watch; `None` when it can.
    #[cfg(unix)]
    pub fn problem() -> Option<String> {
        crate::uv::Uv::find_cached().err()
    }

    /// Why the event loop itself cannot watch.
    #[cfg(windows)]
    pub fn problem() -> Option<String> {
        Some("on Windows a set of sockets is no socket that the event loop could watch".into())
    }

    /// Whether the loop itself watches; then it also sends what a turn gathered.
    pub fn is_loop(&self) -> bool {
        !matches!(self, Self::Thread(_))
    }

    /// Keeps the environment alive, or not any more.
    pub fn hold(&self, env: sys::napi_env, hold: bool) {
        match self {
            #[cfg(unix)]
            Self::Loop(on_loop) => on_loop.hold(hold),
            Self::Thread(on_thread) => on_thread.hold(env, hold),
        }
    }

    /// JavaScript has handled what there was.
    pub fn handled(&self) {
        match self {
            #[cfg(unix)]
            Self::Loop(_) => {}
            Self::Thread(on_thread) => on_thread.handled(),
        }
    }

    /// Stops watching. The environment must stay until [`Host::closed`] was called.
    pub fn stop(&self, host: &Host) {
        match self {
            #[cfg(unix)]
            Self::Loop(on_loop) => on_loop.stop(),
            Self::Thread(on_thread) => on_thread.stop(host),
        }
    }
}
