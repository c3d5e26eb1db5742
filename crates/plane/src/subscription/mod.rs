//! The receiving side of a topic.

mod arrival;
mod delivered;
mod figures;
mod options;
mod reading;
mod reconnect;
mod remote;
mod whole;

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use arrowlane_transport::{
    Endpoint, Interest, Readiness, Source, TransportError,
    shm::{Folder, FolderWatch, ShmListener},
};
use parking_lot::Mutex;

use self::delivered::Delivered;
pub use self::{
    figures::{Figures, SubscriptionStatistics},
    options::{SubscriptionOptions, Target},
};
use crate::{BatchSchema, Dictionary, Event, Lane, PlaneError, link::Link};

/// Tokens among a subscription's sources.
const WATCH: u64 = 0;
const LINK: u64 = 1;

/// A topic's receiving side. Used on its lane's thread; leases may end on any.
pub struct Subscription {
    id: u32,
    /// Where its connection is read.
    lane: Weak<Lane>,
    /// Where its events go: the same, unless it reads over the network.
    home: Weak<Lane>,
    origin: Origin,
    /// The topic, or the URI: for messages.
    topic: String,
    options: SubscriptionOptions,
    figures: Arc<Figures>,
    state: Mutex<State>,
}

/// Whom it asks, and for what.
enum Origin {
    /// A topic of this user: whoever publishes it, now or later.
    Topic(Arc<Folder>),
    /// One server, which was connected to by somebody else, for what this ticket stands for.
    Server(Vec<u8>),
}

#[derive(Default)]
struct State {
    watch: Option<(FolderWatch, u64)>,
    link: Option<Arc<Link>>,
    schema: Option<Arc<BatchSchema>>,
    dictionaries: HashMap<i64, Arc<Dictionary>>,
    delivered: Delivered,
    /// Delivered by publishers that are gone, and not taken.
    stale: usize,
    /// How bodies come from the publisher.
    via: &'static str,
    /// Had a publisher, and waits for the next.
    lost: bool,
    ended: bool,
    /// Closed by the application: what still arrives goes back unseen, until the publisher's end.
    draining: bool,
    /// Beats since anything was heard from the server.
    silence: u32,
    /// Too much waits for the application: nothing is read.
    paused: bool,
}

impl Subscription {
    /// A subscription that is not connected yet; [`connect`](Self::connect) does that.
    pub fn new(folder: Arc<Folder>, target: Target, options: SubscriptionOptions, lane: &Arc<Lane>) -> Arc<Self> {
        let Target::Topic(topic) = target;
        let id = Lane::next_id();
        let (state, figures) = (Mutex::default(), Arc::default());
        let (lane_, home, origin) = (Arc::downgrade(lane), Arc::downgrade(lane), Origin::Topic(folder));
        let this = Arc::new(Self { id, lane: lane_, home, origin, topic, options, figures, state });
        lane.add_subscription(id, &this);
        this
    }

    /// Its id in events.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The schema, once it arrived.
    pub fn schema(&self) -> Option<Arc<BatchSchema>> {
        self.state.lock().schema.clone()
    }

    /// Its figures, which outlive it.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Connects, or starts to wait for a publisher. [`Event::Connected`] follows, at once or later; after
    /// [`Event::Retry`] this is to be called again.
    ///
    /// # Errors
    /// When there is no publisher and waiting was not asked for, or there never can be one under that name.
    pub fn connect(self: &Arc<Self>) -> Result<(), PlaneError> {
        let Some(lane) = self.lane.upgrade() else { return Err(PlaneError::Closed) };
        let Origin::Topic(folder) = &self.origin else { return Ok(()) };
        let mut state = self.state.lock();
        if state.ended || state.link.is_some() {
            return Ok(());
        }
        let wait = self.options.wait || state.lost;
        if wait && state.watch.is_none() {
            // Before the first attempt, so that no publisher can appear unnoticed between the two.
            let watch = folder.watch()?;
            let source: Arc<dyn Source> = self.clone();
            let key = lane.reactor().watch(watch.descriptor(), Interest::Read, source, WATCH)?;
            state.watch = Some((watch, key));
        }
        match ShmListener::connect(folder, &self.topic) {
            Ok(endpoint) => {
                Self::stop_watching(&mut state, &lane);
                self.join(&mut state, &lane, Box::new(endpoint))
            }
            Err(TransportError::NotFound(_)) if wait => Ok(()),
            Err(TransportError::Busy(_)) => {
                self.emit(&lane, Event::Retry);
                Ok(())
            }
            Err(error) => {
                Self::stop_watching(&mut state, &lane);
                state.ended = true;
                Err(error.into())
            }
        }
    }

