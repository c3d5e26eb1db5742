//! JavaScript answers what clients of Flight send in exchanges, and sends in them itself.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use arrowlane_flight::{Caller, Cancellation, CatalogError, Exchanger, GrpcEndpoint, Live, Snapshot};
use arrowlane_plane::Publisher;
use napi::{
    Status,
    bindgen_prelude::{FnArgs, Function, Uint8Array},
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use napi_derive::napi;
use parking_lot::Mutex;

use crate::{
    error::{Result, node, plane, stale},
    flight::{NativeClient, descriptor},
    lane::NativeLane,
    remote::NativeConnection,
    serve::NativeServer,
};

/// An exchange: its number, what it is called, who the caller is and where; empty where that is not known.
pub type Begun = FnArgs<(u32, String, String, String)>;
/// What is called with it. It does not keep the environment alive.
type Told = ThreadsafeFunction<Begun, (), Begun, Status, false, true>;

/// How long JavaScript may take to begin with an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Exchanges that JavaScript was told of and has not answered.
#[derive(Default)]
pub struct Exchanges {
    next: AtomicU32,
    waiting: Mutex<HashMap<u32, Waiting>>,
}

struct Waiting {
    /// Taken by JavaScript, to read what comes.
    incoming: Option<GrpcEndpoint>,
    answer: SyncSender<std::result::Result<Arc<Publisher>, CatalogError>>,
}

impl Exchanges {
    fn answer(&self, exchange: u32, answer: std::result::Result<Arc<Publisher>, CatalogError>) {
        let waiting = self.waiting.lock().remove(&exchange);
        // The call may have ended meanwhile.
        let _ = waiting.map(|waiting| waiting.answer.send(answer));
    }
}

/// Asks JavaScript.
struct Hook {
    told: Told,
    exchanges: Arc<Exchanges>,
}

/// Has exchanges answered by `told`.
pub fn exchanger(
    told: Option<Function<'_, Begun, ()>>,
    exchanges: &Arc<Exchanges>,
) -> Result<Option<Box<dyn Exchanger>>> {
    let Some(told) = told else { return Ok(None) };
    let told = told.build_threadsafe_function().weak::<true>().build().map_err(node)?;
    Ok(Some(Box::new(Hook { told, exchanges: Arc::clone(exchanges) })))
}

impl Exchanger for Hook {
    fn answer(
        &self,
        name: &str,
        caller: &Caller,
        incoming: GrpcEndpoint,
    ) -> std::result::Result<Arc<Publisher>, CatalogError> {
        let (tell, told) = sync_channel(1);
        let exchange = self.exchanges.next.fetch_add(1, Ordering::Relaxed);
        self.exchanges.waiting.lock().insert(exchange, Waiting { incoming: Some(incoming), answer: tell });
        let identity = caller.identity.as_deref().unwrap_or_default().to_owned();
        let peer = caller.address.map(|peer| peer.to_string()).unwrap_or_default();
        let mode = ThreadsafeFunctionCallMode::NonBlocking;
        let asked = self.told.call(FnArgs { data: (exchange, name.to_owned(), identity, peer) }, mode);
        let answer =
            if asked == Status::Ok { told.recv_timeout(PATIENCE) } else { Err(RecvTimeoutError::Disconnected) };
        self.exchanges.waiting.lock().remove(&exchange);
        answer.unwrap_or_else(|error| {
            Err(CatalogError::Failed(match error {
                RecvTimeoutError::Timeout => "the server did not begin to answer in time; try again".into(),
                RecvTimeoutError::Disconnected => "this server answers nobody any more".into(),
            }))
        })
    }
}

#[napi]
impl NativeServer {
    /// What the client sends in an exchange, to subscribe over; any ticket does.
    #[napi]
    pub fn exchange_incoming(&self, exchange: u32) -> Result<NativeConnection> {
        let mut waiting = self.exchanges.waiting.lock();
        let incoming = waiting.get_mut(&exchange).and_then(|waiting| waiting.incoming.take());
        Ok(NativeConnection::of(Box::new(incoming.ok_or_else(|| stale("exchange"))?)))
    }

    /// Answers an exchange with what a publisher sends to its one subscriber; or with why not.
    #[napi]
    pub fn answer_exchange(
        &self,
        exchange: u32,
        lane: &NativeLane,
        publisher: Option<u32>,
        refusal: Option<String>,
    ) -> Result<()> {
        let answer = match publisher {
            Some(publisher) => Ok(lane.publisher(publisher)?),
            None => Err(CatalogError::Unsupported(refusal.unwrap_or_default())),
        };
        self.exchanges.answer(exchange, answer);
        Ok(())
    }
}

#[napi]
impl NativeClient {
    /// An exchange under a path or a command, in which what a publisher sends to its one subscriber goes out; to subscribe over. `staging` is
    /// where that subscriber comes in, until it is closed.
    #[napi]
    pub fn open_exchange(
        &self,
        path: Option<Vec<String>>,
        command: Option<Uint8Array>,
        staging: &NativeServer,
        lane: &NativeLane,
        publisher: u32,
    ) -> Result<NativeConnection> {
        let (server, publisher) = (Arc::clone(&staging.server), lane.publisher(publisher)?);
        let outgoing =
            move |given_up: &Cancellation| Ok(Box::new(Live::of(&server, &publisher, given_up)?) as Box<dyn Snapshot>);
        let descriptor = descriptor(path, command);
        let endpoint = GrpcEndpoint::exchange(self.client.clone(), descriptor, outgoing);
        Ok(NativeConnection::of(Box::new(endpoint.map_err(|error| plane(error.into()))?)))
    }
}
