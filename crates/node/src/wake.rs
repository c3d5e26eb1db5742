//! How the environment's loop learns that the lane has something to do.
//!
//! On Node: a `uv_poll` handle on the loop itself, and a `uv_prepare` handle that sends what a turn gathered before the
//! loop goes to sleep. Elsewhere: a thread that polls the lane's descriptor and calls through a threadsafe function;
//! twice the latency, the same meaning.

use std::{
    ffi::{c_int, c_void},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use napi::sys;
use parking_lot::{Condvar, Mutex};

use crate::{
    host::Host,
    uv::{self, Opaque, Uv},
};

/// The running wake-up of one environment.
pub enum Wake {
    /// Handles on the loop. The memory of both belongs to libuv until their close callbacks ran.
    Loop { uv: Uv, poll: *mut Opaque, prepare: *mut Opaque },
    /// A thread.
    Thread { function: sys::napi_threadsafe_function, gate: Arc<Gate> },
}

/// Keeps the polling thread from calling again before JavaScript has handled the last call.
#[derive(Default)]
pub struct Gate {
    handled: Mutex<bool>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Gate {
    /// JavaScript has handled what there was.
    pub fn open(&self) {
        *self.handled.lock() = true;
        self.changed.notify_one();
    }
}

impl Wake {
    /// Starts to watch `descriptor` for `host`. The handles hold one strong count of `host` until [`Wake::stop`].
    ///
    /// # Errors
    /// What libuv or Node-API refused.
    pub fn start(host: &Rc<Host>, descriptor: BorrowedFd<'_>, threadsafe: bool) -> Result<Self, String> {
        if threadsafe {
            return Self::start_thread(host, descriptor);
        }
        match Uv::find() {
            Ok(uv) => Self::start_loop(uv, host, descriptor),
            Err(missing) => {
                tracing::debug!(missing, "libuv is not reachable; a thread polls instead");
                Self::start_thread(host, descriptor)
            }
        }
    }

    fn start_loop(uv: Uv, host: &Rc<Host>, descriptor: BorrowedFd<'_>) -> Result<Self, String> {
        let mut uv_loop = ptr::null_mut();
        // SAFETY: `env` is the current environment; the loop lives as long as it does.
        let status = unsafe { sys::napi_get_uv_event_loop(host.env(), &mut uv_loop) };
        if status != sys::Status::napi_ok {
            return Err("this environment has no event loop of libuv's".into());
        }
        // SAFETY: both handles are zeroed memory of the size libuv asks for, owned by libuv from `init` until the close
        // callback frees them. The loop is this thread's. Their data is a counted reference to the host, given back in
        // `on_closed` of the poll handle, the last of the two to close.
        unsafe {
            let poll = libc::calloc(1, (uv.handle_size)(uv::POLL));
            let prepare = libc::calloc(1, (uv.handle_size)(uv::PREPARE));
            if poll.is_null() || prepare.is_null() {
                libc::free(poll);
                libc::free(prepare);
                return Err("no memory for the loop's handles".into());
            }
            if (uv.poll_init)(uv_loop.cast(), poll, descriptor.as_raw_fd()) != 0 {
                libc::free(poll);
                libc::free(prepare);
                return Err("the descriptor cannot be watched by libuv".into());
            }
            (uv.prepare_init)(uv_loop.cast(), prepare); // cannot fail
            let data = Rc::into_raw(Rc::clone(host)).cast_mut().cast::<c_void>();
            (uv.handle_set_data)(poll, data);
            (uv.handle_set_data)(prepare, data);
            (uv.poll_start)(poll, uv::READABLE, on_readable);
            (uv.prepare_start)(prepare, on_prepare);
            (uv.unref)(poll);
            (uv.unref)(prepare);
            Ok(Self::Loop { uv, poll, prepare })
        }
    }

    fn start_thread(host: &Rc<Host>, descriptor: BorrowedFd<'_>) -> Result<Self, String> {
        let data = Rc::into_raw(Rc::clone(host)).cast_mut().cast::<c_void>();
        let mut function = ptr::null_mut();
        let mut name = ptr::null_mut();
        // SAFETY: plain Node-API calls on the current environment. The function's context is a counted reference to the
        // host, given back in `on_finalized`.
        let status = unsafe {
            let text = b"arrowlane";
            sys::napi_create_string_utf8(host.env(), text.as_ptr().cast(), text.len() as _, &mut name);
            sys::napi_create_threadsafe_function(
                host.env(),
                ptr::null_mut(),
                ptr::null_mut(),
                name,
                2,
                1,
                data,
                Some(on_finalized),
                data,
                Some(on_called),
                &mut function,
            )
        };
        if status != sys::Status::napi_ok {
            // SAFETY: Node-API took nothing, so the count made above is still ours.
            drop(unsafe { Rc::from_raw(data.cast::<Host>()) });
            return Err("this runtime has neither libuv nor threadsafe functions".into());
        }
        // SAFETY: the function was just made; unreferenced it does not keep the environment alive.
        unsafe { sys::napi_unref_threadsafe_function(host.env(), function) };
        let gate = Arc::new(Gate::default());
        let own = descriptor.try_clone_to_owned().map_err(|e| e.to_string())?;
        let (for_thread, address) = (Arc::clone(&gate), function as usize);
        let run = move || {
            while !for_thread.stop.load(Ordering::Acquire) {
                let mut polled = [libc::pollfd { fd: own.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
                // SAFETY: one valid pollfd; a second's time-out lets the thread notice that it should stop.
                let ready = unsafe { libc::poll(polled.as_mut_ptr(), 1, 1000) };
                if ready <= 0 {
                    continue;
                }
                let mut handled = for_thread.handled.lock();
                if for_thread.stop.load(Ordering::Acquire) {
                    return;
                }
                *handled = false;
                // SAFETY: the function is released by `stop`, which sets the flag that was just read while it holds this
                // lock; so the function is alive for as long as the lock is held here.
                let status = unsafe {
                    let mode = sys::ThreadsafeFunctionCallMode::nonblocking;
                    sys::napi_call_threadsafe_function(address as *mut _, ptr::null_mut(), mode)
                };
                if status == sys::Status::napi_closing {
                    return;
                }
                while !*handled && !for_thread.stop.load(Ordering::Acquire) {
                    for_thread.changed.wait(&mut handled);
                }
            }
        };
        std::thread::Builder::new().name("arrowlane-wake".into()).spawn(run).map_err(|e| e.to_string())?;
        Ok(Self::Thread { function, gate })
    }

    /// Whether the loop itself watches; then it also sends what a turn gathered.
    pub fn is_loop(&self) -> bool {
        matches!(self, Self::Loop { .. })
    }

    /// Keeps the environment alive, or not any more.
    pub fn hold(&self, env: sys::napi_env, hold: bool) {
        // SAFETY: the handles live until `stop`, after which the host calls this no more; this is the loop's thread.
        unsafe {
            match self {
                Self::Loop { uv, poll, .. } => (if hold { uv.ref_ } else { uv.unref })(*poll),
                Self::Thread { function, .. } if hold => {
                    sys::napi_ref_threadsafe_function(env, *function);
                }
                Self::Thread { function, .. } => {
                    sys::napi_unref_threadsafe_function(env, *function);
                }
            }
        }
    }

    /// JavaScript has handled what there was.
    pub fn handled(&self) {
        if let Self::Thread { gate, .. } = self {
            gate.open();
        }
    }

    /// Stops watching. The environment must stay until [`Host::closed`] was called.
    pub fn stop(&self, host: &Host) {
        match self {
            // SAFETY: both handles are live and on this thread's loop; `on_closed` frees them.
            Self::Loop { uv, poll, prepare } => unsafe {
                (uv.poll_stop)(*poll);
                (uv.prepare_stop)(*prepare);
                (uv.close)(*prepare, on_prepare_closed);
                (uv.close)(*poll, on_closed);
            },
            Self::Thread { function, gate } => {
                {
                    // Held by the thread while it uses the function: from here on it does not.
                    let mut handled = gate.handled.lock();
                    gate.stop.store(true, Ordering::Release);
                    *handled = true;
                    gate.changed.notify_one();
                }
                // SAFETY: the one reference that `start_thread` made is given back; queued calls are dropped.
                unsafe {
                    let mode = sys::ThreadsafeFunctionReleaseMode::abort;
                    sys::napi_release_threadsafe_function(*function, mode);
                }
                host.closed();
            }
        }
    }
}

unsafe extern "C" fn on_readable(handle: *mut Opaque, _status: c_int, _events: c_int) {
    // SAFETY: the handle's data is the host, of which the handle holds a count until `on_closed`.
    unsafe { with_host(handle, |host| host.turn()) };
}

unsafe extern "C" fn on_prepare(handle: *mut Opaque) {
    // SAFETY: as for `on_readable`; the poll handle, which holds the count, closes after this one stopped.
    unsafe { with_host(handle, |host| host.idle()) };
}

unsafe fn with_host(handle: *mut Opaque, f: impl FnOnce(&Rc<Host>)) {
    let Ok(uv) = Uv::find_cached() else { return };
    // SAFETY: upheld by the callers: the data is a live `Rc<Host>`; a second count keeps it through the call.
    let host = unsafe {
        let data = (uv.handle_get_data)(handle).cast::<Host>().cast_const();
        Rc::increment_strong_count(data);
        Rc::from_raw(data)
    };
    f(&host);
}

unsafe extern "C" fn on_prepare_closed(handle: *mut Opaque) {
    // SAFETY: libuv is done with the handle; its memory is calloc's.
    unsafe { libc::free(handle) };
}

unsafe extern "C" fn on_closed(handle: *mut Opaque) {
    let Ok(uv) = Uv::find_cached() else { return };
    // SAFETY: the handle's count of the host is taken back, once; libuv is done with the handle's memory.
    let host = unsafe {
        let host = Rc::from_raw((uv.handle_get_data)(handle).cast::<Host>().cast_const());
        libc::free(handle);
        host
    };
    host.closed();
}

unsafe extern "C" fn on_called(
    env: sys::napi_env,
    _callback: sys::napi_value,
    context: *mut c_void,
    _data: *mut c_void,
) {
    if env.is_null() {
        return; // the environment is going
    }
    // SAFETY: the context is the host, of which the function holds a count until `on_finalized`.
    let host = unsafe {
        Rc::increment_strong_count(context.cast::<Host>().cast_const());
        Rc::from_raw(context.cast::<Host>().cast_const())
    };
    host.turn();
    host.idle();
}

unsafe extern "C" fn on_finalized(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: the count that `start_thread` made is taken back, once.
    drop(unsafe { Rc::from_raw(data.cast::<Host>().cast_const()) });
}
