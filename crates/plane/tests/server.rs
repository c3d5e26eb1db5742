//! A server gives whoever holds a ticket what it stands for, over every transport, while nobody turns a loop of its own.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use arrowlane_dissociated::{DataUri, KeyValues};
use arrowlane_plane::{
    Lane, NativeLane, Queue, Subscription, SubscriptionOptions,
    server::{Dataset, DatasetOptions, Offer, Server},
};
use arrowlane_transport::{
    Transport,
    shm::{Folder, ShmListener, ShmTransport},
};
use support::{Consumer, assert_numbered, numbered};

struct Here {
    _directory: tempfile::TempDir,
    folder: Arc<Folder>,
    server: Server,
    uri: String,
}

impl Here {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let folder = Arc::new(Folder::open(&directory.path().join("s")).expect("a folder of sockets"));
        let server = Server::new(Duration::from_secs(60)).expect("a server");
        let listener = ShmListener::bind(Arc::clone(&folder), "@server-test").expect("bound");
        let uri = server.listen(Box::new(listener)).expect("listening");
        Self { _directory: directory, folder, server, uri }
    }

    fn dataset(&self, numbers: std::ops::Range<usize>, rows: usize) -> Arc<Dataset> {
        let queue = Queue { batches: 4, bytes: 64 << 20 };
        let options = DatasetOptions { name: "numbers".into(), memory: 64 << 20, queue };
        let mut builder = self.server.dataset(options).expect("begun");
        builder.expect(&numbered(0, 0).schema()).expect("a schema");
        for number in numbers {
            builder.push(&numbered(number, rows), KeyValues::new()).expect("packed");
        }
        builder.finish().expect("a dataset")
    }

    fn ticket(&self, name: &str) -> String {
        self.server.mint(name, None).expect("minted").expect("offered").ticket
    }

    fn get(&self, ticket: &str) -> Consumer {
        let lane = Lane::new().expect("a lane");
        let options = SubscriptionOptions::default();
        let subscription = Subscription::with_ticket("numbers".into(), ticket.into(), options, &lane, &lane);
        let uri = DataUri::parse(&self.uri).expect("a URI");
        subscription.attach(ShmTransport.connect(&uri).expect("connected")).expect("attached");
        Consumer::over(lane, subscription)
    }
}

#[test]
fn every_batch_arrives_in_order_in_place_and_as_often_as_it_is_asked_for() {
    let here = Here::new();
    here.server.put("numbers", Offer::Dataset(here.dataset(0..20, 1000)));
    let ticket = here.ticket("numbers");
    for _ in 0..2 {
        let mut consumer = here.get(&ticket);
        for number in 0..20 {
            consumer.turn_until(|c| !c.batches.is_empty());
            let batch = consumer.take().unwrap();
            assert!(batch.body.is_lent(), "it is read where it lies");
            assert_eq!(batch.via, "shm");
            assert_numbered(&batch, number, 1000);
        }
        consumer.turn_until(|c| c.ended);
        assert_eq!(consumer.connected, 1);
    }
}

#[test]
fn a_dataset_without_batches_has_a_schema_and_an_end() {
    let here = Here::new();
    here.server.put("none", Offer::Dataset(here.dataset(0..0, 0)));
    let mut consumer = here.get(&here.ticket("none"));
    consumer.turn_until(|c| c.ended);
    assert_eq!(consumer.subscription.schema().expect("a schema").arrow, numbered(0, 0).schema());
}

#[test]
fn a_ticket_that_was_never_minted_is_refused_with_a_reason() {
    let here = Here::new();
    for ticket in ["0123456789abcdef0123456789abcdef", "", "numbers", &"x".repeat(1 << 20)] {
        let mut consumer = here.get(ticket);
        consumer.turn_until(|c| c.failed.is_some());
        let failed = consumer.failed.take().unwrap();
        assert!(matches!(failed.code(), "ERR_TICKET" | "ERR_REMOTE"), "{failed}");
    }
}

#[test]
fn a_running_transfer_keeps_what_it_began_with() {
    let here = Here::new();
    here.server.put("numbers", Offer::Dataset(here.dataset(0..20, 10)));
    let mut old = here.get(&here.ticket("numbers"));
    old.turn_until(|c| !c.batches.is_empty());
    here.server.put("numbers", Offer::Dataset(here.dataset(100..101, 10)));
    let mut new = here.get(&here.ticket("numbers"));
    new.turn_until(|c| c.ended);
    assert_numbered(&new.take().unwrap(), 100, 10);
    for number in 0..20 {
        old.turn_until(|c| !c.batches.is_empty());
        assert_numbered(&old.take().unwrap(), number, 10);
    }
    old.turn_until(|c| c.ended);
}

#[test]
fn memory_is_free_when_nothing_stands_for_it_any_more() {
    let here = Here::new();
    let dataset = here.dataset(0..3, 1000);
    let gone = Arc::downgrade(&dataset);
    here.server.put("numbers", Offer::Dataset(dataset));
    let mut consumer = here.get(&here.ticket("numbers"));
    consumer.turn_until(|c| c.ended);
    here.server.close();
    assert!(gone.upgrade().is_none());
    assert_numbered(&consumer.take().unwrap(), 0, 1000);
    let blocks = || arrowlane_memory::counters::snapshot().blocks;
    consumer.close();
    consumer.turn_until(|_| blocks() == 0 && NativeLane::shared().is_ok());
}

#[test]
fn whoever_says_nothing_is_shown_out() {
    let here = Here::new();
    let mut silent = ShmListener::connect(&here.folder, "@server-test").expect("connected");
    struct Nobody;
    impl arrowlane_transport::Inbox for Nobody {
        fn greeting(&mut self, _uri: &str) -> Result<(), arrowlane_transport::TransportError> {
            Ok(())
        }
        fn metadata(&mut self, _bytes: &[u8]) -> Result<(), arrowlane_transport::TransportError> {
            Ok(())
        }
        fn tagged(&mut self, _tag: u64, _body: &[u8]) -> Result<(), arrowlane_transport::TransportError> {
            Ok(())
        }
        fn retired(&mut self, _segment: u16) {}
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while arrowlane_transport::Endpoint::receive(&mut silent, 1 << 16, &mut Nobody).is_ok() {
        assert!(std::time::Instant::now() < deadline, "it may stay");
        std::thread::sleep(Duration::from_millis(50));
    }
}
