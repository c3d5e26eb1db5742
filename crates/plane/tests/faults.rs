//! Connections that carry bytes in pieces, or break at any byte.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use arrowlane_conformance::relay::Relay;
use arrowlane_transport::shm::Folder;
use support::*;

struct Relayed {
    producer: Producer,
    consumers: Vec<Consumer>,
    relay: Relay,
    _worlds: [World; 2],
}

/// A subscriber that reaches its publisher through a relay.
fn relayed() -> Relayed {
    let (there, here) = (World::new(), World::new());
    let producer = there.publish("topic", options());
    let file = Folder::file_name("topic").expect("a name");
    let relay = Relay::listen(&here.folder.path().join(file), producer.publisher.path().expect("listed"));
    let consumers = vec![Consumer::new(Arc::clone(&here.folder), "topic")];
    Relayed { producer, consumers, relay, _worlds: [there, here] }
}

impl Relayed {
    /// Moves bytes in such pieces until nothing moves any more, or so many have moved since the start.
    fn run(&mut self, piece: usize, until: usize) {
        let mut rest = 0;
        while rest < 3 && self.relay.forwarded() < until {
            let moved = self.relay.turn(piece);
            let worked = self.producer.turn() | self.consumers[0].turn();
            rest = if worked || moved > 0 { 0 } else { rest + 1 };
        }
    }

    fn script(&mut self, piece: usize, until: usize) {
        self.run(piece, until);
        if self.producer.joined.is_empty() {
            return;
        }
        for number in 0..3 {
            self.producer.send(&numbered(number, 50));
            self.run(piece, until);
        }
        self.producer.publisher.close();
        self.run(piece, until);
    }
}

#[test]
fn messages_in_pieces_of_any_size_arrive_whole() {
    for piece in [1, 2, 3, 7, 15, 16, 17, 100, 4096] {
        let mut relayed = relayed();
        relayed.script(piece, usize::MAX);
        let consumer = &mut relayed.consumers[0];
        assert!(consumer.ended, "pieces of {piece}: {:?}", consumer.failed);
        for number in 0..3 {
            assert_numbered(&consumer.take().expect("delivered"), number, 50);
        }
    }
}

#[test]
fn a_connection_cut_at_any_byte_loses_no_memory_and_no_whole_batch() {
    let total = {
        let mut relayed = relayed();
        relayed.script(64, usize::MAX);
        relayed.relay.forwarded()
    };
    assert!(total > 1000);
    for cut in (0..total).step_by(13) {
        let mut relayed = relayed();
        relayed.script(5, cut);
        relayed.relay.cut();
        settle(&mut relayed.producer, &mut relayed.consumers);
        let Relayed { mut producer, mut consumers, .. } = relayed;
        let consumer = &mut consumers[0];
        let settled = consumer.ended || consumer.retries > 0;
        let lost = consumer.failed.as_ref().is_some_and(|e| e.code() == "ERR_PUBLISHER_LOST");
        assert!(settled || lost || consumer.connected == 0, "cut at {cut}: {:?}", consumer.failed);
        // What came whole is right, though its publisher believes that nobody holds it.
        for number in 0..consumer.batches.len() {
            assert_numbered(&consumer.take().expect("delivered"), number, 50);
        }
        settle(&mut producer, &mut consumers);
        assert_eq!(producer.used(), 0, "cut at {cut}");
        assert_eq!(producer.publisher.statistics().subscribers, 0);
        if !producer.closed {
            assert_eq!(producer.left.len(), producer.joined.len(), "cut at {cut}");
        }
    }
}