    fn join(
        self: &Arc<Self>,
        state: &mut State,
        lane: &Arc<Lane>,
        endpoint: Box<dyn Endpoint>,
    ) -> Result<(), PlaneError> {
        let link = Link::new(endpoint, lane);
        let mut wire = link.wire.lock();
        let source: Arc<dyn Source> = self.clone();
        if let Some(endpoint) = &wire.endpoint {
            // One that is not connected yet waits for that.
            let writing = endpoint.wants_write();
            let interest = if writing { Interest::ReadWrite } else { Interest::Read };
            wire.key = Some(lane.reactor().watch(endpoint.descriptor(), interest, source, LINK)?);
            wire.writing = writing;
        }
        drop(wire);
        self.figures.connected(&link);
        state.link = Some(link);
        Ok(())
    }

    /// Tells the application, on its own lane.
    fn emit(&self, lane: &Lane, event: Event) {
        match self.home.upgrade() {
            Some(home) if std::ptr::eq(&*home, lane) => lane.emit(self.id, event),
            Some(home) => home.announce(self.id, event),
            None => {}
        }
    }

    /// Nothing follows.
    fn leave(&self, lane: &Lane) {
        lane.remove(self.id);
        if let Some(home) = self.home.upgrade() {
            home.remove(self.id);
        }
    }

    /// The oldest of the delivered batches was taken by the application: the publisher may send that much more.
    pub fn taken(&self) {
        let mut state = self.state.lock();
        if state.stale > 0 {
            state.stale -= 1;
            return;
        }
        let Some(bytes) = state.delivered.take() else { return };
        let link = state.link.clone();
        let resume = state.paused && state.delivered.is_little();
        state.paused &= !resume;
        drop(state);
        let (Some(link), Some(lane)) = (link, self.lane.upgrade()) else { return };
        if resume && let Some(this) = lane.subscription(self.id) {
            this.read_on(&link, &lane);
        }
        if let Some(receiver) = &mut link.wire.lock().receiver {
            // One without bytes counts as one byte, so that it is waited for as well.
            receiver.consumed(bytes.max(1));
        }
        // Where another thread reads, it tells the publisher as well, with what else was taken until it comes to that.
        if link.flush_later(&lane) && !lane.is_here() {
            lane.rouse();
        }
    }

    /// Ends delivery. Batches that are held stay valid, and so does the connection until the last of them ends.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        let lane = self.lane.upgrade();
        if let Some(lane) = &lane {
            Self::stop_watching(&mut state, lane);
        }
        let link = state.link.clone();
        state.draining = true;
        let dictionaries = std::mem::take(&mut state.dictionaries);
        drop(state);
        drop(dictionaries);
        if let Some(link) = link {
            link.close();
        }
        if let Some(lane) = lane {
            self.leave(&lane);
        }
    }

    fn stop_watching(state: &mut State, lane: &Lane) {
        if let Some((watch, key)) = state.watch.take() {
            lane.reactor().forget(key, watch.descriptor());
        }
    }

    /// Nothing follows: the connection lives on for the leases that are held, and is taken down with the last.
    fn end(
        &self,
        mut state: parking_lot::MutexGuard<'_, State>,
        link: &Arc<Link>,
        lane: &Arc<Lane>,
        error: Option<PlaneError>,
    ) {
        state.ended = true;
        state.link = None;
        let dictionaries = std::mem::take(&mut state.dictionaries);
        drop(state);
        drop(dictionaries);
        match error {
            Some(error) => {
                if matches!(error, PlaneError::PublisherLost { .. }) {
                    link.hang_up(&mut link.wire.lock());
                } else {
                    link.close();
                    link.stop_reading();
                }
                self.emit(lane, Event::Failed(error));
            }
            None => {
                link.close();
                link.stop_reading();
            }
        }
        self.leave(lane);
    }
}

impl Source for Subscription {
    fn ready(&self, token: u64, readiness: Readiness) {
        let Some(lane) = self.lane.upgrade() else { return };
        if token == LINK {
            // Also when it was closed, and the lane knows it no more.
            return self.link_ready(&lane, readiness);
        }
        let Some(this) = lane.subscription(self.id) else { return };
        if let Some((watch, _)) = &this.state.lock().watch {
            watch.drain();
        }
        if let Err(error) = this.connect() {
            lane.emit(self.id, Event::Failed(error));
            lane.remove(self.id);
        }
    }
}
