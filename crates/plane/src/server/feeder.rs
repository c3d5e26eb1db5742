//! Sends each subscriber of a dataset its batches.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::{BatchSchema, ConnectionId, Event, NativeLane, Outgoing, PlaneError, Publisher, SendOutcome};

/// The batches of a dataset.
pub(super) struct Content {
    pub(super) schema: Arc<BatchSchema>,
    pub(super) batches: Vec<Outgoing>,
}

/// Where each subscriber is, and what comes next.
pub(super) struct Feeder {
    content: Arc<Content>,
    publisher: Arc<Publisher>,
    lane: &'static NativeLane,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many batches each subscriber was sent.
    sent: BTreeMap<ConnectionId, usize>,
    /// Nobody new will come.
    retired: bool,
}

impl Feeder {
    /// Hears of the publisher's subscribers from now on.
    pub(super) fn start(content: Arc<Content>, publisher: Arc<Publisher>, lane: &'static NativeLane) -> Arc<Self> {
        let feeder = Arc::new(Self { content, publisher, lane, state: Mutex::default() });
        // The lane keeps it: transfers go on when nobody else knows the dataset any more.
        let strong = Arc::clone(&feeder);
        lane.handle(feeder.publisher.id(), Arc::new(move |event| strong.hear(event)));
        feeder
    }

    fn hear(self: &Arc<Self>, event: Event) {
        match event {
            Event::Joined(id) => {
                self.state.lock().sent.insert(id, 0);
                if let Err(error) = self.publisher.begin(id, &self.content.schema).and_then(|()| self.feed(id)) {
                    self.dropped(id, &error);
                }
            }
            Event::Room => {
                let ids: Vec<_> = self.state.lock().sent.keys().copied().collect();
                for id in ids {
                    if let Err(error) = self.feed(id) {
                        self.dropped(id, &error);
                    }
                }
            }
            Event::Left(id) | Event::Evicted(id) => {
                self.state.lock().sent.remove(&id);
            }
            Event::Closed => return self.lane.forget(self.publisher.id()),
            _ => {}
        }
        self.end_when_done();
    }

    /// Sends what there is room for.
    fn feed(&self, id: ConnectionId) -> Result<(), PlaneError> {
        loop {
            let Some(next) = self.state.lock().sent.get(&id).copied() else { return Ok(()) };
            let Some(batch) = self.content.batches.get(next) else {
                self.publisher.finish(id, None);
                self.state.lock().sent.remove(&id);
                return Ok(());
            };
            match self.publisher.try_send_to(id, batch)? {
                SendOutcome::Sent(_) => {
                    if let Some(sent) = self.state.lock().sent.get_mut(&id) {
                        *sent += 1;
                    }
                }
                SendOutcome::NoRoom | SendOutcome::NoSubscriber => return Ok(()),
            }
        }
    }

    fn dropped(&self, id: ConnectionId, error: &PlaneError) {
        self.state.lock().sent.remove(&id);
        if !matches!(error, PlaneError::Closed) {
            tracing::warn!(connection = id, %error, "a transfer ended early");
            self.publisher.finish(id, Some((error.code(), &error.to_string())));
        }
    }

    /// Nobody new will come: the publisher is closed with its last transfer.
    pub(super) fn retire(self: &Arc<Self>) {
        self.state.lock().retired = true;
        self.end_when_done();
    }

    fn end_when_done(self: &Arc<Self>) {
        let done = {
            let state = self.state.lock();
            state.retired && state.sent.is_empty()
        };
        if done && !self.publisher.is_closed() {
            self.publisher.close();
        }
    }
}
