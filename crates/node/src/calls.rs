//! The four calls that every batch makes.
//!
//! They do what methods of [`NativeLane`] would do, without what napi-derive does around a method (unwrapping the receiver,
//! checking its type tag, tracking borrows), which costs as much as the calls themselves: plain functions of Node-API, each
//! with a counted reference to the host behind it.

use std::{
    ffi::{CStr, c_void},
    ptr,
    rc::Rc,
};

use napi::{Env, bindgen_prelude::*, sys};
use napi_derive::napi;

use crate::{
    error::{CodedError, Result, node},
    host::Host,
    lane::{NativeLane, Raw},
};

/// A call: its arguments are values of the current scope, missing ones `undefined`.
type Call<const N: usize> = fn(&NativeLane, &Env, [sys::napi_value; N]) -> Result<sys::napi_value>;

#[napi]
impl NativeLane {
    /// The calls that every batch makes; see `ts/native/lane.ts`.
    #[napi(ts_return_type = "unknown")]
    pub fn calls(&self, env: &Env) -> Result<Raw> {
        let mut object = ptr::null_mut();
        // SAFETY: a plain Node-API call on the current environment.
        let status = unsafe { sys::napi_create_object(env.raw(), &mut object) };
        napi::check_status!(status).map_err(node)?;
        self.define(env, object, c"allocate", on_allocate)?;
        self.define(env, object, c"send", on_send)?;
        self.define(env, object, c"open", on_open)?;
        self.define(env, object, c"dispose1", on_dispose1)?;
        Ok(Raw(object))
    }

    fn define(&self, env: &Env, object: sys::napi_value, name: &CStr, call: Trampoline) -> Result<()> {
        let data = Rc::into_raw(Rc::clone(&self.host)).cast_mut().cast::<c_void>();
        let mut function = ptr::null_mut();
        // SAFETY: plain Node-API calls on the current environment. The function's data is a counted reference to the host,
        // taken back by the finalizer that is attached to the function itself, so it is there whenever the function is.
        unsafe {
            let length = name.count_bytes() as isize;
            let made = sys::napi_create_function(env.raw(), name.as_ptr(), length, Some(call), data, &mut function);
            if made != sys::Status::napi_ok {
                drop(Rc::from_raw(data.cast::<Host>().cast_const()));
            }
            napi::check_status!(made).map_err(node)?;
            let (hint, reference) = (ptr::null_mut(), ptr::null_mut());
            let kept = sys::napi_add_finalizer(env.raw(), function, data, Some(on_collected), hint, reference);
            napi::check_status!(kept).map_err(node)?;
            napi::check_status!(sys::napi_set_named_property(env.raw(), object, name.as_ptr(), function)).map_err(node)
        }
    }
}

type Trampoline = unsafe extern "C" fn(sys::napi_env, sys::napi_callback_info) -> sys::napi_value;

unsafe extern "C" fn on_allocate(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node calls this with its environment and a function that `define` made.
    unsafe {
        run(env, info, |lane, env, [publisher, bytes]| lane.allocate(env, uint(env, publisher)?, double(env, bytes)?))
    }
}

unsafe extern "C" fn on_send(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: as for `on_allocate`.
    unsafe {
        run(env, info, |lane, env, [buffer, metadata]| lane.send(env, given(env, buffer)?, texts(env, metadata)?))
    }
}

unsafe extern "C" fn on_open(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: as for `on_allocate`.
    unsafe { run(env, info, |lane, env, [batch]| lane.open(env, uint(env, batch)?)) }
}

unsafe extern "C" fn on_dispose1(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: as for `on_allocate`.
    unsafe {
        run(env, info, |lane, env, [batch, buffer]| {
            lane.dispose1(env, uint(env, batch)?, buffer).map(|()| ptr::null_mut())
        })
    }
}

unsafe extern "C" fn on_collected(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: the count that `define` made is taken back, once, on the environment's thread.
    drop(unsafe { Rc::from_raw(data.cast::<Host>().cast_const()) });
}

/// Calls with the arguments of `info` and throws what fails.
///
/// # Safety
/// `env` and `info` are those of a call of a function that `define` made.
unsafe fn run<const N: usize>(env: sys::napi_env, info: sys::napi_callback_info, call: Call<N>) -> sys::napi_value {
    let (mut count, mut arguments, mut data) = (N, [ptr::null_mut(); N], ptr::null_mut());
    // SAFETY: there is room for as many arguments as `count` says; Node fills up with `undefined`. The data is a live
    // reference to the host: a second count keeps it through the call.
    let host = unsafe {
        sys::napi_get_cb_info(env, info, &mut count, arguments.as_mut_ptr(), ptr::null_mut(), &mut data);
        let host = data.cast::<Host>().cast_const();
        Rc::increment_strong_count(host);
        Rc::from_raw(host)
    };
    match call(&NativeLane { host }, &Env::from_raw(env), arguments) {
        Ok(value) => value,
        Err(error) => {
            throw(env, &error);
            ptr::null_mut()
        }
    }
}

fn throw(env: sys::napi_env, error: &CodedError) {
    let string = |text: &str| {
        let mut value = ptr::null_mut();
        // SAFETY: a plain Node-API call on the current environment with a valid text.
        unsafe { sys::napi_create_string_utf8(env, text.as_ptr().cast(), text.len() as isize, &mut value) };
        value
    };
    let (code, message, mut value) = (string(&error.status), string(&error.reason), ptr::null_mut());
    // SAFETY: plain Node-API calls with values of the current scope.
    unsafe {
        sys::napi_create_error(env, code, message, &mut value);
        sys::napi_throw(env, value);
    }
}

fn uint(env: &Env, value: sys::napi_value) -> Result<u32> {
    let mut number = 0;
    // SAFETY: a plain Node-API call with a value of the current scope; another type is refused with a status.
    napi::check_status!(unsafe { sys::napi_get_value_uint32(env.raw(), value, &mut number) }).map_err(node)?;
    Ok(number)
}

fn double(env: &Env, value: sys::napi_value) -> Result<f64> {
    let mut number = 0.0;
    // SAFETY: as for `uint`.
    napi::check_status!(unsafe { sys::napi_get_value_double(env.raw(), value, &mut number) }).map_err(node)?;
    Ok(number)
}

/// `None` for `undefined`.
fn given(env: &Env, value: sys::napi_value) -> Result<Option<sys::napi_value>> {
    let mut kind = 0;
    // SAFETY: as for `uint`.
    napi::check_status!(unsafe { sys::napi_typeof(env.raw(), value, &mut kind) }).map_err(node)?;
    Ok((kind != sys::ValueType::napi_undefined).then_some(value))
}

fn texts(env: &Env, value: sys::napi_value) -> Result<Option<Vec<String>>> {
    let Some(value) = given(env, value)? else { return Ok(None) };
    // SAFETY: a value of the current scope; another type is refused.
    unsafe { Vec::from_napi_value(env.raw(), value) }.map(Some).map_err(node)
}
