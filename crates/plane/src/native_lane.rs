//! A lane whose event loop is a thread of its own.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use arrowlane_transport::TransportError;
use parking_lot::Mutex;

use crate::{Event, Lane, PlaneError};

/// How often peers of the network are shown that this process lives.
const BEAT: Duration = Duration::from_secs(1);

/// Hears of what happens to one publisher. Called on the lane's thread.
pub(crate) type Handler = Arc<dyn Fn(Event) + Send + Sync>;

/// A lane that goes on while JavaScript is busy: it serves datasets, and reads what comes over the network. There is one
/// for a process, made when it is first needed; its thread sleeps while nothing happens, and never ends.
pub struct NativeLane {
    lane: Arc<Lane>,
    handlers: Arc<Handlers>,
}

#[derive(Default)]
struct Handlers(Mutex<HashMap<u32, Handler>>);

impl NativeLane {
    /// This process's.
    ///
    /// # Errors
    /// Where the system gives no thread or descriptor; it is tried anew the next time.
    pub fn shared() -> Result<&'static Self, PlaneError> {
        static SHARED: OnceLock<NativeLane> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        if let Some(lane) = SHARED.get() {
            return Ok(lane);
        }
        let _one_at_a_time = STARTING.lock();
        if let Some(lane) = SHARED.get() {
            return Ok(lane);
        }
        let started = Self::start()?;
        Ok(SHARED.get_or_init(|| started))
    }

    fn start() -> Result<Self, PlaneError> {
        let handlers = Arc::new(Handlers::default());
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let theirs = Arc::clone(&handlers);
        let run = move || match Lane::new() {
            Ok(lane) => {
                // Whoever starts it waits for this.
                let _ = tell.send(Ok(Arc::clone(&lane)));
                theirs.run(&lane);
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        };
        let gone = |_| PlaneError::from(TransportError::io("starting a thread", std::io::Error::other("it ended")));
        std::thread::Builder::new()
            .name("arrowlane-lane".into())
            .spawn(run)
            .map_err(|error| TransportError::io("starting a thread", error))?;
        let lane = told.recv().map_err(gone)??;
        Ok(Self { lane, handlers })
    }

    /// The lane.
    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    pub(crate) fn handle(&self, id: u32, handler: Handler) {
        self.handlers.0.lock().insert(id, handler);
    }

    pub(crate) fn forget(&self, id: u32) {
        let forgotten = self.handlers.0.lock().remove(&id);
        drop(forgotten);
    }
}

impl Handlers {
    fn run(&self, lane: &Arc<Lane>) {
        let mut events = Vec::new();
        let mut next = Instant::now() + BEAT;
        loop {
            // Beats are for those who are connected; without any this thread sleeps.
            let wait = lane.has_company().then(|| next.saturating_duration_since(Instant::now()));
            if let Err(error) = lane.turn(wait, &mut events) {
                tracing::error!(%error, "the native lane cannot wait for its descriptors");
                std::thread::sleep(BEAT);
            }
            for (id, event) in events.drain(..) {
                let handler = self.0.lock().get(&id).cloned();
                if let Some(handler) = handler {
                    handler(event);
                }
            }
            let now = Instant::now();
            if wait.is_none() {
                next = now + BEAT;
            } else if now >= next {
                lane.beat();
                next = now + BEAT;
            }
            lane.idle();
        }
    }
}
