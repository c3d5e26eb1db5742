//! A lane whose event loop is a thread of its own.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};

use arrowlane_transport::TransportError;
use parking_lot::Mutex;

use crate::{Event, Lane, PlaneError, Publisher, Subscription};

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
struct Handlers {
    known: Mutex<HashMap<u32, Handler>>,
    /// Publishers of other lanes that are offered to the network, and how often their lanes had turned.
    afar: Mutex<Vec<(Weak<Publisher>, u64)>>,
    /// Subscriptions to servers that are read by other lanes, likewise.
    readers: Mutex<Vec<(Weak<Subscription>, u64)>>,
}

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
        self.handlers.known.lock().insert(id, handler);
    }

    /// Shows the subscribers of another lane's publisher that it lives, though that lane be busy.
    pub(crate) fn beat_for(&self, publisher: &Arc<Publisher>) {
        let mut afar = self.handlers.afar.lock();
        let weak = Arc::downgrade(publisher);
        afar.retain(|(known, _)| known.strong_count() > 0 && !known.ptr_eq(&weak));
        afar.push((weak, 0));
    }

    /// Notices when the server of another lane's subscription stops, and shows it that this side lives.
    pub fn watch_over(&self, subscription: &Arc<Subscription>) {
        self.handlers.readers.lock().push((Arc::downgrade(subscription), 0));
        // It beats from now on.
        self.lane.rouse();
    }

    pub(crate) fn forget(&self, id: u32) {
        let forgotten = self.handlers.known.lock().remove(&id);
        drop(forgotten);
    }
}

impl Handlers {
    fn run(&self, lane: &Arc<Lane>) {
        let mut events = Vec::new();
        let mut beating = false;
        let mut next = Instant::now() + BEAT;
        loop {
            // Beats are for those who are connected; without any this thread sleeps.
            let wait = next.saturating_duration_since(Instant::now());
            if let Err(error) = lane.turn(Some(if beating { wait } else { 60 * BEAT }), &mut events) {
                tracing::error!(%error, "the native lane cannot wait for its descriptors");
                std::thread::sleep(BEAT);
            }
            for (id, event) in events.drain(..) {
                let handler = self.known.lock().get(&id).cloned();
                if let Some(handler) = handler {
                    handler(event);
                }
            }
            if !beating || Instant::now() >= next {
                beating = lane.beat() | self.beat_afar() | self.beat_readers();
                next = Instant::now() + BEAT;
            }
            lane.idle();
        }
    }

    /// Whether anybody was shown.
    fn beat_afar(&self) -> bool {
        let publishers: Vec<_> = self.afar.lock().iter().map(|(weak, turns)| (weak.clone(), *turns)).collect();
        let mut any = false;
        for (weak, mut turns) in publishers {
            let Some(publisher) = weak.upgrade() else { continue };
            any |= publisher.beat_from_afar(&mut turns);
            let mut afar = self.afar.lock();
            afar.iter_mut().filter(|(known, _)| known.ptr_eq(&weak)).for_each(|(_, known)| *known = turns);
        }
        any
    }

    /// Whether there are any.
    fn beat_readers(&self) -> bool {
        let mut readers = self.readers.lock();
        readers.retain_mut(|(weak, turns)| weak.upgrade().is_some_and(|reader| reader.beat_from_afar(turns)));
        !readers.is_empty()
    }
}
