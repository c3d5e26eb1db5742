//! Calls that run on Flight's threads. None of libuv's waits for them: those are the application's, for its files and names.

use std::future::Future;

use arrowlane_flight::{CallOptions, Cancellation, Runtime};
use napi::{Env, bindgen_prelude::*};
use napi_derive::napi;

use crate::error::{CodedError, Result, coded, node};

/// Gives calls up: they end with an error, at the service too.
#[napi]
#[derive(Default)]
pub struct NativeCancellation {
    token: Cancellation,
}

#[napi]
impl NativeCancellation {
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    #[napi]
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// For a call that can be given up by this.
    pub(crate) fn options(&self) -> CallOptions {
        CallOptions { cancel: self.token.clone(), ..CallOptions::default() }
    }
}

/// A promise of what a call comes to; `result` is what JavaScript gets, success or not.
pub fn promised<'env, T, V, F>(
    env: &'env Env,
    call: impl FnOnce() -> F + Send + 'static,
    result: fn(std::result::Result<T, CodedError>) -> V,
) -> Result<Object<'env>>
where
    F: Future<Output = std::result::Result<T, CodedError>> + Send + 'static,
    T: Send + 'static,
    V: ToNapiValue + 'static,
{
    let runtime = Runtime::shared().map_err(|error| coded("ERR_RUNTIME", &error))?;
    let (deferred, promise) = env.create_deferred().map_err(node)?;
    // It is not to end with the threads before it was told.
    let threads = runtime.clone();
    drop(runtime.spawn(async move {
        let outcome = call().await;
        deferred.resolve(move |_| Ok(result(outcome)));
        drop(threads);
    }));
    Ok(promise)
}
