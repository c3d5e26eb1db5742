//! Somebody in the middle, who sends on what it receives.

use std::sync::Arc;

use arrowlane_plane::{Batch, Outgoing, Part, PublisherOptions};

use super::*;

/// A producer, somebody in the middle, and those at the far end.
pub struct Chain {
    pub producer: Producer,
    pub upstream: Consumer,
    pub relay: Producer,
    pub consumers: Vec<Consumer>,
}

impl Chain {
    pub fn new(world: &World, consumers: usize) -> Self {
        let producer = world.publish("up", options());
        let relay = world.publish("down", PublisherOptions { memory: 1 << 20, ..options() });
        let upstream = world.subscribe("up");
        let consumers = (0..consumers).map(|_| world.subscribe("down")).collect();
        let mut chain = Self { producer, upstream, relay, consumers };
        chain.settle();
        assert_eq!((chain.producer.joined.len(), chain.relay.joined.len()), (1, chain.consumers.len()));
        chain
    }

    pub fn settle(&mut self) {
        for _ in 0..3 {
            settle(&mut self.producer, std::slice::from_mut(&mut self.upstream));
            settle(&mut self.relay, &mut self.consumers);
        }
    }

    pub fn until(&mut self, what: &str, done: impl Fn(&mut Self) -> bool) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            self.settle();
            if done(self) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "never happened: {what}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// The next batch in the middle.
    pub fn arrives(&mut self) -> Arc<Batch> {
        self.settle();
        self.upstream.take().expect("delivered")
    }

    pub fn forward(&self, batch: &Batch) -> Outgoing {
        self.relay.publisher.forward(batch, whole(batch), None).expect("it fits").expect("all of it is lent")
    }

    pub fn up(&self) -> usize {
        self.producer.publisher.statistics().leases
    }

    pub fn down(&self) -> usize {
        self.relay.publisher.statistics().leases
    }
}

/// All of a batch.
pub fn whole(batch: &Batch) -> Part<'static> {
    Part { offset: 0, length: batch.header.rows as usize, columns: None }
}
