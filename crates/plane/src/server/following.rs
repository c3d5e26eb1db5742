//! What a ticket stands for, read by a thread of this process: for whoever sends it on by other means.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::Duration,
};

use arrowlane_transport::inproc::InprocEndpoint;

use super::Server;
use crate::{Batch, Event, NativeLane, PlaneError, Request, Subscription, SubscriptionOptions, topic};

/// Where it comes from, in messages.
const ADDRESS: &str = "inproc:///";
/// So far the reader may lag behind: what is not read is memory of somebody else's.
const QUEUE: (u64, u64) = (4, 64 << 20);

/// A stream that is read as any subscriber reads it, over a connection within the process. Dropped, it leaves.
pub struct Following {
    lane: &'static NativeLane,
    subscription: Arc<Subscription>,
    events: Receiver<Event>,
}

/// What came next.
pub enum Followed {
    /// A batch under a lease.
    Batch(Arc<Batch>),
    /// Nothing, within the time.
    Nothing,
    /// The stream's end.
    Ended,
}

impl Server {
    /// Reads what `ticket` stands for; whose it is was found out before.
    ///
    /// # Errors
    /// Where the system gives no descriptors.
    pub fn follow(&self, ticket: &[u8]) -> Result<Following, PlaneError> {
        let (theirs, ours) = InprocEndpoint::pair()?;
        let request = Request { batches: Some(QUEUE.0), bytes: Some(QUEUE.1), ..Request::default() };
        let options = SubscriptionOptions { request, ..SubscriptionOptions::default() };
        let (lane, ticket) = (self.lane.lane(), ticket.to_vec());
        let subscription = Subscription::with_ticket(ADDRESS.into(), ticket, options, lane, lane);
        let (tell, events) = channel();
        // The handler goes with the subscription; a reader that is gone hears nothing.
        self.lane.handle(subscription.id(), Arc::new(move |event| drop(tell.send(event))));
        let following = Following { lane: self.lane, subscription, events };
        self.reception.welcome(Box::new(theirs), topic::remote_uri(ADDRESS, Vec::new())?)?;
        following.subscription.attach(Box::new(ours))?;
        Ok(following)
    }
}

impl Following {
    /// What comes next, waiting `wait` for it at most. **Blocks**.
    ///
    /// # Errors
    /// What ended the stream early.
    pub fn next(&self, wait: Duration) -> Result<Followed, PlaneError> {
        loop {
            match self.events.recv_timeout(wait) {
                Ok(Event::Batch(batch)) => {
                    self.subscription.taken();
                    return Ok(Followed::Batch(batch));
                }
                Ok(Event::Ended) => return Ok(Followed::Ended),
                Ok(Event::Failed(error)) => return Err(error),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(Followed::Nothing),
                Err(RecvTimeoutError::Disconnected) => return Err(PlaneError::Closed),
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.lane.forget(self.subscription.id());
        self.subscription.close();
    }
}
