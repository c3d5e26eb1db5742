//! Subscriptions, as JavaScript drives them.

use std::sync::Arc;

use arrowlane_plane::{PlaneError, Subscription, Target};
use arrowlane_transport::shm::Folder;
use napi_derive::napi;

use crate::{
    error::{Result, plane},
    held::Terms,
    lane::NativeLane,
    policy::NativeSubscriptionOptions,
};

#[napi]
impl NativeLane {
    /// A subscription that is not connected yet.
    #[napi]
    pub fn subscribe(&self, topic: String, options: NativeSubscriptionOptions) -> Result<u32> {
        Folder::file_name(&topic).map_err(|e| plane(e.into()))?;
        let folder = Folder::open_default().map_err(|e| plane(e.into()))?;
        let terms = Terms::of(&topic, &options);
        let options = options.into_options();
        let subscription = Subscription::new(Arc::new(folder), Target::Topic(topic), options, &self.host.lane);
        let id = subscription.id();
        let mut tables = self.host.tables.borrow_mut();
        tables.subscriptions.insert(id, subscription);
        tables.terms.extend(terms.map(|terms| (id, terms)));
        Ok(id)
    }

    /// Connects, or waits for a publisher; a record says when it is.
    #[napi]
    pub fn connect(&self, subscription: u32) -> Result<()> {
        match self.subscription(subscription) {
            Some(subscription) => subscription.connect().map_err(plane),
            None => Err(plane(PlaneError::Closed)),
        }
    }

    /// The oldest of the delivered batches was taken by the application, which holds it from now on.
    #[napi]
    pub fn taken(&self, subscription: u32, batch: u32) {
        self.host.tables.borrow_mut().hold(batch, subscription, &mut None);
        if let Some(subscription) = self.subscription(subscription) {
            subscription.taken();
        }
    }

    /// Ends delivery.
    #[napi]
    pub fn close_subscription(&self, subscription: u32) {
        let closed = {
            let mut tables = self.host.tables.borrow_mut();
            tables.schema_of.remove(&subscription);
            tables.errors.remove(&subscription);
            tables.forget_terms(subscription);
            tables.subscriptions.remove(&subscription)
        };
        if let Some(closed) = closed {
            closed.close();
        }
    }

    pub(crate) fn subscription(&self, subscription: u32) -> Option<Arc<Subscription>> {
        self.host.tables.borrow().subscriptions.get(&subscription).cloned()
    }
}
