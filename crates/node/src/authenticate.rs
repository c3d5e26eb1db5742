//! JavaScript decides who a caller of Flight is.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use arrowlane_flight::{Authenticate, BoxFuture, Credentials, Denied, Identity};
use napi::{
    Status,
    bindgen_prelude::FnArgs,
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A question: its number, `none`, `bearer` or `basic`, the token or the name, the password, and where the caller is.
pub type Question = FnArgs<(u32, String, String, String, String)>;
/// What is called with it. It does not keep the environment alive.
pub type Asked = ThreadsafeFunction<Question, (), Question, Status, false, true>;

/// Questions that JavaScript was asked and has not answered.
#[derive(Default)]
pub struct Pending {
    next: AtomicU32,
    waiting: Mutex<HashMap<u32, oneshot::Sender<Result<Identity, Denied>>>>,
}

impl Pending {
    /// JavaScript's answer: who it is, or what the caller is told.
    pub fn answer(&self, question: u32, answer: Result<Identity, Denied>) {
        let waiting = self.waiting.lock().remove(&question);
        // The call may have ended meanwhile.
        waiting.map(|waiting| waiting.send(answer));
    }
}

/// Asks JavaScript.
pub struct Hook {
    pub asked: Asked,
    pub pending: Arc<Pending>,
}

impl Authenticate for Hook {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials,
        peer: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Identity, Denied>> {
        Box::pin(async move {
            let (kind, first, second) = match credentials {
                Credentials::None => ("none", String::new(), String::new()),
                Credentials::Bearer(token) => ("bearer", token, String::new()),
                Credentials::Basic { user, password } => ("basic", user, password),
            };
            let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
            let question = self.pending.next.fetch_add(1, Ordering::Relaxed);
            let (tell, told) = oneshot::channel();
            self.pending.waiting.lock().insert(question, tell);
            let forgotten = Forget { pending: &self.pending, question };
            let mode = ThreadsafeFunctionCallMode::NonBlocking;
            let status = self.asked.call(FnArgs { data: (question, kind.into(), first, second, peer) }, mode);
            let gone = || Denied("this server decides about nobody any more".into());
            if status != Status::Ok {
                return Err(gone());
            }
            let answer = told.await.unwrap_or_else(|_| Err(gone()));
            drop(forgotten);
            answer
        })
    }
}

/// A question whose call ended is not kept.
struct Forget<'a> {
    pending: &'a Pending,
    question: u32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.pending.waiting.lock().remove(&self.question);
    }
}
