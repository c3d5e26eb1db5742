//! A thread that waits for the lane, and calls through a threadsafe function.

use std::{
    ffi::c_void,
    ptr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use napi::sys;
use parking_lot::{Condvar, Mutex};

use crate::host::Host;

/// The thread's function, which holds one strong count of the host, and how the thread is told to stop.
pub struct OnThread {
    function: sys::napi_threadsafe_function,
    gate: Arc<Gate>,
}

/// Keeps the polling thread from calling again before JavaScript has handled the last call.
#[derive(Default)]
struct Gate {
    handled: Mutex<bool>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Gate {
    /// JavaScript has handled what there was.
    fn open(&self) {
        *self.handled.lock() = true;
        self.changed.notify_one();
    }
}

impl OnThread {
    /// Starts to watch the lane of `host`.
    pub(super) fn start(host: &Rc<Host>) -> Result<Self, String> {
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
        let waiter = host.lane.waiter().map_err(|e| e.to_string())?;
        let (for_thread, address) = (Arc::clone(&gate), function as usize);
        let run = move || {
            while !for_thread.stop.load(Ordering::Acquire) {
                // A second's time-out lets the thread notice that it should stop.
                if !waiter.wait(Duration::from_secs(1)) {
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
        Ok(Self { function, gate })
    }

    pub(super) fn hold(&self, env: sys::napi_env, hold: bool) {
        // SAFETY: the function lives until `stop`, after which the host calls this no more; this is the loop's thread.
        unsafe {
            match hold {
                true => sys::napi_ref_threadsafe_function(env, self.function),
                false => sys::napi_unref_threadsafe_function(env, self.function),
            };
        }
    }

    /// JavaScript has handled what there was.
    pub(super) fn handled(&self) {
        self.gate.open();
    }

    pub(super) fn stop(&self, host: &Host) {
        {
            // Held by the thread while it uses the function: from here on it does not.
            let mut handled = self.gate.handled.lock();
            self.gate.stop.store(true, Ordering::Release);
            *handled = true;
            self.gate.changed.notify_one();
        }
        // SAFETY: the one reference that `start` made is given back; queued calls are dropped.
        unsafe {
            let mode = sys::ThreadsafeFunctionReleaseMode::abort;
            sys::napi_release_threadsafe_function(self.function, mode);
        }
        host.closed();
    }
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
    // SAFETY: the count that `start` made is taken back, once.
    drop(unsafe { Rc::from_raw(data.cast::<Host>().cast_const()) });
}
