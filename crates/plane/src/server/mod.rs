//! Serving datasets and topics, over every transport, without an event loop of JavaScript's.
//!
//! # Design
//! A [`Server`] has a *shelf* of what it offers by name, *tickets* that stand for it, and a *reception* for each of its
//! listeners. Whoever connects says which ticket they hold and is handed to a [`Publisher`]: the topic's own, or that of
//! the dataset, in whose memory all batches lie already. From there on it is a subscriber like any other; a *feeder* sends
//! each the batches of a dataset in their order, as fast as that subscriber takes them.
//!
//! Everything runs on the process's [`NativeLane`].
//!
//! ```text
//! listener ─▶ reception ── ticket ─▶ tickets ─▶ dataset's Publisher ◀─ feeder
//!                                           └─▶ topic's Publisher
//! ```

mod bodies;
mod dataset;
mod feeder;
mod following;
mod halves;
mod reception;
mod tickets;
mod words;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arrowlane_transport::Listener;
use parking_lot::Mutex;

pub use self::{
    dataset::{Dataset, DatasetBuilder, DatasetOptions, Message},
    following::{Followed, Following},
    tickets::{Minted, Refused},
};
use self::{
    reception::Reception,
    tickets::{Stands, Tickets},
};
use crate::{NativeLane, PlaneError, Publisher, topic};

/// Offers datasets and topics to whoever holds a ticket. Used from any thread.
pub struct Server {
    lane: &'static NativeLane,
    desk: Arc<Desk>,
    reception: Arc<Reception>,
}

/// What the reception asks.
pub(crate) struct Desk {
    shelf: Mutex<BTreeMap<String, Stands>>,
    tickets: Mutex<Tickets>,
}

/// What a server offers under a name.
#[derive(Clone)]
pub enum Offer {
    /// Batches that lie in this process's memory.
    Dataset(Arc<Dataset>),
    /// A topic, which anybody with a ticket may join.
    Topic(Arc<Publisher>),
}

impl Server {
    /// A server that offers nothing yet and listens nowhere. Its tickets are valid for `ticket_life`.
    pub fn new(ticket_life: Duration) -> Result<Self, PlaneError> {
        let lane = NativeLane::shared()?;
        let desk = Arc::new(Desk { shelf: Mutex::default(), tickets: Mutex::new(Tickets::new(ticket_life)) });
        let reception = Reception::new(lane.lane(), Arc::clone(&desk))?;
        Ok(Self { lane, desk, reception })
    }

    /// Lets in whoever comes to a listener, from now on. The URI by which they do.
    pub fn listen(&self, listener: Box<dyn Listener>) -> Result<String, PlaneError> {
        self.reception.open(listener)
    }

    /// The URIs of all listeners.
    pub fn uris(&self) -> Vec<String> {
        self.reception.uris()
    }

    /// The URIs of two connections, for whoever fetches metadata over the one and bodies over the other; of the first listener
    /// that other hosts reach, or else of the first.
    ///
    /// # Errors
    /// Where nothing is listened to.
    pub fn halves(&self) -> Result<[String; 2], PlaneError> {
        let uris = self.uris();
        let remote = uris.iter().find(|uri| !uri.starts_with("shm:"));
        let uri = remote.or(uris.first()).ok_or(PlaneError::Closed)?;
        Ok(topic::halves_of(uri)?.map(|half| half.to_string()))
    }

    /// Begins a dataset; it is offered when it is [put](Self::put).
    pub fn dataset(&self, options: DatasetOptions) -> Result<DatasetBuilder, PlaneError> {
        DatasetBuilder::new(self.lane, options)
    }

    /// Offers something under a name. What had that name before is offered no more; transfers that go on, and tickets that
    /// were minted for it, keep it until they end.
    pub fn put(&self, name: &str, offer: Offer) {
        let stands = match offer {
            Offer::Dataset(dataset) => Stands::Dataset(dataset),
            Offer::Topic(publisher) => {
                self.lane.beat_for(&publisher);
                Stands::Topic(Arc::downgrade(&publisher))
            }
        };
        let before = self.desk.shelf.lock().insert(name.to_owned(), stands);
        drop(before);
        self.purge();
    }

    /// Offers a name no more. Whether it was offered.
    pub fn remove(&self, name: &str) -> bool {
        let removed = self.desk.shelf.lock().remove(name);
        self.purge();
        removed.is_some()
    }

    /// What is offered, by name.
    pub fn offers(&self) -> Vec<(String, Offer)> {
        let shelf = self.desk.shelf.lock();
        shelf.iter().filter_map(|(name, stands)| Some((name.clone(), stands.offer()?))).collect()
    }

    /// What is offered under a name.
    pub fn offer(&self, name: &str) -> Option<Offer> {
        self.desk.shelf.lock().get(name).and_then(Stands::offer)
    }

    /// A ticket for what a name stands for now, for `holder` where that was authenticated. `None` when nothing has that name.
    ///
    /// # Errors
    /// Where the system gives no random numbers.
    pub fn mint(&self, name: &str, holder: Option<&str>) -> Result<Option<Minted>, PlaneError> {
        let Some(stands) = self.desk.shelf.lock().get(name).cloned() else { return Ok(None) };
        self.desk.tickets.lock().mint(stands, holder).map(Some)
    }

    /// A ticket for a publisher that is offered under no name.
    ///
    /// # Errors
    /// As [`mint`](Self::mint).
    pub fn stand(&self, publisher: &Arc<Publisher>) -> Result<Minted, PlaneError> {
        self.desk.tickets.lock().mint(Stands::Topic(Arc::downgrade(publisher)), None)
    }

    /// What a ticket stands for.
    ///
    /// # Errors
    /// [`Refused`] when there is none such, it expired, or it is somebody else's.
    pub fn redeem(&self, ticket: &[u8], holder: Option<&str>) -> Result<Offer, Refused> {
        let stands = self.desk.tickets.lock().redeem(ticket, Some(holder))?;
        stands.offer().ok_or(Refused::Unknown)
    }

    fn purge(&self) {
        let mut tickets = self.desk.tickets.lock();
        let expired = tickets.purge();
        let left = !tickets.is_empty();
        drop(tickets);
        drop(expired);
        if left {
            self.reception.sweep();
        }
    }

    /// Listens no more and offers nothing. Transfers that go on are finished.
    pub fn close(&self) {
        self.reception.close();
        let shelf = std::mem::take(&mut *self.desk.shelf.lock());
        let tickets = self.desk.tickets.lock().clear();
        drop((shelf, tickets));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

/// The URI under which a listener is told to clients.
fn uri_of(listener: &dyn Listener) -> Result<String, PlaneError> {
    let address = listener.address();
    let uri = match address.strip_prefix("shm://") {
        Some(path) => topic::uri(std::path::Path::new(path), "", &crate::Lending::of_this_process()?),
        None => topic::remote_uri(&address, listener.parameters())?,
    };
    Ok(format!("{uri}&{}={}", topic::BODIES, topic::BODIES_ALONE))
}
