//! Subscribing to what a server has, over whatever transport connected to it.

use std::sync::Arc;

use arrowlane_dissociated::Receiver;
use arrowlane_transport::{Endpoint, Interest, Source};
use parking_lot::Mutex;

use super::{LINK, Origin, Subscription, SubscriptionOptions};
use crate::{
    Lane, PlaneError,
    link::{Link, Wire},
    topic::{GRPC, INPROC},
};

/// Beats without a sign of life, after which a server is taken for dead: one that beats as well, and one that does not.
const SILENT_BEATS: (u32, u32) = (10, 30);

/// As many where a message is on its way over a transport that does not tell how far it has come.
const ARRIVING_BEATS: u32 = 60;

impl Subscription {
    /// A subscription to what `ticket` stands for at the server that [`attach`](Self::attach) connects it to. Its events go
    /// to `home`; its connection is read on `lane`, which may be the same. `name` is what messages call it.
    pub fn with_ticket(
        name: String,
        ticket: Vec<u8>,
        options: SubscriptionOptions,
        home: &Arc<Lane>,
        lane: &Arc<Lane>,
    ) -> Arc<Self> {
        let this = Arc::new(Self {
            id: Lane::next_id(),
            lane: Arc::downgrade(lane),
            home: Arc::downgrade(home),
            origin: Origin::Server(ticket),
            topic: name,
            options,
            figures: Arc::default(),
            state: Mutex::default(),
        });
        home.add_subscription(this.id, &this);
        if !Arc::ptr_eq(home, lane) {
            lane.add_subscription(this.id, &this);
            // It beats from now on.
            lane.rouse();
        }
        this
    }

    /// Gives it its connection, once. From any thread. [`Event::Connected`](crate::Event::Connected) follows when the
    /// server was asked.
    pub fn attach(self: &Arc<Self>, endpoint: Box<dyn Endpoint>) -> Result<(), PlaneError> {
        let Some(lane) = self.lane.upgrade() else { return Err(PlaneError::Closed) };
        let mut state = self.state.lock();
        if state.ended || state.link.is_some() {
            return Err(PlaneError::Closed);
        }
        self.join(&mut state, &lane, endpoint)
    }

    /// What it asks for, without how.
    pub(super) fn asks_for(&self) -> &[u8] {
        match &self.origin {
            Origin::Topic(_) => self.topic.as_bytes(),
            Origin::Server(ticket) => ticket,
        }
    }

    /// What arrived is looked at again.
    pub(super) fn read_on(self: &Arc<Self>, link: &Arc<Link>, lane: &Arc<Lane>) {
        let mut wire = link.wire.lock();
        let Wire { endpoint: Some(endpoint), key: key @ None, .. } = &mut *wire else { return };
        let source: Arc<dyn Source> = self.clone();
        match lane.reactor().watch(endpoint.descriptor(), Interest::Read, source, LINK) {
            Ok(watched) => *key = Some(watched),
            Err(error) => tracing::error!(%error, "a connection cannot be read any more"),
        }
    }

    /// As [`beat`](Self::beat), for a lane whose loop may be busy: nothing counts that it had no time to read. `turns`: that lane's, the
    /// last time. `false` once it is over.
    pub(crate) fn beat_from_afar(self: &Arc<Self>, turns: &mut u64) -> bool {
        let Some(lane) = self.lane.upgrade() else { return false };
        if self.state.lock().ended {
            return false;
        }
        let now = lane.turn_number();
        if std::mem::replace(turns, now) == now {
            // Were it idle, it would not have turned by the next time.
            lane.rouse();
            return true;
        }
        let (this, there) = (Arc::clone(self), Arc::clone(&lane));
        lane.run(move || this.beat(&there));
        true
    }

    /// Once a second: shows the server that this side lives, and gives it up when it has shown nothing for long. A busy
    /// application does not matter: this is the thread that reads.
    pub(crate) fn beat(&self, lane: &Arc<Lane>) {
        let Origin::Server(_) = &self.origin else { return };
        let mut state = self.state.lock();
        let Some(link) = state.link.clone() else { return };
        // Whether a service of Flight lives, its own connection finds out; who is in this process lives.
        if state.ended || state.paused || [GRPC, INPROC].contains(&state.via) {
            return;
        }
        state.silence += 1;
        let mut wire = link.wire.lock();
        let extended = wire.receiver.as_ref().is_some_and(Receiver::is_extended);
        // One large message may be on its way for longer than that, and nothing shows how far it has come.
        let arriving = wire.endpoint.as_ref().and_then(|endpoint| endpoint.stirs_by_itself()) == Some(true);
        let patience = match (arriving, extended) {
            (true, _) => ARRIVING_BEATS,
            (_, true) => SILENT_BEATS.0,
            (_, false) => SILENT_BEATS.1,
        };
        if state.silence > patience {
            // What the server left out says more than the silence.
            let missing = wire.receiver.as_ref().and_then(Receiver::left_out);
            drop(wire);
            let silent = || PlaneError::Silent { peer: self.topic.clone(), seconds: patience };
            let silent = missing.map_or_else(silent, PlaneError::from);
            return self.end(state, &link, lane, Some(silent));
        }
        drop(state);
        if let Wire { endpoint: Some(endpoint), receiver: Some(receiver), .. } = &mut *wire
            && extended
        {
            receiver.heartbeat(&mut **endpoint);
        }
        drop(wire);
        link.flush();
    }
}
