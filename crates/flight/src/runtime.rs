//! The threads that Flight runs on.

use std::future::Future;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// Enough for the control plane and for one stream's encryption beside another's.
const THREADS: usize = 2;

/// What the threads are called in a debugger.
pub(crate) const THREAD_NAME: &str = "al-flight";

static SHARED: Mutex<Weak<Inner>> = Mutex::new(Weak::new());

/// A handle to the two threads that all servers and clients of this process share.
///
/// They start with the first handle and end soon after the last one was dropped; until then, and afterwards, there is nothing of
/// Flight in the process. Every [`Server`](crate::Server) and [`Client`](crate::Client) holds a handle. Cloning is cheap; any thread may
/// use it, and drop it.
#[derive(Clone, Debug)]
pub struct Runtime(Arc<Inner>);

#[derive(Debug)]
struct Inner(Option<tokio::runtime::Runtime>);

impl Runtime {
    /// The runtime of this process; its threads are started where there are none.
    ///
    /// # Errors
    /// When the system gives no threads or no poll descriptor.
    pub fn shared() -> std::io::Result<Self> {
        let mut shared = SHARED.lock();
        if let Some(inner) = shared.upgrade() {
            return Ok(Self(inner));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            // One for each stream that waits for something: topics, and what is made as it is sent.
            .max_blocking_threads(1024)
            .thread_name(THREAD_NAME)
            .enable_io()
            .enable_time()
            .build()?;
        let inner = Arc::new(Inner(Some(runtime)));
        *shared = Arc::downgrade(&inner);
        Ok(Self(inner))
    }

    /// Runs a future on the runtime's threads. It is dropped unfinished when the runtime ends, which the future can prevent by
    /// holding a handle itself.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle().spawn(future)
    }

    /// Waits for a future on this thread, which must not be one of the runtime's own.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle().block_on(future)
    }

    pub(crate) fn handle(&self) -> &tokio::runtime::Handle {
        match &self.0.0 {
            Some(runtime) => runtime.handle(),
            // Only `Drop` takes it.
            None => unreachable!("a runtime that was dropped is still used"),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // The last handle may go on one of its own threads, where waiting for them is not possible.
            runtime.shutdown_background();
        }
    }
}
